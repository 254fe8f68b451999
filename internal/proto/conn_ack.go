package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// appendAck writes an ACK frame of everything received in the space, if it fits, and its record.
func (c *Conn) appendAck(now mono.Time, s *space, b []byte, limit int) []byte {
	r := &s.recv
	if len(r.ranges) == 0 {
		return b
	}
	delay := uint64(max(now.Sub(r.largestTime), 0)/mono.Microsecond) >> localAckShift
	ranges := c.sh.ackRanges[:0]
	for i := len(r.ranges) - 1; i >= 0 && len(ranges) < maxSentRanges; i-- {
		ranges = append(ranges, r.ranges[i])
	}
	var ecn *wire.ECNCounts
	if r.ecn != (wire.ECNCounts{}) {
		ecn = &r.ecn
	}
	out, n := wire.AppendAck(b, ranges, delay, ecn, limit-len(b))
	if n == 0 {
		return b
	}
	s.sent.add(record{kind: recAck, id: ranges[0].Largest})
	r.sentAck()
	if mutant.On(mutant.AckPrunedEarly) {
		r.pruneBelow(ranges[0].Largest)
	}
	c.sh.Stats.AcksSent++
	return out
}

// localAckShift is the ack_delay_exponent that this end announces.
const localAckShift = 3

// handleAck settles packets (RFC 9000 §13.1, RFC 9002 §5-6). b begins after the frame's type.
func (c *Conn) handleAck(now mono.Time, level wire.Level, s *space, b []byte, withECN bool) int {
	ranges, delay, counts, n := wire.ParseAck(b, c.sh.ackRanges[:0], withECN)
	if n < 0 {
		c.failFrame(now, wire.FrameEncodingError, wire.FrameAck, "malformed ACK")
		return -1
	}
	largest := ranges[0].Largest
	if largest >= s.next && !mutant.On(mutant.UnsentUnchecked) {
		c.failFrame(now, wire.ProtocolViolation, wire.FrameAck, "ACK of a packet never sent")
		return -1
	}
	if s.gapEnd > 0 && s.inGap(ranges) {
		c.failFrame(now, wire.ProtocolViolation, wire.FrameAck, "ACK of a packet number that was jumped over")
		return -1
	}
	a := acked{inFlight: c.bytesInFlight}
	newLargest := int64(largest) > s.largestAcked
	for i := range ranges {
		if mutant.On(mutant.DropAckRange) && i > 0 && i == len(ranges)-1 {
			break
		}
		if !c.settleRange(now, level, s, ranges[i], &a) {
			c.failFrame(now, wire.ProtocolViolation, wire.FrameAck, "ACK of a skipped packet number")
			return -1
		}
	}
	if newLargest {
		s.largestAcked = int64(largest)
	}
	if level == wire.LevelHandshake {
		c.hs.serverValidated = true // a server needs no more probes to answer (RFC 9002 §6.2.2.1)
	}
	if a.packets > 0 {
		c.onAcked(now, level, s, &a, delay, newLargest && a.largest == largest)
		c.trace(now, TraceAcked, uint64(level), uint64(a.packets), largest)
		c.trace(now, TraceWindow, uint64(c.cc.Window()), uint64(c.bytesInFlight), uint64(c.rtt.Smoothed))
		if newLargest && (withECN || c.ecn.state != ecnOff) { // counts of a late ACK are old (RFC 9000 §13.4.2.1)
			c.onECN(now, level, &a, counts, withECN)
		}
		c.detectLoss(now, level, s)
	}
	c.trim(now, s)
	return n
}

// inGap reports whether a range names a number that a new owner jumped over.
func (s *space) inGap(ranges []wire.AckRange) bool {
	for i := range ranges {
		if ranges[i].Smallest < s.gapEnd && ranges[i].Largest >= s.gapFrom {
			return true
		}
	}
	return false
}

// acked sums up what one ACK frame settled.
type acked struct {
	packets     int // newly acknowledged
	bytes       int // ... of those in flight
	eliciting   bool
	largest     uint64 // highest newly acknowledged number and when it was sent
	largestTime mono.Time
	ect         uint64 // newly acknowledged packets that were sent with ECT(0)
	inFlight    int    // before this ACK
}

