// Package mutant plants named faults into the protocol, to prove that the tests would find them.
//
// In ordinary builds On is the constant false and the fault's branch is compiled out. Built with -tags godwitmutant, a
// test sets one mutant and expects the simulator to fail (`go test -tags godwitmutant ./godwittest -run Mutant`).
package mutant

// ID names a mutant.
type ID uint8

// The mutants.
const (
	None            ID = iota
	DropAckRange       // the oldest range of an ACK is ignored
	NoSkip             // SKIP is never sent
	NoPTO              // the probe timer is never armed
	CreditLeak         // consumed messages give no credit back
	WindowIgnored      // the congestion window bounds nothing
	LossForgotten      // lost messages are not repeated
	DuplicatePassed    // a message that came twice is delivered twice
	OrderBroken        // an ordered channel delivers what arrives
	StaleLatest        // a latest channel delivers values older than the newest
	ChunkLeak          // a resolved message keeps its buffer
	FragmentShifted    // a fragment is written one byte off
	AckPrunedEarly     // received ranges are forgotten when an ACK is sent, not when it is acknowledged
	count
)

var names = [count]string{
	"none", "drop-ack-range", "no-skip", "no-pto", "credit-leak", "window-ignored", "loss-forgotten", "duplicate-passed",
	"order-broken", "stale-latest", "chunk-leak", "fragment-shifted", "ack-pruned-early",
}

// String returns the mutant's name.
func (id ID) String() string { return names[id] }

// All returns every mutant but None.
func All() []ID {
	ids := make([]ID, 0, count-1)
	for id := None + 1; id < count; id++ {
		ids = append(ids, id)
	}
	return ids
}
