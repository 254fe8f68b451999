package load

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
// come now.
func (t *tally) take(seq, sent uint64, o order) (v verdict, resolved uint64) {
	if seq >= sent {
		return misplaced, 0 // never sent
	}
	if o == anyOrder {
		return t.takeAnyOrder(seq)
	}
	if seq < t.next {
		return repeated, 0 // or too late, which both orders exclude
	}
	resolved = seq + 1 - t.next
	if o == inOrder && seq != t.next {
		v = misplaced
	}
	t.next = seq + 1
	return v, resolved
}

func (t *tally) takeAnyOrder(seq uint64) (verdict, uint64) {
	word, bit := seq/64, uint64(1)<<(seq%64)
	for uint64(len(t.seen)) <= word {
		t.seen = append(t.seen, 0)
	}
	if t.seen[word]&bit != 0 {
		return repeated, 0
	}
	t.seen[word] |= bit
	t.next = max(t.next, seq+1)
	return good, 1
}
