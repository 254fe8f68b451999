package proto

import (
	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

const (
	maxTrain       = 16 // datagrams side by side
	minPayload     = 4  // bytes of packet number and payload that header protection needs (RFC 9001 §5.4.2)
	ackOnlyPackets = 32 // packets without ack-eliciting frames before one carries a PING (RFC 9000 §13.2.4)
)

// BuildTrain fills t with packets to protect and send, written side by side into buf. It returns false when nothing
// may or need leave now; it is called until then. The first datagram is built at its natural size; while more is queued,
// the following ones are limited and padded to that size, so that the kernel can cut them as one super-packet. buf
// must hold 16 datagrams of the largest size.
func (c *Conn) BuildTrain(now mono.Time, buf []byte, t *wire.Train) bool {
	t.N, t.Len, t.Segments, t.SegmentSize, t.ECN = 0, 0, 0, 0, 0
	t.Path = c.path
	switch c.state {
	case StateHandshaking, StateConnected:
	case StateClosing:
		return c.buildClose(now, buf, t)
	default:
		return false
	}
	if c.move != nil && c.buildProbe(now, buf, t) {
		return true
	}
	if c.hs != nil && !c.confirmed {
		if c.hs.dropInitial {
			c.dropSpace(wire.LevelInitial)
			c.hs.dropInitial = false
		}
		if c.buildHandshake(now, buf, t) {
			return true
		}
	}
	if !c.app.canWrite {
		return false
	}
	return c.buildApp(now, buf, t)
}

// buildApp builds a train of 1-RTT packets.
func (c *Conn) buildApp(now mono.Time, buf []byte, t *wire.Train) bool {
	if !c.wantsApp(now) {
		return false
	}
	budget := c.budget(now)
	size := int(c.mtu.size)
	c.msgs.setFullPacket(size - int(c.app.tagLen))
	if c.mtu.probeDue && c.buildMTUProbe(now, buf, t, budget) {
		return true
	}
	for t.Segments < maxTrain && len(buf)-t.Len >= size {
		if size = min(size, c.allowance()-t.Len); size < minAllowance {
			break
		}
		eliciting := budget > 0 || c.probes > 0
		n := c.buildPacket(now, buf[t.Len:t.Len:t.Len+size], t, eliciting)
		if n == 0 {
			break
		}
		budget -= n
		if t.Segments == 0 {
			t.SegmentSize = n
			if n < int(c.mtu.size)*3/4 {
				t.Segments, t.Len = 1, n
				break
			}
			size = n
		}
		t.Len += n
		t.Segments++
		if n < size || mutant.On(mutant.LonePackets) {
			break
		}
		if !c.msgs.wantsToSend() || budget <= 0 && c.probes == 0 {
			break
		}
	}
	if t.Segments == 0 {
		return false
	}
	c.spend(now, t.Len)
	return true
}

// wantsApp reports, cheaply, whether a 1-RTT packet is worth trying.
func (c *Conn) wantsApp(now mono.Time) bool {
	return c.complete && c.msgs.wantsToSend() || c.pingDue || c.probes > 0 || c.end.doneDue || c.mtu.probeDue ||
		c.app.recv.due(now) || c.ids.wants() || c.peer.wants() || c.move != nil && c.move.wants() ||
		c.hs != nil && c.hs.crypto[wire.LevelOneRTT].wants()
}

// budget is how many in-flight bytes may leave now: the room in the congestion window and the pacer's credit.
// Probes pass it.
func (c *Conn) budget(now mono.Time) int {
	room := c.cc.Window() - c.bytesInFlight
	if room <= 0 && !mutant.On(mutant.WindowIgnored) {
		return 0
	}
	rate := c.pacingRate()
	ready := c.pace.Ready(now, rate)
	if ready <= 0 {
		c.paceBlocked = c.pace.Next(now, int(c.mtu.size), rate)
		return 0
	}
	if mutant.On(mutant.WindowIgnored) {
		return ready
	}
	return min(room, ready)
}

// pacingRate is the rate of the pacer: what congestion control asks for, but no more than is configured. Zero is no limit.
func (c *Conn) pacingRate() int64 {
	rate, limit := c.cc.PacingRate(&c.rtt), c.sh.Config.MaxSendRate
	if limit > 0 && (rate <= 0 || rate > limit) {
		return limit
	}
	return rate
}

// SuggestedRate is how many bytes a second congestion control expects to get through: a window for each round trip, and no
// more than is configured; 0 if it does not know yet.
func (c *Conn) SuggestedRate() int64 {
	if !c.rtt.Sampled() {
		return 0
	}
	rate := int64(float64(c.cc.Window()) / max(c.rtt.Smoothed, 1).Seconds())
	if limit := c.sh.Config.MaxSendRate; limit > 0 {
		rate = min(rate, limit)
	}
	return rate
}

// minAllowance is the least that is worth a packet to an address that is not validated.
const minAllowance = 64

// allowance is how many bytes the path may still be sent before it is validated (RFC 9000 §8.1, §9.3).
func (c *Conn) allowance() int {
	n := noLimit
	if !c.validated && !mutant.On(mutant.AmplificationFree) {
		n = c.amplify
	}
	if c.move != nil {
		n = min(n, c.move.amplify)
	}
	return n
}

const noLimit = 1 << 30 // fits the int of every platform; far more than a validation lasts

// spend notes bytes that leave.
func (c *Conn) spend(now mono.Time, n int) {
	c.pace.Sent(now, n)
	if !c.validated {
		c.amplify -= n
	}
	if c.move != nil {
		c.move.amplify -= n
	}
}

// buildPacket writes one 1-RTT packet of at most cap(b) bytes and returns its size, 0 if there was nothing to say.
// Later packets of a train are padded to the full size while more is queued.
func (c *Conn) buildPacket(now mono.Time, b []byte, t *wire.Train, eliciting bool) int {
	s := &c.app
	skipIn := c.skipIn
	c.skip(now, s)
	pnLen := wire.PNLen(s.next, s.largestAcked)
	b = wire.AppendShort(b, c.peer.current.Bytes(), 0, pnLen)
	pnOff := len(b)
	b = wire.AppendPN(b, s.next, pnLen)
	start := len(b)
	limit := cap(b) - int(s.tagLen)
	recs := s.sent.records.len()
	b = c.appendControl(now, s, b, limit, eliciting)
	ackEnd := len(b)
	if c.move != nil && c.pathRoom() {
		b = c.move.append(b, limit, c.path.Remote) // a full window must not keep a path from being validated
	}
	pathEnd := len(b)
	if eliciting {
		b = c.appendEliciting(now, s, b, limit)
	}
	if len(b) == start {
		if skipIn > 1 {
			c.skipIn = skipIn // only packets count: a connection that is kept waiting skips no numbers
		}
		return 0
	}
	isEliciting := len(b) > ackEnd
	if !isEliciting && s.ackOnly >= ackOnlyPackets && len(b) < limit && c.bytesInFlight < c.cc.Window() {
		mark.Hit(markAckPing)
		b = wire.AppendPing(b)
		s.sent.add(record{kind: recPing})
		isEliciting = true
	}
	for len(b) < pnOff+minPayload {
		b = append(b, 0)
	}
	if t.Segments > 0 && len(b) < limit && c.msgs.wantsToSend() {
		b = append(b, zeros[:limit-len(b)]...)
	}
	size := len(b) + int(s.tagLen)
	flags := uint8(0)
	if pathEnd > ackEnd {
		flags = flagPath
	}
	c.commit(now, wire.LevelOneRTT, t, pnOff, pnLen, size, recs, isEliciting, flags)
	return size
}

var zeros [1500 * 8]byte

// appendControl writes what needs no window: the ACK.
func (c *Conn) appendControl(now mono.Time, s *space, b []byte, limit int, eliciting bool) []byte {
	switch {
	case s.recv.unacked == 0:
	case s.muted() && !(eliciting && c.msgs.wantsToSend()):
		c.withholdAck(s)
	default:
		b = c.appendAck(now, s, b, limit)
	}
	return b
}

// withholdAck leaves an ACK out that would have to leave alone. The next packet that asks for one is another chance.
func (c *Conn) withholdAck(s *space) {
	mark.Hit(markWithheld)
	c.sh.Stats.AcksWithheld++
	s.recv.sentAck()
}

// appendEliciting writes control and message frames, in the order of docs/SPEC.md.
func (c *Conn) appendEliciting(now mono.Time, s *space, b []byte, limit int) []byte {
	start := len(b)
	if c.end.doneDue && len(b) < limit {
		b = wire.AppendHandshakeDone(b)
		s.sent.add(record{kind: recHandshakeDone})
		c.end.doneDue = false
	}
	if c.hs != nil {
		b = c.appendCrypto(wire.LevelOneRTT, s, b, limit)
	}
	if c.ids.wants() || c.peer.wants() {
		b = c.appendIDs(s, b, limit)
	}
	if c.complete {
		b = c.askForAcks(s, b, limit, c.msgs.wantsToSend() || c.pingDue)
		if c.streams == nil {
			b = c.msgs.appendFrames(now, b, limit, &s.sent)
		} else {
			b = c.appendShared(now, b, limit, &s.sent)
		}
	}
	if c.pingDue && len(b) < limit {
		if len(b) == start {
			b = wire.AppendPing(b)
			s.sent.add(record{kind: recPing})
		}
		c.pingDue = false
	}
	return b
}

// commit enters a built packet into the train and the space's log.
func (c *Conn) commit(now mono.Time, level wire.Level, t *wire.Train, pnOff, pnLen, size, recs int, eliciting bool, flags uint8) {
	s := c.space(level)
	if level == wire.LevelOneRTT && c.ecn.mark(t) {
		flags |= flagECT
	}
	t.Packets[t.N] = wire.Outgoing{
		Off: int32(t.Len), PNOff: int32(pnOff), End: int32(t.Len + size),
		Number: s.next, Level: level, PNLen: uint8(pnLen), TagLen: s.tagLen,
	}
	t.N++
	if eliciting {
		invariant.Check(c.probes > 0 || flags&flagPath != 0 || c.bytesInFlight < c.cc.Window() || level != wire.LevelOneRTT,
			"an ack-eliciting packet left with a full window")
		flags |= flagAckEliciting | flagInFlight
		s.eliciting++
		s.ackOnly = 0
		if c.probes > 0 {
			c.probes--
		}
	} else if s.ackOnly < 255 {
		s.ackOnly++
	}
	if flags&flagInFlight != 0 {
		c.cc.OnSent(now, size, c.bytesInFlight)
		c.bytesInFlight += size
	}
	s.push(sentPacket{time: now, records: uint16(s.sent.records.len() - recs), size: uint16(size), flags: flags})
	c.packetSent(now, level, s, eliciting)
	c.trace(now, TracePacketSent, uint64(level), s.next-1, uint64(size))
	c.sh.Stats.PacketsSent++
	if eliciting {
		c.sh.Stats.AckEliciting++
	}
}

// push enters a packet under the next number. Its records are the last ones of the log.
func (s *space) push(p sentPacket) {
	p.first = s.sent.recBase + uint32(s.sent.records.len()) - uint32(p.records)
	if s.sent.packets.len() == 0 {
		s.sent.base = s.next
	}
	s.sent.packets.push(p)
	s.next++
}

// skip leaves out a packet number now and then, unpredictably: a peer that acknowledges it is guessing (RFC 9000
// §21.4).
func (c *Conn) skip(now mono.Time, s *space) {
	if c.skipIn--; c.skipIn > 0 {
		return
	}
	s.push(sentPacket{time: now, state: packetSkipped})
	c.drawSkip()
}

// drawSkip decides when the next number is left out: about once a window.
func (c *Conn) drawSkip() {
	window := uint64(64)
	if n := c.cc.Window() / minDatagram; n > 64 {
		window = uint64(min(n, 4096))
	}
	c.skipIn = uint16(window/2 + c.rng.Uint64n(window))
}
