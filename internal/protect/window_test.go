package protect

import (
	"testing"

	"pgregory.net/rapid"
)

// TestReplayWindowIsThatOfAModel compares the ring with a set of all numbers.
func TestReplayWindowIsThatOfAModel(t *testing.T) {
	for _, words := range []int{longWindowWords, windowWords} {
		rapid.Check(t, func(t *rapid.T) {
			bits := make([]uint64, words)
			size := uint64(words) * 64
			var top uint64
			model := map[uint64]bool{}
			for range rapid.IntRange(1, 200).Draw(t, "steps") {
				base := top
				jump := rapid.SampledFrom([]uint64{1, 3, 63, 64, 65, size - 1, size, size + 1, 5 * size}).Draw(t, "reach")
				n := base + rapid.Uint64Range(0, jump).Draw(t, "ahead")
				if rapid.Bool().Draw(t, "back") {
					n = base - min(base, rapid.Uint64Range(0, jump).Draw(t, "behind"))
				}
				want := model[n] || n < top && top-n > size
				if got := seen(bits, top, n); got != want {
					t.Fatalf("seen(%d) = %v with top %d, want %v", n, got, top, want)
				}
				if want {
					continue
				}
				model[n] = true
				top = mark(bits, top, n)
				if top != max(base, n+1) {
					t.Fatalf("top %d after %d, was %d", top, n, base)
				}
			}
		})
	}
}

func TestReplayWindowCoversAtLeast2048Packets(t *testing.T) {
	bits := make([]uint64, windowWords)
	top := mark(bits, 0, 2047)
	for n := range uint64(2047) {
		if seen(bits, top, n) {
			t.Fatalf("packet %d is refused though only 2,047 came behind it", n)
		}
	}
	top = mark(bits, top, 2048)
	if !seen(bits, top, 0) {
		t.Fatal("packet 0 is accepted outside the window")
	}
}

func BenchmarkWindow(b *testing.B) {
	bits := make([]uint64, windowWords)
	var top, n uint64
	for b.Loop() {
		if !seen(bits, top, n) {
			top = mark(bits, top, n)
		}
		n++
	}
}
