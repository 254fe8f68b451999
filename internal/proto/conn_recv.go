package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// HandleDatagram accounts for a datagram before its packets are opened: an unvalidated address may be sent three
// times what came from it (RFC 9000 §8.1), and every byte that carries the connection's IDs counts.
func (c *Conn) HandleDatagram(_ mono.Time, path *wire.Path, size int) {
	if !c.validated {
		c.amplify += amplification * size
	}
	if c.move != nil && path.Remote == c.path.Remote {
		c.move.amplify += amplification * size
	}
}

const amplification = 3

// HandlePacket takes an opened, authenticated packet.
func (c *Conn) HandlePacket(now mono.Time, p *wire.Packet) {
	switch c.state {
	case StateHandshaking, StateConnected:
	case StateClosing:
		c.end.onPacket()
		if c.hasClose(p) {
			c.drain(now)
		}
		return
	default:
		return
	}
	s := c.space(p.Level)
	if s == nil {
		return
	}
	if p.Reserved {
		c.fail(now, wire.ProtocolViolation, "reserved bits set")
		return
	}
	if len(p.Payload) == 0 {
		c.fail(now, wire.ProtocolViolation, "packet without frames")
		return
	}
	if p.Level == wire.LevelHandshake && !c.client {
		c.validated = true // only the client's own address could have received our Handshake keys
		c.dropSpace(wire.LevelInitial)
	}
	c.sh.Stats.PacketsReceived++
	c.trace(now, TracePacketReceived, uint64(p.Level), p.Number, uint64(len(p.Payload)))
	c.lastReceived, c.lastActive, c.sentSinceRecv = now, now, false
	f := c.handleFrames(now, p, s)
	if c.state >= StateClosing {
		return
	}
	c.received(now, p, s, f)
	c.checkFlushed(now)
}

// frames sums up what a packet held.
type frames struct {
	eliciting  bool
	nonProbing bool
	immediate  bool
}

// received does what follows from a whole packet: the ranges to acknowledge, and the path it came by.
func (c *Conn) received(now mono.Time, p *wire.Packet, s *space, f frames) {
	disordered := s.recv.insert(p.Number, now)
	immediate := f.immediate || disordered || p.Level != wire.LevelOneRTT
	switch p.ECN {
	case wire.ECNECT0:
		s.recv.ecn.ECT0++
	case wire.ECNECT1:
		s.recv.ecn.ECT1++
	case wire.ECNCE:
		s.recv.ecn.CE++
		immediate = true
	}
	s.recv.note(now, f.eliciting, immediate, c.sh.Config.maxAckDelay())
	if p.Level != wire.LevelOneRTT {
		return
	}
	if f.nonProbing && int64(p.Number) > c.largestNonProbe {
		c.largestNonProbe = int64(p.Number)
		if p.Path.Remote != c.path.Remote {
			c.pathChanged(now, p.Path, p.Size)
		} else if p.Path.Local != c.path.Local {
			c.path.Local = p.Path.Local // the same peer reached us by another of our addresses: answer from there
		}
	}
}

// handleFrames parses a packet's frames. Every step consumes at least a byte or closes the connection.
func (c *Conn) handleFrames(now mono.Time, p *wire.Packet, s *space) (f frames) {
	b := p.Payload
	for len(b) > 0 && c.state < StateClosing {
		typ := uint64(b[0])
		if typ == wire.FramePadding {
			b = b[wire.SkipPadding(b):]
			continue
		}
		if typ >= 0x40 { // a frame type is one byte here; longer encodings are of frames that do not exist
			c.failFrame(now, wire.FrameEncodingError, typ, "unknown frame")
			return f
		}
		if wire.AllowedFrames(p.Level)>>typ&1 == 0 {
			code := wire.ProtocolViolation
			if !wire.IsKnownFrame(b[0]) {
				code = wire.FrameEncodingError
			}
			c.failFrame(now, code, typ, "frame not allowed in this packet")
			return f
		}
		f.eliciting = f.eliciting || wire.IsAckEliciting(b[0])
		f.nonProbing = f.nonProbing || !wire.IsProbing(b[0])
		n := c.handleFrame(now, p, s, typ, b[1:], &f)
		if n < 0 {
			if c.state < StateClosing {
				c.failFrame(now, wire.FrameEncodingError, typ, "malformed frame")
			}
			return f
		}
		b = b[1+n:]
	}
	return f
}

