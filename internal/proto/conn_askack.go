package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// askState is the sender's side of the ACK rhythm (draft-ietf-quic-ack-frequency): a sender that fills its window, or the send buffer, which
// only ACKs make room in, wants an ACK after every second packet, all others save the datagrams.
type askState struct {
	seq        uint64 // of the next ACK_FREQUENCY
	peerNext   uint64 // sequence numbers of the peer below this are old
	threshold  uint8  // as last told; 0 = the timer alone
	immediate  bool   // the next packet asks for an ACK at once
	understood bool
	due        bool
}

const (
	windowLimitedThreshold = 2       // ack-eliciting packets an ACK
	lazyThreshold          = 1 << 14 // on the wire: let the timer alone decide
	bufferShare            = 2       // of the send buffer, what one stream may fill
)

// shortTTL is the time to live, in PTOs, up to which a message asks for its acknowledgment at once: one that waited for max_ack_delay
// would show a loss when the repeat comes too late.
const shortTTL = 2

// askForShortTTL asks for the ACK of a message that was just queued, if it is repeated and has little time.
func (c *Conn) askForShortTTL(m *Message) {
	switch c.msgs.lookup(uint8(m.Channel)).mode {
	case Ordered, Unordered, Latest:
		if m.TTL <= shortTTL*c.rtt.PTO(c.peerAckDelay) {
			c.ackAsk.immediate = true
		}
	}
}

// handleAckFrequency takes the sender's wish for the rhythm of ACKs.
func (c *Conn) handleAckFrequency(b []byte) int {
	af, n := wire.ParseAckFrequency(b)
	if n < 0 {
		return -1
	}
	if af.Seq >= c.ackAsk.peerNext {
		c.ackAsk.peerNext = af.Seq + 1
		c.app.recv.threshold = 0
		if af.Threshold < lazyThreshold {
			c.app.recv.threshold = uint16(af.Threshold) + 1
		}
	}
	return n
}

// lost has a lost ACK_FREQUENCY repeated unless a newer one was sent.
func (a *askState) lost(seq uint64) {
	if seq+1 == a.seq {
		a.due = true
	}
}

// askForAcks appends ACK_FREQUENCY when the sender begins or ceases to be limited by its window or buffer, and IMMEDIATE_ACK
// when a packet should be acknowledged at once. It goes before the data, which would leave it no room in full packets.
func (c *Conn) askForAcks(s *space, b []byte, limit int, data bool) []byte {
	a := &c.ackAsk
	if !a.understood {
		return b
	}
	want := uint8(0)
	half := min(c.cc.Window(), c.sh.Config.SendBuffer/bufferShare) / 2
	switch {
	case data && c.bytesInFlight+len(b) >= half:
		want = windowLimitedThreshold
	case c.bytesInFlight+len(b) >= half/2:
		want = a.threshold
	}
	if want != a.threshold {
		a.threshold, a.due = want, true
		a.immediate = a.immediate || want > 0
	}
	if a.due && limit-len(b) >= 16 && (data || want > 0) {
		threshold := uint64(lazyThreshold)
		if a.threshold > 0 {
			threshold = uint64(a.threshold) - 1 // the frame counts the packets that may go unanswered
		}
		b = wire.AppendAckFrequency(b, &wire.AckFrequency{
			Seq: a.seq, Threshold: threshold,
			MaxDelayMicros: uint64(c.peerAckDelay / mono.Microsecond), Reordering: 1,
		})
		s.sent.add(record{kind: recAckFrequency, id: a.seq})
		a.seq++
		a.due = false
	}
	if a.immediate && data && len(b) < limit {
		b = wire.AppendImmediateAck(b)
		s.sent.add(record{kind: recPing})
		a.immediate = false
	}
	return b
}
