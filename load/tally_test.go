package load

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestOrderedMessagesMustComeInOrder(t *testing.T) {
	var c tally
	for _, tt := range []struct {
		seq      uint64
		want     verdict
		resolved uint64
	}{
		{0, good, 1}, {1, good, 1}, {1, repeated, 0}, {4, misplaced, 3}, {3, repeated, 0}, {5, good, 1}, {99, misplaced, 0},
	} {
		if v, n, _ := c.take(tt.seq, 10, inOrder); v != tt.want || n != tt.resolved {
			t.Errorf("message %d: verdict %d, %d resolved, want %d, %d", tt.seq, v, n, tt.want, tt.resolved)
		}
	}
}

func TestNewerMessagesResolveSkippedOnes(t *testing.T) {
	var c tally
	if v, n, _ := c.take(5, 10, newerOnly); v != good || n != 6 {
		t.Errorf("verdict %d, %d resolved: nothing older can come any more", v, n)
	}
	if v, n, _ := c.take(4, 10, newerOnly); v != repeated || n != 0 {
		t.Errorf("verdict %d, %d resolved for a stale message", v, n)
	}
}

func TestUnorderedMessagesComeOnceEach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c tally
		seen := map[uint64]bool{}
		for _, seq := range rapid.SliceOf(rapid.Uint64Range(0, 300)).Draw(t, "arrivals") {
			want, resolved := good, uint64(1)
			if seen[seq] {
				want, resolved = repeated, 0
			}
			seen[seq] = true
			if v, n, _ := c.take(seq, 301, anyOrder); v != want || n != resolved {
				t.Fatalf("message %d: verdict %d, %d resolved", seq, v, n)
			}
		}
	})
}

// Whatever comes back, nothing is resolved twice: a run ends only when
// everything has been accounted for.
func TestNothingIsResolvedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := order(rapid.IntRange(int(inOrder), int(newerOnly)).Draw(t, "order"))
		var c tally
		var total uint64
		arrivals := rapid.SliceOf(rapid.Uint64Range(0, 60)).Draw(t, "arrivals")
		for _, seq := range arrivals {
			_, n, _ := c.take(seq, 50, o)
			total += n
		}
		if total > 50 {
			t.Fatalf("%d of 50 messages resolved by %v", total, slices.Compact(arrivals))
		}
	})
}

// Each message is replaced at most once: when it comes back, or when it has been
// given up, and not again if it comes back after that.
func TestEachMessageIsReplacedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const sent = 200
		o := []order{anyOrder, newerOnly}[rapid.IntRange(0, 1).Draw(t, "order")]
		var c tally
		var replaced uint64
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			seq := rapid.Uint64Range(0, sent).Draw(t, "sequence")
			if rapid.Bool().Draw(t, "give up") {
				replaced += c.giveUp(seq, o)
			} else {
				_, _, fresh := c.take(seq, sent, o)
				replaced += fresh
			}
		}
		replaced += c.giveUp(sent, o)
		if replaced != sent {
			t.Fatalf("%d replacements for %d messages", replaced, sent)
		}
	})
}
