package proto

import (
	"testing"

	"pgregory.net/rapid"
)

// checkRangeset compares a set with its model and checks the rules of its representation.
func checkRangeset(t interface{ Fatalf(string, ...any) }, s rangeset, model []bool) {
	for i, r := range s {
		if r.from >= r.to || i > 0 && r.from <= s[i-1].to {
			t.Fatalf("spans %v are empty, unsorted or touch", s)
		}
	}
	at := func(x int) bool {
		for _, r := range s {
			if uint32(x) >= r.from && uint32(x) < r.to {
				return true
			}
		}
		return false
	}
	for x := range model {
		if at(x) != model[x] {
			t.Fatalf("byte %d is %v in %v", x, at(x), s)
		}
	}
}

func TestRangesetFollowsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 40
		var s rangeset
		model := make([]bool, size)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			from := rapid.IntRange(0, size).Draw(t, "from")
			to := rapid.IntRange(0, size).Draw(t, "to")
			add := rapid.Bool().Draw(t, "add")
			if add {
				s.add(uint32(from), uint32(to))
			} else {
				s.sub(uint32(from), uint32(to))
			}
			for x := from; x < to; x++ {
				model[x] = add
			}
			checkRangeset(t, s, model)
			a, b := s.gap(uint32(from), uint32(to))
			first := from
			for first < to && model[first] {
				first++
			}
			end := first
			for end < to && !model[end] {
				end++
			}
			if first < end && (int(a) != first || int(b) != end) || first >= end && a < b {
				t.Fatalf("the first gap of [%d,%d) in %v is [%d,%d)", from, to, s, a, b)
			}
			if s.has(uint32(from), uint32(to)) != (first >= end) {
				t.Fatalf("has [%d,%d) in %v", from, to, s)
			}
		}
	})
}

func TestRangesetStaysOneSpanInOrder(t *testing.T) {
	var s rangeset
	for i := range uint32(1000) {
		s.add(i*10, i*10+10)
	}
	if len(s) != 1 || s[0] != (span{0, 10000}) {
		t.Fatalf("in-order pieces left %v", s)
	}
}
