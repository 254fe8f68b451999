package load

import "math/bits"

// order is what a transport promises about the messages of one connection.
type order uint8

const (
	inOrder   order = iota // each once, in the order sent
	anyOrder               // each at most once
	newerOnly              // each at most once, none after a later one
)

// A tally checks that the messages of one connection come back as promised.
type tally struct {
	next uint64   // one more than the highest sequence number seen
	seen []uint64 // anyOrder: a bit for each message that came back
	lost uint64   // messages below this that did not come back have been given up
}

// verdict is what a tally finds about a message.
type verdict uint8

const (
	good verdict = iota
	repeated
	misplaced // not repeated, but not where the transport promised it
)

// take notes that message seq, of sent so far, came back. resolved is how many
// messages need not be waited for any more: seq itself and those that cannot
// come now. Of these, fresh had not been given up.
func (t *tally) take(seq, sent uint64, o order) (v verdict, resolved, fresh uint64) {
	if seq >= sent {
		return misplaced, 0, 0 // never sent
	}
	if o == anyOrder {
		return t.takeAnyOrder(seq)
	}
	if seq < t.next {
		return repeated, 0, 0 // or too late, which both orders exclude
	}
	resolved = seq + 1 - t.next
	fresh = seq + 1 - min(max(t.next, t.lost), seq+1)
	if o == inOrder && seq != t.next {
		v = misplaced
	}
	t.next = seq + 1
	return v, resolved, fresh
}

func (t *tally) takeAnyOrder(seq uint64) (v verdict, resolved, fresh uint64) {
	word, bit := seq/64, uint64(1)<<(seq%64)
	t.reach(word)
	if t.seen[word]&bit != 0 {
		return repeated, 0, 0
	}
	t.seen[word] |= bit
	t.next = max(t.next, seq+1)
	if seq >= t.lost {
		fresh = 1
	}
	return good, 1, fresh
}

// reach makes seen cover a word.
func (t *tally) reach(word uint64) {
	for uint64(len(t.seen)) <= word {
		t.seen = append(t.seen, 0)
	}
}

// giveUp takes the messages below seq that have not come back for lost and returns
// how many they are.
func (t *tally) giveUp(seq uint64, o order) (n uint64) {
	from := t.lost
	if seq <= from {
		return 0
	}
	t.lost = seq
	if o != anyOrder {
		return seq - min(max(from, t.next), seq)
	}
	t.reach(seq / 64)
	for word := from / 64; word <= seq/64; word++ {
		missing := ^t.seen[word]
		if word == from/64 {
			missing &= ^uint64(0) << (from % 64)
		}
		if word == seq/64 {
			missing &= 1<<(seq%64) - 1
		}
		n += uint64(bits.OnesCount64(missing))
	}
	return n
}
