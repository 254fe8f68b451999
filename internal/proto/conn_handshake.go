package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// handshake is what a connection holds only until its handshake is confirmed and the last CRYPTO bytes are
// acknowledged: the two early packet-number spaces, the CRYPTO streams of all levels and what the transport
// parameters are checked against.
type handshake struct {
	spaces  [2]space // Initial, Handshake
	crypto  [wire.NumLevels]cryptoStream
	dropped [2]bool
	probe   [2]bool // the level owes a probe

	token           []byte // client: from a Retry
	original        wire.ConnID
	retrySrc        wire.ConnID
	peerSource      wire.ConnID // the source ID of the peer's first packet
	retried         bool
	havePeer        bool
	serverValidated bool // client: the server has acknowledged a Handshake packet or confirmed
	dropInitial     bool // client: a Handshake packet was sent
	params          bool // the peer's parameters were taken
	helloDone       bool // server: the ClientHello went to the session
	lastSent        mono.Time
	deadline        mono.Time // when the handshake has failed, or later, when its rest is dropped
}

// CRYPTO limits of docs/SPEC.md.
const (
	maxCryptoBuffer = 16 << 10
	maxCryptoGaps   = 8
	helloHeaderLen  = 4
	maxRetryToken   = 512 // leaves room for CRYPTO, and for CLOSE at all levels, in a datagram of 1,200 bytes
)

// cryptoStream is one level's CRYPTO bytes in both directions. Offsets fit 32 bits: no handshake is longer.
type cryptoStream struct {
	out    []byte   // everything to send, from offset 0
	next   uint32   // first byte never sent
	resend rangeset // lost
	done   rangeset // acknowledged

	in      []byte   // received bytes from offset base on
	base    uint32   // delivered to the session so far
	have    rangeset // received ranges above base
	fixed   bool     // in is the half-open entry's buffer and may not grow
	waiting bool     // the ClientHello is gathered whole before the session sees any of it
}

func newHandshake(now mono.Time, p InitParams) *handshake {
	h := &handshake{original: p.OriginalDst, retrySrc: p.RetrySrc, lastSent: now, deadline: mono.Never}
	for i := range h.spaces {
		h.spaces[i].init()
	}
	if !p.Client {
		h.peerSource, h.havePeer = p.PeerID, true
		in := &h.crypto[wire.LevelInitial]
		in.waiting = true
		if p.CryptoBuf != nil {
			in.in, in.fixed = p.CryptoBuf[:0], true
		}
	}
	return h
}

// SetHandshakeDeadline says when an incomplete handshake has failed.
func (c *Conn) SetHandshakeDeadline(at mono.Time) {
	if c.hs != nil && !c.complete {
		c.hs.deadline = at
	}
}

// InstallKeys says that packet protection for a level and direction is ready; tagLen is what it adds to a packet.
func (c *Conn) InstallKeys(level wire.Level, write bool, tagLen int) {
	s := c.space(level)
	if s == nil {
		return
	}
	if write {
		s.canWrite, s.tagLen = true, uint8(tagLen)
	} else {
		s.canRead = true
	}
}

// SendCrypto queues bytes of the session at a level; they are copied.
func (c *Conn) SendCrypto(level wire.Level, b []byte) {
	if c.hs != nil && c.state < StateClosing {
		c.hs.crypto[level].out = append(c.hs.crypto[level].out, b...)
	}
}

// PeerIDSeen reports whether src is the peer's connection ID. A client learns it from the first packet it could open;
// packets with another source are dropped (RFC 9000 §7.2).
func (c *Conn) PeerIDSeen(src []byte) bool {
	if c.hs == nil {
		return true
	}
	id, ok := wire.MakeConnID(src)
	if !ok {
		return false
	}
	if !c.hs.havePeer {
		c.hs.havePeer, c.hs.peerSource = true, id
		c.peer.init(id)
	}
	return c.hs.peerSource == id
}

// HandleRetry takes a client's Retry whose integrity tag was checked. On true the packet protection of Initial
// packets is to be derived anew from src (RFC 9000 §17.2.5.2).
func (c *Conn) HandleRetry(now mono.Time, src wire.ConnID, token []byte) bool {
	h := c.hs
	if !c.client || c.state != StateHandshaking || h.retried || h.havePeer || len(token) == 0 || len(token) > maxRetryToken {
		return false
	}
	mark.Hit(markRetry)
	h.retried, h.retrySrc = true, src
	h.token = append([]byte(nil), token...)
	c.peer.init(src)
	s := &h.spaces[wire.LevelInitial]
	for i := range s.sent.packets.len() {
		if p := s.sent.packets.at(i); p.state == packetOutstanding {
			c.leaveFlight(s, p)
			p.state = packetLost
		}
	}
	if s.next > 0 {
		s.largestAcked = int64(s.next) - 1 // lets trim forget the numbers; they are not used again
		c.trim(now, s)
		s.largestAcked = -1
	}
	h.crypto[wire.LevelInitial].next = 0
	h.crypto[wire.LevelInitial].resend = nil
	c.ptoCount = 0
	return true
}

