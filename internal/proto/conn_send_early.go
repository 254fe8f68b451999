package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// buildHandshake builds one datagram of Initial and Handshake packets, coalesced (RFC 9000 §12.2).
func (c *Conn) buildHandshake(now mono.Time, buf []byte, t *wire.Train) bool {
	if !c.validated && c.amplify < minDatagram && !mutant.On(mutant.AmplificationFree) {
		mark.Hit(markAmplification)
		return false
	}
	b := buf[:0:minDatagram]
	expand := false
	for level := range wire.LevelOneRTT {
		s := c.space(level)
		if s == nil || !s.canWrite || cap(b)-len(b) < minCoalesced {
			continue
		}
		n, eliciting := c.buildEarly(now, level, s, b[len(b):len(b):cap(b)], t, len(b))
		if n == 0 {
			continue
		}
		b = b[:len(b)+n]
		t.Len = len(b)
		if level == wire.LevelInitial && (c.client || eliciting) {
			expand = true
		}
		if level == wire.LevelHandshake && c.client {
			c.hs.dropInitial = true
		}
	}
	if t.N == 0 {
		return false
	}
	if expand && len(b) < minDatagram {
		b = c.expand(b[:minDatagram:cap(b)], t)
	}
	t.Len, t.SegmentSize, t.Segments = len(b), len(b), 1
	c.spend(now, t.Len)
	return true
}

// minCoalesced is the least room in which a further packet is begun.
const minCoalesced = 80

// buildEarly writes one Initial or Handshake packet.
func (c *Conn) buildEarly(now mono.Time, level wire.Level, s *space, b []byte, t *wire.Train, off int) (n int, eliciting bool) {
	typ, token := wire.PacketInitial, c.hs.token
	if level == wire.LevelHandshake {
		typ, token = wire.PacketHandshake, nil
	}
	const pnLen = 2
	b, lengthOff := wire.AppendLong(b, typ, wire.Version, c.peer.current.Bytes(), c.localID.Bytes(), token, pnLen)
	pnOff := len(b)
	limit := cap(b) - int(s.tagLen)
	if limit < pnOff+minCoalesced/2 {
		return 0, false
	}
	b = wire.AppendPN(b, s.next, pnLen)
	start := len(b)
	recs := s.sent.records.len()
	switch {
	case s.recv.unacked > 0 && s.muted():
		c.withholdAck(s)
	case s.recv.unacked > 0 || c.hs.probe[level] && len(s.recv.ranges) > 0:
		b = c.appendAck(now, s, b, limit)
	}
	ackEnd := len(b)
	if c.bytesInFlight < c.cc.Window() || c.hs.probe[level] && c.probes > 0 {
		b = c.appendCrypto(level, s, b, limit)
		if len(b) == ackEnd && c.hs.probe[level] && len(b) < limit {
			b = wire.AppendPing(b)
			s.sent.add(record{kind: recPing})
		}
	}
	if len(b) == start {
		return 0, false
	}
	c.hs.probe[level] = false
	for len(b) < pnOff+minPayload {
		b = append(b, 0)
	}
	size := len(b) + int(s.tagLen)
	wire.SetLength(b, lengthOff, size-pnOff)
	eliciting = len(b) > ackEnd
	t.Len = off
	c.commit(now, level, t, pnOff, pnLen, size, recs, eliciting, 0)
	return size, eliciting
}

// expand pads the last packet of a datagram until the datagram has len(b) bytes.
func (c *Conn) expand(b []byte, t *wire.Train) []byte {
	o := &t.Packets[t.N-1]
	grow := len(b) - int(o.End)
	clear(b[int(o.End)-int(o.TagLen):])
	o.End += int32(grow)
	s := c.space(o.Level)
	p := s.sent.packets.at(s.sent.packets.len() - 1)
	if p.flags&flagInFlight != 0 {
		c.bytesInFlight += grow
	} else {
		p.flags |= flagInFlight // PADDING counts (RFC 9002 §2)
		c.bytesInFlight += int(p.size) + grow
	}
	p.size += uint16(grow)
	if o.Level != wire.LevelOneRTT {
		wire.SetLength(b[o.Off:], int(o.PNOff)-2, int(o.End)-int(o.Off)-int(o.PNOff))
	}
	return b
}
