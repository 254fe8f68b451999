package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// NextDeadline returns when HandleTimeout wants to be called if nothing else happens, or mono.Never. BuildTrain
// must have returned false since the last input.
func (c *Conn) NextDeadline() mono.Time {
	switch c.state {
	case StateFree, StateClosed:
		return mono.Never
	case StateClosing, StateDraining:
		return c.end.until
	}
	at, _, _ := c.recoveryDeadline()
	at = min(at, c.idleDeadline(), c.end.until)
	if c.app.canWrite && c.allowance() >= minAllowance {
		at = min(at, c.app.recv.deadline)
	}
	if c.hs != nil {
		at = min(at, c.hs.deadline)
	}
	if c.complete {
		at = min(at, c.msgs.deadline(), c.keepAliveDeadline(), c.mtu.retryAt, c.deadDeadline())
	}
	if c.move != nil {
		at = min(at, c.move.deadline)
	}
	if c.paceBlocked != 0 {
		at = min(at, c.paceBlocked)
	}
	return at
}

// HandleTimeout runs everything whose time has come.
func (c *Conn) HandleTimeout(now mono.Time) {
	switch c.state {
	case StateFree, StateClosed:
		return
	case StateClosing, StateDraining:
		if now >= c.end.until {
			c.state = StateClosed
		}
		return
	}
	if now >= c.paceBlocked {
		c.paceBlocked = 0
	}
	if now >= c.idleDeadline() {
		c.timedOut(now, "idle timeout")
		return
	}
	if c.hs != nil && now >= c.hs.deadline {
		if c.handshakeTimeout(now) {
			return
		}
	}
	if now >= c.end.until && c.end.graceful {
		c.closeNow(now, c.end.app, c.end.code, c.end.reason)
		return
	}
	if c.complete && now >= c.deadDeadline() {
		c.timedOut(now, "no acknowledgment")
		return
	}
	c.onRecoveryTimeout(now)
	if c.complete {
		c.msgs.handleTimeout(now)
		if now >= c.keepAliveDeadline() {
			c.pingDue = true
		}
		c.mtuTimeout(now)
	}
	if c.move != nil && now >= c.move.deadline {
		c.moveTimeout(now)
	}
}

// idleDeadline is when silence ends the connection (RFC 9000 §10.1): the smaller of both ends' timeouts, but at least
// three PTOs.
func (c *Conn) idleDeadline() mono.Time {
	d := c.sh.Config.IdleTimeout
	if c.peerIdle > 0 && (d <= 0 || c.peerIdle < d) {
		d = c.peerIdle
	}
	if d <= 0 {
		return mono.Never
	}
	return c.lastActive.Add(max(d, 3*c.rtt.PTO(c.peerAckDelay)))
}

// keepAliveDeadline is when a client sends a PING to keep NAT bindings and the idle timeout away.
func (c *Conn) keepAliveDeadline() mono.Time {
	d := c.sh.Config.KeepAlive
	if !c.client || d <= 0 || c.pingDue {
		return mono.Never
	}
	if idle := c.sh.Config.IdleTimeout; idle > 0 {
		d = min(d, idle/3)
	}
	if c.peerIdle > 0 {
		d = min(d, c.peerIdle/3)
	}
	return max(c.lastReceived, c.lastEliciting).Add(d)
}

// deadDeadline is when a peer that has left everything unanswered is given up: the last probes have had their time.
func (c *Conn) deadDeadline() mono.Time {
	at := c.lastCall()
	if at == mono.Never {
		return at
	}
	return at.Add(c.lastCallTime())
}

// lastCall is when a peer has left probes unanswered for the dead time. It is asked once more then, whenever the last probe was: so a
// link that was out for less than that time is always found to be back. Only ack-eliciting data outstanding can show silence, so a
// connection that sends nothing waits for the idle timeout. Whoever sends more often than the probe timeout never comes to probe: then
// the first packet that was not answered counts from the time at which it should have been.
func (c *Conn) lastCall() mono.Time {
	d := c.sh.Config.DeadPeer
	if d <= 0 || c.app.eliciting == 0 {
		return mono.Never
	}
	since := c.silentSince
	if c.sentSinceRecv {
		since = min(since, c.lastActive.Add(c.rtt.PTO(c.peerAckDelay)))
	}
	if since == mono.Never {
		return mono.Never
	}
	return since.Add(d)
}

// lastCallTime is how long the peer has to answer the last probes. lastProbes of them are sent, as any of them may be lost.
func (c *Conn) lastCallTime() mono.Duration {
	return max(c.sh.Config.DeadPeer/lastCallShare, 3*c.rtt.PTO(c.peerAckDelay))
}

// packetSent notes a packet for the timers.
func (c *Conn) packetSent(now mono.Time, level wire.Level, s *space, eliciting bool) {
	if !eliciting {
		return
	}
	s.lastEliciting, c.lastEliciting = now, now
	if c.hs != nil && level != wire.LevelOneRTT {
		c.hs.lastSent = now
	}
	if !c.sentSinceRecv {
		c.sentSinceRecv = true
		c.lastActive = now
	}
}
