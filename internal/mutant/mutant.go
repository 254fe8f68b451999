// Package mutant plants named faults into the protocol, to prove that the tests would find them.
//
// In ordinary builds On is the constant false and the fault's branch is compiled out. Built with -tags godwitmutant, a
// test sets one mutant and expects the histories of the protocol's core to fail
// (`go test -tags 'godwitmutant godwitdebug' ./internal/proto -run TestMutants`). Mutants that only cost time
// break no promise; the exact counts of internal/shard have to notice those.
package mutant

// ID names a mutant.
type ID uint8

// The mutants.
const (
	None              ID = iota
	DropAckRange         // the oldest range of an ACK is ignored
	NoSkip               // SKIP is never sent
	NoPTO                // the probe timer is never armed
	CreditLeak           // consumed messages give no credit back
	WindowIgnored        // the congestion window bounds nothing
	LossForgotten        // lost messages are not repeated
	DuplicatePassed      // a message that came twice is delivered twice
	OrderBroken          // an ordered channel delivers what arrives
	StaleLatest          // a latest channel delivers values older than the newest
	ChunkLeak            // a resolved message keeps its buffer
	FragmentShifted      // a fragment is written one byte off
	AckPrunedEarly       // received ranges are forgotten when an ACK is sent, not when it is acknowledged
	ResetUnchecked       // any datagram that cannot be opened is a stateless reset
	StalePath            // sending does not follow the peer to its new address
	SkipUnchecked        // an ACK of a number that was left out is believed
	UnsentUnchecked      // an ACK of a number that was not sent yet is believed
	CreditUnchecked      // a message beyond the credit is taken
	DoneForgotten        // a lost HANDSHAKE_DONE is not repeated
	CryptoForgotten      // lost bytes of the handshake are not repeated
	LimitForgotten       // a lost MAX_DATA or MAX_CHANNEL is not repeated
	AmplificationFree    // an address that is not validated is sent whatever there is
	OutcomeForgotten     // nobody is told of messages whose time has passed
	FlightLeak           // lost packets stay in flight
	ThirdProbe           // a PTO sends three packets past the window
	ChallengeUnheard     // PATH_CHALLENGE is not answered
	GapSilent            // the application is not told of abandoned messages
	StreamForgotten      // lost bytes of a stream are not repeated
	FinForgotten         // a lost end of a stream is not repeated
	PieceShifted         // bytes of a stream that came too early are delivered from the wrong one on
	lastFault            = PieceShifted

	// What only costs time.
	EagerAcks      ID = iota - 1 // each packet is acknowledged at once
	LoneMessages                 // a frame holds one message
	LonePackets                  // a train holds one packet
	CopiedTwice                  // queued messages are copied into the pool
	EagerWrites                  // each train is written by itself
	ReadsOn                      // the socket is read until it is empty although the batch had room
	TimersReset                  // a deadline is set anew whether it has changed or not
	ClockEachEntry               // the clock is read after each entry
	WakesAlways                  // each send wakes the shard
	Garbage                      // each message that is delivered is on the heap
	count          = iota - 1
)

var names = [count]string{
	"none", "drop-ack-range", "no-skip", "no-pto", "credit-leak", "window-ignored", "loss-forgotten", "duplicate-passed",
	"order-broken", "stale-latest", "chunk-leak", "fragment-shifted", "ack-pruned-early", "reset-unchecked", "stale-path",
	"skip-unchecked", "unsent-unchecked", "credit-unchecked", "done-forgotten", "crypto-forgotten", "limit-forgotten",
	"amplification-free", "outcome-forgotten", "flight-leak", "third-probe", "challenge-unheard", "gap-silent", "stream-forgotten",
	"fin-forgotten", "piece-shifted",
	"eager-acks", "lone-messages", "lone-packets", "copied-twice", "eager-writes", "reads-on", "timers-reset", "clock-each-entry",
	"wakes-always", "garbage",
}

// String returns the mutant's name.
func (id ID) String() string { return names[id] }

// All returns every mutant that is a fault: neither None nor one that only costs time.
func All() []ID { return between(None+1, lastFault) }

// Costs returns every mutant that only costs time.
func Costs() []ID { return between(lastFault+1, count-1) }

func between(first, last ID) (ids []ID) {
	for id := first; id <= last; id++ {
		ids = append(ids, id)
	}
	return ids
}
