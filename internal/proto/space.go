package proto

import (
	"math"

	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// space is one packet-number space (RFC 9000 §12.3): what was sent and is not settled, and what was received and is to
// be acknowledged.
type space struct {
	sent          sentLog
	recv          received
	next          uint64 // number of the next packet
	sendLimit     uint64 // no number at or above it is used before a record with a higher one exists
	gapFrom       uint64 // numbers [gapFrom, gapEnd) were jumped over by a new owner: an ACK of one is a lie
	gapEnd        uint64
	largestAcked  int64
	lossTime      mono.Time // when the next packet will be lost by the time threshold
	lastEliciting mono.Time // last ack-eliciting packet sent
	eliciting     int       // ack-eliciting packets outstanding
	ackOnly       uint8     // packets sent since the last ack-eliciting one
	tagLen        uint8
	canRead       bool
	canWrite      bool
}

func (s *space) init() {
	s.largestAcked = -1
	s.lossTime = mono.Never
	s.recv.init()
}

func (s *space) release() {
	s.sent.packets.reset()
	s.sent.records.reset()
	s.recv.ranges = nil
}

// limits of a receiver's memory and of an ACK frame (docs/SPEC.md).
const (
	maxReceivedRanges = 64
	maxSentRanges     = 32
	maxSilent         = 1 << 13 // packets without ack-eliciting frames that the log keeps
)

// muted reports whether so many ACKs wait to be acknowledged themselves that no further one leaves without data. A peer that
// acknowledges nothing could otherwise have the log of what was sent grow without end. Settled packets behind an
// outstanding one count too, so a full window of them is allowed for.
func (s *space) muted() bool {
	return s.sent.packets.len() > maxSilent+2*s.eliciting
}

// received is the receiver's half of a space: the ranges of numbers seen, and whether an ACK is due.
type received struct {
	ranges      []wire.AckRange // ascending, at most maxReceivedRanges
	largest     int64
	largestTime mono.Time
	unacked     uint16    // ack-eliciting packets since the last ACK sent
	threshold   uint16    // ... that make an ACK due at the end of the batch; 0 = the timer alone
	deadline    mono.Time // the timer
	now         bool      // an ACK leaves with the next packet, which is built at once
	ecn         wire.ECNCounts
}

func (r *received) init() {
	r.largest = -1
	r.deadline = mono.Never
}

// insert records a packet number. It reports whether the number leaves a gap or fills one, which the sender wants
// to hear about at once (RFC 9000 §13.2.1). Numbers come nearly in order, so the search begins at the newest range.
func (r *received) insert(pn uint64, now mono.Time) (disordered bool) {
	if int64(pn) > r.largest {
		disordered = r.largest >= 0 && pn != uint64(r.largest)+1
		r.largest, r.largestTime = int64(pn), now
	} else {
		disordered = true
	}
	n := len(r.ranges)
	i := n
	for i > 0 && r.ranges[i-1].Smallest > pn {
		i--
	}
	switch { // ranges[i-1].Smallest <= pn < ranges[i].Smallest
	case i > 0 && pn <= r.ranges[i-1].Largest:
		return disordered
	case i > 0 && pn == r.ranges[i-1].Largest+1:
		r.ranges[i-1].Largest = pn
		if i < n && r.ranges[i].Smallest == pn+1 {
			r.ranges[i-1].Largest = r.ranges[i].Largest
			r.ranges = append(r.ranges[:i], r.ranges[i+1:]...)
		}
	case i < n && r.ranges[i].Smallest == pn+1:
		r.ranges[i].Smallest = pn
	default:
		if n == maxReceivedRanges { // the oldest is forgotten; the replay window still refuses its packets
			mark.Hit(markRanges)
			if i == 0 {
				return disordered
			}
			copy(r.ranges, r.ranges[1:i])
			r.ranges[i-1] = wire.AckRange{Smallest: pn, Largest: pn}
			return disordered
		}
		r.ranges = append(r.ranges, wire.AckRange{})
		copy(r.ranges[i+1:], r.ranges[i:])
		r.ranges[i] = wire.AckRange{Smallest: pn, Largest: pn}
	}
	return disordered
}

// pruneBelow forgets numbers up to and including pn: the peer knows that they arrived.
func (r *received) pruneBelow(pn uint64) {
	drop := 0
	for drop < len(r.ranges)-1 && r.ranges[drop].Largest <= pn {
		drop++
	}
	if drop > 0 {
		r.ranges = r.ranges[:copy(r.ranges, r.ranges[drop:])]
	}
	if len(r.ranges) > 0 && r.ranges[0].Smallest <= pn && r.ranges[0].Largest > pn {
		r.ranges[0].Smallest = pn + 1
	}
}

// note updates the ACK timer for a received packet.
func (r *received) note(now mono.Time, eliciting, immediate bool, maxDelay mono.Duration) {
	if !eliciting {
		return
	}
	if r.unacked < math.MaxUint16 {
		r.unacked++
	}
	if immediate || mutant.On(mutant.EagerAcks) {
		r.now = true
	}
	if r.deadline == mono.Never {
		r.deadline = now.Add(maxDelay)
	}
}

// due reports whether an ACK is to leave without waiting for data to ride on.
func (r *received) due(now mono.Time) bool {
	return r.now || r.unacked > 0 && (r.threshold > 0 && r.unacked >= r.threshold || now >= r.deadline)
}

// sentAck clears the timer: an ACK of everything seen has been written.
func (r *received) sentAck() {
	r.unacked, r.now, r.deadline = 0, false, mono.Never
}
