package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// Codes of EventClosed that no CLOSE frame carries. They lie outside the varint range.
const (
	CodeIdleTimeout    uint64 = 1<<63 + iota // nothing was heard for the idle timeout, or probes went unanswered
	CodeStatelessReset                       // the peer has lost its state
	CodeHandshake                            // the handshake did not end in time
)

// ending is what the connection knows about its end.
type ending struct {
	until    mono.Time // of linger, closing or draining
	graceful bool      // flush first
	app      bool
	doneDue  bool // HANDSHAKE_DONE is to be sent (server); kept here since it is set once in a life
	due      bool // a CLOSE packet is to be sent
	early    bool // the error arose before the handshake was confirmed: all levels carry the CLOSE
	packets  uint32
	frame    uint64
	code     uint64
	reason   string
}

func (e *ending) init() { e.until = mono.Never }

// onPacket answers packets that arrive while closing, ever more rarely (RFC 9000 §10.2.1).
func (e *ending) onPacket() {
	e.packets++
	if e.packets&(e.packets-1) == 0 {
		e.due = true
	}
}

// maxReason bounds the reason in a CLOSE frame, maxEarlyReason where a datagram carries one at each level.
const (
	maxReason      = 256
	maxEarlyReason = 128
	maxCloseHead   = 19 // what precedes the reason: type, code, frame type, length of the reason
)

// Close ends the connection at once with a code and reason. What was not acknowledged may be lost.
func (c *Conn) Close(now mono.Time, app bool, code uint64, reason string) {
	if c.state == StateHandshaking || c.state == StateConnected {
		c.closeNow(now, app, code, reason)
	}
}

// Shutdown refuses further messages, waits until the reliable ones are acknowledged or the linger time is over, and
// then closes.
func (c *Conn) Shutdown(now mono.Time, code uint64, reason string) {
	c.closeFlushed(now, true, code, reason)
}

// Leave is Shutdown for a reason of the transport: it is not the application that ends the connection, the endpoint goes away.
func (c *Conn) Leave(now mono.Time, code wire.ErrorCode) {
	c.closeFlushed(now, false, uint64(code), "")
}

func (c *Conn) closeFlushed(now mono.Time, app bool, code uint64, reason string) {
	if c.state != StateHandshaking && c.state != StateConnected || c.end.graceful {
		return
	}
	c.end.graceful, c.end.app, c.end.code, c.end.reason = true, app, code, reason
	c.end.until = now.Add(c.sh.Config.Linger)
	c.checkFlushed(now)
}

// checkFlushed ends a graceful close once nothing is left to acknowledge.
func (c *Conn) checkFlushed(now mono.Time) {
	if c.end.graceful && c.state < StateClosing && c.msgs.flushed() {
		c.closeNow(now, c.end.app, c.end.code, c.end.reason)
	}
}

// fail closes for an error of the peer.
func (c *Conn) fail(now mono.Time, code wire.ErrorCode, reason string) {
	c.failFrame(now, code, 0, reason)
}

func (c *Conn) failFrame(now mono.Time, code wire.ErrorCode, frame uint64, reason string) {
	if c.state >= StateClosing {
		return
	}
	c.end.frame = frame
	c.closeNow(now, false, uint64(code), reason)
}

// closeNow enters the closing state and tells the application.
func (c *Conn) closeNow(now mono.Time, app bool, code uint64, reason string) {
	e := &c.end
	e.app, e.code, e.reason = app, code, reason[:min(len(reason), maxReason)]
	e.due, e.early = true, !c.confirmed
	arrived := c.app.recv.ranges
	c.finish(now, Event{Kind: EventClosed, App: app, Code: code, Payload: []byte(e.reason)})
	c.app.recv.ranges = arrived // the CLOSE acknowledges it
	c.state = StateClosing
}

// finish releases what the connection holds and tells the application. The connection drains.
func (c *Conn) finish(now mono.Time, ev Event) {
	c.releaseStreams()
	c.msgs.abort()
	c.event(ev)
	c.state = StateDraining
	c.end.until = now.Add(3 * c.rtt.PTO(c.peerAckDelay))
	c.end.graceful = false
	c.msgs.release()
	c.move = nil
	for l := range wire.Level(wire.NumLevels) {
		if s := c.space(l); s != nil {
			s.release()
		}
	}
	c.bytesInFlight = 0
}

// timedOut ends the connection silently.
func (c *Conn) timedOut(now mono.Time, reason string) {
	c.finish(now, Event{Kind: EventClosed, Code: CodeIdleTimeout, Payload: []byte(reason), Key: uint64(now.Sub(c.lastReceived))})
	c.state = StateClosed
}

