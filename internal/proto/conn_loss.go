package proto

import (
	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// Loss recovery, RFC 9002 §6 with the constants of docs/SPEC.md.
const (
	packetThreshold = 3
	maxProbes       = 2                      // packets a PTO may send past the window
	eagerBackoff    = 200 * mono.Millisecond // cap of the back-off while reliable data waits ...
	eagerSilence    = 5 * mono.Second        // ... for this long
	maxBackoff      = 60 * mono.Second
	// deadProbes bounds the time between two probes to a share of that after which the peer counts as dead: a link that is back
	// before must not go unnoticed for want of a probe.
	deadProbes = 4
	// lastCallShare is the part of that time for which the last probes go on, and lastProbes how many of them fit in.
	lastCallShare = 8
	lastProbes    = 4
)

// congestionAck gives the controller one ACK frame's worth.
func (c *Conn) congestionAck(now mono.Time, a *acked) {
	limited := a.inFlight < c.cc.Window()/2
	c.cc.OnAck(now, congestion.AckInfo{
		Bytes: a.bytes, SentTime: a.largestTime, InFlight: a.inFlight, AppLimited: limited,
	}, &c.rtt)
}

// detectLoss declares packets lost by the packet threshold and the time threshold, and arms the timer for the next.
func (c *Conn) detectLoss(now mono.Time, level wire.Level, s *space) {
	s.lossTime = mono.Never
	log := &s.sent
	delay := c.rtt.LossDelay()
	var lost congestion.LossInfo
	var newest mono.Time // of the losses without an acknowledged packet between them
	inFlight := c.bytesInFlight
	n := int(s.largestAcked) - int(log.base)
	skipped, passed := 0, uint16(0)
	for i := min(n+1, log.packets.len()) - 1; i >= 0; i-- {
		p := log.packets.at(i)
		if p.state == packetSkipped {
			skipped++
			continue
		}
		if p.state == packetAcked {
			newest, passed = 0, max(passed, p.size)
		}
		if p.state != packetOutstanding {
			continue
		}
		if n-i-skipped < packetThreshold && now < p.time.Add(delay) {
			if p.flags&flagAckEliciting != 0 {
				s.lossTime = min(s.lossTime, p.time.Add(delay))
			}
			continue
		}
		if p.flags&flagAckEliciting != 0 {
			newest = max(newest, p.time)
			lost.Persistent = lost.Persistent || newest.Sub(p.time) > c.rtt.PersistentDuration(c.peerAckDelay)
		}
		c.trace(now, TracePacketLost, uint64(level), log.base+uint64(i), uint64(p.size))
		c.lose(now, s, p, &lost)
		if p.flags&(flagMTUProbe|flagInFlight) == flagInFlight && level == wire.LevelOneRTT {
			c.mtuSuspect(now, p.size, passed)
		}
	}
	if lost.Bytes > 0 {
		lost.InFlight = inFlight
		lost.Persistent = lost.Persistent && level == wire.LevelOneRTT && c.rtt.Sampled()
		if lost.Persistent {
			mark.Hit(markPersistent)
		}
		c.cc.OnLoss(now, lost, &c.rtt)
	}
}

// lose settles one packet as lost and has its information repeated.
func (c *Conn) lose(now mono.Time, s *space, p *sentPacket, lost *congestion.LossInfo) {
	if !mutant.On(mutant.FlightLeak) {
		c.leaveFlight(s, p)
	}
	p.state = packetLost
	if p.flags&flagMTUProbe != 0 {
		c.mtuLost(int(p.size)) // says nothing about congestion (RFC 9000 §14.4)
		return
	}
	if p.flags&flagInFlight != 0 {
		c.sh.Stats.PacketsLost++
		lost.Bytes += int(p.size)
		lost.SentTime = max(lost.SentTime, p.time)
	}
	c.repeat(now, s, p)
}

// repeat has the information of a packet sent again.
func (c *Conn) repeat(now mono.Time, s *space, p *sentPacket) {
	for i := range uint32(p.records) {
		// A copy: repeating may add records, which may move the ring.
		r := *s.sent.records.at(int(p.first + i - s.sent.recBase))
		c.recordLost(now, &r)
	}
}

// recoveryDeadline is when loss detection wants to run (RFC 9002 §6.2.1), and for which level.
func (c *Conn) recoveryDeadline() (mono.Time, wire.Level, bool) {
	at, level, byTime := mono.Never, wire.LevelOneRTT, false
	for l := range wire.Level(wire.NumLevels) {
		if s := c.space(l); s != nil && s.lossTime < at {
			at, level, byTime = s.lossTime, l, true
		}
	}
	if byTime {
		return at, level, true
	}
	if !c.validated && c.amplify < minDatagram || c.allowance() < minAllowance || mutant.On(mutant.NoPTO) {
		return at, level, false // nothing may be sent until the client shows up again (RFC 9002 §6.2.2.1)
	}
	for l := range wire.Level(wire.NumLevels) {
		s := c.space(l)
		if s == nil || !c.awaits(l, s) {
			continue
		}
		from := s.lastEliciting
		if s.eliciting == 0 {
			from = c.hs.lastSent
		}
		t := from.Add(c.backoff(l))
		if l == wire.LevelOneRTT && c.complete && !c.pingDue {
			t = min(t, c.lastProbe(from))
		}
		if t < at {
			at, level = t, l
		}
	}
	if at == mono.Never && c.client && c.hs != nil && !c.confirmed && !c.hs.serverValidated {
		// The client's anti-deadlock probe: the server may have run into its anti-amplification limit.
		level = wire.LevelInitial
		if c.hs.spaces[wire.LevelHandshake].canWrite {
			level = wire.LevelHandshake
		}
		at = c.hs.lastSent.Add(c.backoff(level))
	}
	return at, level, false
}

// lastProbe is when the next probe is due for the last call, which the back-off must not miss.
func (c *Conn) lastProbe(from mono.Time) mono.Time {
	last := c.lastCall()
	if from < last {
		return last
	}
	return from.Add(max(c.lastCallTime()/lastProbes, c.rtt.PTO(c.peerAckDelay)))
}

// awaits reports whether a level waits for an acknowledgment. Before the handshake is confirmed the peer may be unable to
// acknowledge 1-RTT packets (RFC 9002 §6.2.1). They may fill the window meanwhile, so a lost flight of the handshake, which must
// come first, counts although nothing of it is outstanding.
func (c *Conn) awaits(level wire.Level, s *space) bool {
	if level == wire.LevelOneRTT {
		return s.eliciting > 0 && c.confirmed
	}
	return s.eliciting > 0 || s.canWrite && c.hs.crypto[level].wants()
}

// backoff is the probe timeout of a level after the expirations so far.
func (c *Conn) backoff(level wire.Level) mono.Duration {
	delay := mono.Duration(0)
	if level == wire.LevelOneRTT {
		delay = c.peerAckDelay
	}
	d := c.rtt.PTO(delay)
	base := d
	d <<= min(c.ptoCount, 12)
	if d > eagerBackoff && c.eager(level) {
		d = max(eagerBackoff, base)
	}
	most := mono.Duration(maxBackoff)
	if dead := c.sh.Config.DeadPeer; dead > 0 {
		most = min(most, max(dead/deadProbes, base))
	}
	return min(d, most)
}

// eager reports whether the back-off is capped: a link that comes back within seconds is to be noticed at once, not after a
// doubled silence.
func (c *Conn) eager(level wire.Level) bool {
	return level == wire.LevelOneRTT && c.complete && !c.msgs.flushed() &&
		(c.silentSince == mono.Never || c.app.lastEliciting.Sub(c.silentSince) < eagerSilence)
}

// ptoExpired counts an expiration of the probe timeout. Those at the cap do not double the back-off behind it: after the eager
// seconds it goes on from there, not from where many silent doublings would have led.
func (c *Conn) ptoExpired(level wire.Level) {
	if c.ptoCount >= mtuTries && c.eager(level) && c.rtt.PTO(c.peerAckDelay)<<min(c.ptoCount, 12) > eagerBackoff {
		mark.Hit(markEagerCap)
		return
	}
	c.ptoCount = min(c.ptoCount+1, 20)
}

// onRecoveryTimeout runs loss detection or sends probes.
func (c *Conn) onRecoveryTimeout(now mono.Time) {
	at, level, byTime := c.recoveryDeadline()
	if now < at {
		return
	}
	s := c.space(level)
	if byTime {
		c.detectLoss(now, level, s)
		c.trim(now, s)
		return
	}
	mark.Hit(markProbe)
	if c.complete {
		// What waits at 1-RTT must not starve behind a Finished that the server, confirmed, no longer answers.
		c.ptoExpired(wire.LevelOneRTT)
	} else {
		c.ptoExpired(level)
	}
	if c.silentSince == mono.Never {
		c.silentSince = now
	}
	c.probes = maxProbes
	if mutant.On(mutant.ThirdProbe) {
		c.probes++
	}
	c.sh.Stats.Probes++
	c.trace(now, TracePTO, uint64(level), uint64(c.ptoCount), 0)
	if level != wire.LevelOneRTT {
		// Both handshake levels probe together: their packets share a datagram (RFC 9002 §6.2.4).
		if !c.awaits(level, s) {
			mark.Hit(markDeadlock)
		}
		for l := range wire.LevelOneRTT {
			if s := c.space(l); s != nil && s.canWrite {
				c.probeSpace(now, s)
				c.hs.probe[l] = true
			}
		}
		if !c.complete {
			return
		}
		s = &c.app
	}
	if c.ptoCount >= mtuTries {
		c.mtuSilence(now)
	}
	c.probeSpace(now, s)
	c.pingDue = true
	if c.complete && len(c.app.recv.ranges) > 0 {
		c.ackAsk.immediate = true
	}
}

// probeSpace repeats the information of the oldest outstanding packets that carry any, which stay outstanding.
func (c *Conn) probeSpace(now mono.Time, s *space) {
	left := maxProbes
	for i := 0; i < s.sent.packets.len() && left > 0; i++ {
		p := s.sent.packets.at(i)
		if p.state == packetOutstanding && p.flags&flagAckEliciting != 0 && s.informs(p) {
			c.repeat(now, s, p)
			left--
		}
	}
}

// informs reports whether a packet carries more than an ACK and a PING.
func (s *space) informs(p *sentPacket) bool {
	for i := range uint32(p.records) {
		if k := s.sent.records.at(int(p.first + i - s.sent.recBase)).kind; k != recAck && k != recPing {
			return true
		}
	}
	return false
}

// dropSpace forgets a handshake level: its packets leave the flight (RFC 9002 §6.4).
func (c *Conn) dropSpace(level wire.Level) {
	s := c.space(level)
	if s == nil {
		return
	}
	for i := range s.sent.packets.len() {
		if p := s.sent.packets.at(i); p.state == packetOutstanding {
			c.leaveFlight(s, p)
		}
	}
	s.release()
	c.hs.dropped[level] = true
	c.hs.crypto[level] = cryptoStream{}
	c.ptoCount = 0
	c.event(Event{Kind: EventDropKeys, Level: level})
}