// HandleVersionNegotiation ends a client's attempt: this version is the only one it speaks.
func (c *Conn) HandleVersionNegotiation(now mono.Time, versions []byte) {
	if !c.client || c.state != StateHandshaking || c.hs.havePeer || wire.HasVersion(versions, wire.Version) {
		return
	}
	c.finish(now, Event{Kind: EventClosed, Code: uint64(wire.VersionNegotiationError), Payload: []byte("the server does not speak godwit/1")})
}

// SetPeerParams takes and checks the peer's transport parameters (RFC 9000 §7.3, §7.4). On false the connection is
// closing.
func (c *Conn) SetPeerParams(now mono.Time, b []byte) bool {
	var p wire.Params
	if code, ok := wire.ParseParams(b, &p); !ok {
		c.fail(now, code, "malformed transport parameters")
		return false
	}
	h := c.hs
	if h == nil || h.params {
		return true
	}
	h.params = true
	if why := c.checkIDs(&p); why != "" {
		c.fail(now, wire.TransportParameterError, why)
		return false
	}
	if p.ChosenVersion != 0 && p.ChosenVersion != wire.Version {
		c.fail(now, wire.VersionNegotiationError, "version_information names another version")
		return false
	}
	if p.PlainMode != c.sh.Config.Plain {
		c.fail(now, wire.PlainModeMismatch, "plain mode must be demanded by both ends or by neither")
		return false
	}
	if ch := c.msgs.setPeerParams(&p); ch >= 0 {
		c.fail(now, wire.ChannelMismatch, "channel "+itoa(ch)+" is configured differently at the two ends")
		return false
	}
	c.peerStreams = p.InitialMaxStreams
	c.creditKept = uint32(min(p.InitialMaxData/8, mostCreditKept))
	c.peerIdle = mono.Duration(min(p.MaxIdleTimeout, 1<<40)) * mono.Millisecond
	c.peerAckDelay = mono.Duration(p.MaxAckDelay) * mono.Millisecond
	c.peerAckShift = uint8(p.AckDelayExponent)
	c.peerDatagram = uint16(min(max(p.MaxUDPPayload, minDatagram), 65527))
	c.mtu.limit(int(c.peerDatagram))
	c.ackAsk.understood = p.HasMinAckDelay
	c.peer.setReset(p.HasResetToken, p.ResetToken)
	c.ids.limit = int(min(p.ActiveConnIDLimit, maxLocalIDs))
	return true
}

// checkIDs compares the connection IDs of the parameters with those of the packets.
func (c *Conn) checkIDs(p *wire.Params) string {
	h := c.hs
	switch {
	case !p.HasInitialSrc || p.InitialSrc != h.peerSource:
		return "initial_source_connection_id does not match"
	case !c.client && p.ServerOnly():
		return "the client sent a server's parameter"
	case c.client && (!p.HasOriginalDst || p.OriginalDst != h.original):
		return "original_destination_connection_id does not match"
	case c.client && p.HasRetrySrc != h.retried:
		return "retry_source_connection_id is out of place"
	case h.retried && p.RetrySrc != h.retrySrc:
		return "retry_source_connection_id does not match"
	}
	return ""
}

// HandshakeComplete says that the session has finished and authenticated the peer: messages may pass. A server's
// handshake is thereby confirmed (RFC 9001 §4.1.2).
func (c *Conn) HandshakeComplete(now mono.Time) {
	if c.state != StateHandshaking {
		return
	}
	c.complete, c.state = true, StateConnected
	if !c.client {
		c.end.doneDue = true
		c.confirm(now)
	} else {
		c.hs.deadline = mono.Never
	}
}

// HandshakeFailed closes with a TLS alert.
func (c *Conn) HandshakeFailed(now mono.Time, alert uint8, reason string) {
	c.fail(now, wire.CryptoAlert(alert), reason)
}

// confirm drops what only the handshake needed. The last of it goes when the session's final bytes are
// acknowledged (server) or when no ticket came for three PTOs (client).
func (c *Conn) confirm(now mono.Time) {
	if c.confirmed || !c.complete {
		return
	}
	c.confirmed = true
	c.dropSpace(wire.LevelInitial)
	c.dropSpace(wire.LevelHandshake)
	c.hs.serverValidated = true
	c.hs.deadline = now.Add(3 * c.rtt.PTO(c.peerAckDelay))
	c.mtu.start(now)
	c.event(Event{Kind: EventConfirmed})
}

// handshakeTimeout ends a handshake that took too long, or drops the rest of a confirmed one.
func (c *Conn) handshakeTimeout(now mono.Time) (ended bool) {
	if !c.complete {
		if !c.client && c.validated { // its session may be over, and only the application's consent be missing
			c.closeNow(now, false, uint64(wire.ConnectionRefused), "handshake timeout")
			return true
		}
		c.finish(now, Event{Kind: EventClosed, Code: CodeHandshake, Payload: []byte("handshake timeout")})
		return true
	}
	if s := &c.hs.crypto[wire.LevelOneRTT]; !s.done.has(0, uint32(len(s.out))) {
		c.hs.deadline = now.Add(3 * c.rtt.PTO(c.peerAckDelay))
		return false
	}
	c.hs = nil
	return false
}

// HandshakeOver reports that nothing of the handshake is left: the session may be closed.
func (c *Conn) HandshakeOver() bool { return c.hs == nil }