// drain ends the closing state early: the peer has said CLOSE too.
func (c *Conn) drain(mono.Time) { c.state = StateDraining }

// handleClose takes the peer's CLOSE.
func (c *Conn) handleClose(now mono.Time, typ uint64, b []byte) int {
	ev := Event{Kind: EventClosed, Remote: true}
	n := 0
	if typ == wire.FrameApplicationClose {
		ev.App = true
		ev.Code, ev.Payload, n = wire.ParseApplicationClose(b)
	} else {
		var code wire.ErrorCode
		code, _, ev.Payload, n = wire.ParseClose(b)
		ev.Code = uint64(code)
	}
	if n < 0 {
		return -1
	}
	c.finish(now, ev)
	return n
}

// hasClose looks for a CLOSE frame in a packet that arrives while closing. A peer puts it first, or after its ACK.
func (c *Conn) hasClose(p *wire.Packet) bool {
	b := p.Payload
	if len(b) > 0 && (b[0] == wire.FrameAck || b[0] == wire.FrameAckECN) {
		_, _, _, n := wire.ParseAck(b[1:], c.sh.ackRanges[:0], b[0] == wire.FrameAckECN)
		if n < 0 {
			return false
		}
		b = b[1+n:]
	}
	return len(b) > 0 && (b[0] == wire.FrameClose || b[0] == wire.FrameApplicationClose)
}

// buildClose builds the packet or packets that carry CLOSE: before the handshake is confirmed one at each level the
// peer may be able to open (RFC 9000 §10.2.3).
func (c *Conn) buildClose(now mono.Time, buf []byte, t *wire.Train) bool {
	if !c.end.due || !c.validated && c.amplify < minDatagram {
		return false
	}
	c.end.due = false
	b := buf[:0:minDatagram]
	for level := range wire.Level(wire.NumLevels) {
		s := c.space(level)
		if s == nil || !s.canWrite || level != wire.LevelOneRTT && !c.end.early {
			continue
		}
		n := c.closePacket(now, level, s, b[len(b):len(b):cap(b)], t)
		b = b[:len(b)+n]
		t.Len = len(b)
	}
	if t.N == 0 {
		return false
	}
	if t.Packets[0].Level == wire.LevelInitial && len(b) < minDatagram {
		b = c.expand(b[:minDatagram:cap(b)], t)
	}
	t.Len, t.SegmentSize, t.Segments = len(b), len(b), 1
	c.spend(now, t.Len)
	return true
}

// closePacket writes one packet with a CLOSE frame. Below 1-RTT an application's code and reason stay private. The first 1-RTT packet
// begins with an ACK of everything that arrived: the peer, which forgets all when it reads the CLOSE, then knows which of its last
// messages did.
func (c *Conn) closePacket(now mono.Time, level wire.Level, s *space, b []byte, t *wire.Train) int {
	const pnLen = 4
	lengthOff := 0
	switch level {
	case wire.LevelOneRTT:
		b = wire.AppendShort(b, c.peer.current.Bytes(), 0, pnLen)
	case wire.LevelHandshake:
		b, lengthOff = wire.AppendLong(b, wire.PacketHandshake, wire.Version, c.peer.current.Bytes(), c.localID.Bytes(), nil, pnLen)
	default:
		b, lengthOff = wire.AppendLong(b, wire.PacketInitial, wire.Version, c.peer.current.Bytes(), c.localID.Bytes(), c.hs.token, pnLen)
	}
	pnOff := len(b)
	b = wire.AppendPN(b, s.next, pnLen)
	e := &c.end
	reason := []byte(e.reason)
	if e.early {
		reason = reason[:min(len(reason), maxEarlyReason)]
	}
	recs := s.sent.records.len()
	if level == wire.LevelOneRTT {
		b = c.appendAck(now, s, b, cap(b)-maxCloseHead-len(reason)-int(s.tagLen))
		s.recv.ranges = nil
	}
	switch {
	case e.app && level == wire.LevelOneRTT:
		b = wire.AppendApplicationClose(b, e.code, reason)
	case e.app:
		b = wire.AppendClose(b, wire.ApplicationError, 0, nil)
	default:
		b = wire.AppendClose(b, wire.ErrorCode(e.code), e.frame, reason)
	}
	size := len(b) + int(s.tagLen)
	if level != wire.LevelOneRTT {
		wire.SetLength(b, lengthOff, size-pnOff)
	}
	c.commit(now, level, t, pnOff, pnLen, size, recs, false, 0)
	return size
}