// settleRange marks the packets of one range as acknowledged. It returns false if one of them was never sent.
func (c *Conn) settleRange(now mono.Time, level wire.Level, s *space, r wire.AckRange, a *acked) bool {
	log := &s.sent
	end := log.base + uint64(log.packets.len())
	for pn := max(r.Smallest, log.base); pn <= r.Largest && pn < end; pn++ {
		p := log.packets.at(int(pn - log.base))
		switch p.state {
		case packetAcked:
			continue
		case packetSkipped:
			if mutant.On(mutant.SkipUnchecked) {
				continue
			}
			return false
		case packetLost:
			mark.Hit(markSpurious)
			c.sh.Stats.PacketsSpurious++
		case packetOutstanding:
			c.leaveFlight(s, p)
			if p.flags&flagInFlight != 0 {
				a.bytes += int(p.size)
			}
		}
		p.state = packetAcked
		a.packets++
		if p.flags&flagAckEliciting != 0 {
			a.eliciting = true
		}
		if p.flags&flagECT != 0 {
			a.ect++
		}
		if pn >= a.largest {
			a.largest, a.largestTime = pn, p.time
		}
		if p.flags&flagMTUProbe != 0 {
			c.mtuAcked(now, int(p.size))
		} else if c.mtu.lost > 0 {
			c.mtu.passed(p.size)
		}
		for i := range uint32(p.records) {
			c.recordAcked(now, level, log.records.at(int(p.first+i-log.recBase)))
		}
	}
	return true
}

// onAcked feeds the estimators once for a whole ACK frame.
func (c *Conn) onAcked(now mono.Time, level wire.Level, s *space, a *acked, delay uint64, largestNew bool) {
	if largestNew && a.eliciting {
		d := mono.Duration(0)
		if level == wire.LevelOneRTT {
			d = mono.Duration(wire.AckDelayMicros(delay, c.peerAckShift)) * mono.Microsecond
			if c.confirmed {
				d = min(d, c.peerAckDelay)
			}
		}
		c.rtt.Update(now, now.Sub(a.largestTime), d)
	}
	if a.bytes > 0 {
		c.congestionAck(now, a)
	}
	// A client keeps backing off until it knows that the server has validated its address (RFC 9002 §6.2.1).
	if !c.client || c.confirmed || level != wire.LevelInitial {
		c.ptoCount, c.probes = 0, 0
		c.silentSince = mono.Never
	}
}

// leaveFlight takes a packet out of the count of what is on its way.
func (c *Conn) leaveFlight(s *space, p *sentPacket) {
	if p.flags&flagInFlight != 0 {
		c.bytesInFlight -= int(p.size)
	}
	if p.flags&flagAckEliciting != 0 {
		s.eliciting--
	}
}

// trim forgets settled packets at the front of the log. A skipped number is kept until a later one is settled, a lost packet for
// two PTOs: it may only be late, and its ACK tells that it need not be repeated. At rest nothing is kept.
func (c *Conn) trim(now mono.Time, s *space) {
	log := &s.sent
	n, recs := 0, uint32(0)
	keep := mono.Duration(0)
	if s.eliciting > 0 || c.msgs.wantsToSend() {
		keep = 2 * c.rtt.PTO(0)
	}
	for n < log.packets.len() {
		p := log.packets.at(n)
		if p.state == packetOutstanding || p.state == packetSkipped && int64(log.base)+int64(n) > s.largestAcked {
			break
		}
		if p.state == packetLost && now < p.time.Add(keep) {
			break
		}
		recs += uint32(p.records)
		n++
	}
	if n > 0 {
		log.packets.popFront(n)
		log.records.popFront(int(recs))
		log.base += uint64(n)
		log.recBase += recs
	}
}

// recordAcked tells the owner of a frame's information that it arrived.
func (c *Conn) recordAcked(now mono.Time, level wire.Level, r *record) {
	switch r.kind {
	case recAck:
		if s := c.space(level); s != nil {
			s.recv.pruneBelow(r.id)
		}
	case recCrypto:
		c.cryptoAcked(r)
	case recHandshakeDone, recPing, recAckFrequency, recNewToken:
	case recNewConnID:
	case recRetireConnID:
		c.peer.retireAcked(r.id)
	case recStream, recStreamReset, recStreamStop, recStreamMax, recStreamBlocked, recMaxStreams:
		if c.streams != nil {
			c.streams.onAcked(r)
		}
	default:
		c.msgs.onAcked(now, r)
	}
}

// recordLost has a frame's information repeated.
func (c *Conn) recordLost(now mono.Time, r *record) {
	switch r.kind {
	case recAck, recPing, recNewToken:
	case recCrypto:
		c.cryptoLost(r)
	case recHandshakeDone:
		c.end.doneDue = !mutant.On(mutant.DoneForgotten)
	case recAckFrequency:
		c.ackAsk.lost(r.id)
	case recNewConnID:
		c.ids.lost(r.id)
	case recRetireConnID:
		c.peer.retireLost(r.id)
	case recStream, recStreamReset, recStreamStop, recStreamMax, recStreamBlocked, recMaxStreams:
		if c.streams != nil {
			c.streams.onLost(r)
		}
	case recBlocked:
		c.msgs.onLost(now, r)
		if c.streams != nil && r.id == c.msgs.limit && c.streams.stalled() {
			c.msgs.wantAll(dueBlocked)
		}
	default:
		c.msgs.onLost(now, r)
	}
}