// handleFrame dispatches on the frame's type. It returns the bytes consumed, or -1 if the frame is malformed or has
// closed the connection.
func (c *Conn) handleFrame(now mono.Time, p *wire.Packet, s *space, typ uint64, b []byte, f *frames) int {
	switch typ {
	case wire.FramePing:
		return 0
	case wire.FrameAck, wire.FrameAckECN:
		return c.handleAck(now, p.Level, s, b, typ == wire.FrameAckECN)
	case wire.FrameCrypto:
		return c.handleCrypto(now, p.Level, b)
	case wire.FrameMessage, wire.FrameMessageKeyed, wire.FrameMessages, wire.FrameMessagesKeyed,
		wire.FrameFragment, wire.FrameFragmentKeyed, wire.FrameSkip:
		if !c.complete { // only a server can see this: the client sent data before its Finished arrived
			return c.early(now, typ)
		}
		n, code := c.msgs.handleFrame(now, typ, b)
		if n < 0 {
			c.failFrame(now, code, typ, "")
		}
		return n
	case wire.FrameMaxData, wire.FrameMaxChannel, wire.FrameBlocked, wire.FrameChannelBlocked, wire.FrameMaxStreams, wire.FrameResetStream, wire.FrameStopSending,
		wire.FrameStream, wire.FrameStream + 1, wire.FrameStream + 2, wire.FrameStream + 3,
		wire.FrameStream + 4, wire.FrameStream + 5, wire.FrameStream + 6, wire.FrameStream + 7:
		if !c.complete {
			return c.early(now, typ)
		}
		n, code := c.handleShared(now, typ, b)
		if n < 0 {
			c.failFrame(now, code, typ, "")
		}
		return n
	case wire.FrameNewConnectionID:
		return c.handleNewConnectionID(now, b)
	case wire.FrameRetireConnectionID:
		return c.handleRetireConnectionID(now, b)
	case wire.FramePathChallenge:
		return c.handlePathChallenge(b, p)
	case wire.FramePathResponse:
		return c.handlePathResponse(now, b, p)
	case wire.FrameClose, wire.FrameApplicationClose:
		return c.handleClose(now, typ, b)
	case wire.FrameHandshakeDone:
		if !c.client {
			c.failFrame(now, wire.ProtocolViolation, typ, "HANDSHAKE_DONE from a client")
			return -1
		}
		c.confirm(now)
		return 0
	case wire.FrameImmediateAck:
		f.immediate = true
		return 0
	case wire.FrameAckFrequency:
		return c.handleAckFrequency(b)
	case wire.FrameNewToken:
		token, n := wire.ParseNewToken(b)
		if n >= 0 && !c.client {
			c.failFrame(now, wire.ProtocolViolation, typ, "NEW_TOKEN from a client")
			return -1
		}
		if n < 0 {
			return -1
		}
		c.event(Event{Kind: EventTicket, Payload: token})
		return n
	}
	panic("BUG: proto: a frame type that is known has no handler")
}

// handleShared dispatches frames about streams, and those about credit, which channels and streams share.
func (c *Conn) handleShared(now mono.Time, typ uint64, b []byte) (n int, code wire.ErrorCode) {
	switch {
	case typ < wire.FrameMaxData || typ == wire.FrameMaxStreams:
		return c.handleStreams(typ, b)
	case typ == wire.FrameMaxChannel || typ == wire.FrameChannelBlocked:
		if id, limit, n := wire.ParseMaxChannel(b); n > 0 && id >= wire.MinStream {
			if code := c.handleLimit(typ, id, limit); code != wire.NoError {
				return -1, code
			}
			return n, wire.NoError
		}
	}
	n, code = c.msgs.handleFrame(now, typ, b)
	if typ == wire.FrameMaxData && c.streams != nil {
		c.streams.credited()
	}
	return n, code
}

// early refuses application data before the handshake is complete. The shard holds such packets back, so a peer that
// gets here broke the protocol.
func (c *Conn) early(now mono.Time, typ uint64) int {
	c.failFrame(now, wire.ProtocolViolation, typ, "data before the end of the handshake")
	return -1
}
