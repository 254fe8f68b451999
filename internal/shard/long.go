package shard

import (
	"bytes"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/token"
	"godwit.example/godwit/internal/wire"
)

// long takes a datagram that begins with a long header: part of a handshake. It may hold several packets of one connection.
func (s *Shard) long(now mono.Time, socket uint32, b []byte) {
	h := &s.header
	if !wire.ParseLong(b, h) {
		s.counters.Malformed++
		return
	}
	switch h.Type {
	case wire.PacketUnknownVersion:
		s.negotiateVersion(now, socket, h, len(b))
		return
	case wire.PacketVersionNegotiation, wire.PacketRetry:
		s.answered(now, socket, b, h)
		return
	}
	slot, ok := s.routeLong(socket, h)
	if !ok {
		if s.forward(h.Dst, socket, b) {
			return
		}
		if slot, ok = s.admit(now, socket, h, len(b)); !ok {
			return
		}
	}
	p := s.at(slot)
	if p == nil { // it hibernates: its handshake was over long ago
		s.counters.NoKeys++
		return
	}
	if s.foreigner(p) {
		return
	}
	s.current = slot
	p.conn.HandleDatagram(now, &s.path, len(b))
	s.packet.Size = len(b)
	s.coalesced(now, slot, p, b)
	s.touch(slot, p)
	if p.half >= 0 && p.keys.Largest(wire.LevelInitial) < 0 {
		s.free(slot, p) // not one packet could be opened: nothing to remember
	}
}

// coalesced takes the packets of one datagram, which must all carry the same destination (RFC 9000 §12.2).
func (s *Shard) coalesced(now mono.Time, slot uint32, p *peer, b []byte) {
	dst := s.header.Dst
	for len(b) > 0 && p.conn.State() != proto.StateFree {
		if !wire.IsLong(b[0]) {
			if pnOff := 1 + len(dst); len(b) > pnOff && b[0]&wire.FixedBit != 0 && bytes.Equal(b[1:pnOff], dst) {
				s.open(now, slot, p, b, pnOff, wire.LevelOneRTT)
				s.drain(now, slot, p)
			}
			return
		}
		h := &s.header
		if !wire.ParseLong(b, h) || !bytes.Equal(h.Dst, dst) || h.Version != wire.Version {
			return
		}
		packet := b[:h.End]
		b = b[h.End:]
		switch h.Type {
		case wire.PacketInitial:
			s.openLong(now, slot, p, packet, wire.LevelInitial)
		case wire.PacketHandshake:
			s.openLong(now, slot, p, packet, wire.LevelHandshake)
		default: // 0-RTT is not part of this version
		}
	}
}

// openLong opens an Initial or Handshake packet. The peer's connection ID counts only once a packet is authentic.
func (s *Shard) openLong(now mono.Time, slot uint32, p *peer, b []byte, level wire.Level) {
	h := &s.header
	switch s.scratch.Open(&p.keys, b, h.PNOff, level, &s.packet) {
	case protect.OpenNoKeys:
		s.holdBack(p, b, h.PNOff, level)
		return
	case protect.OpenReserved:
		s.packet.Reserved = true
	case protect.OpenOK:
	case protect.OpenDuplicate:
		s.counters.DuplicatePackets++
		return
	default:
		s.counters.FailedPackets++
		return
	}
	if !p.conn.PeerIDSeen(h.Src) {
		s.packet.Reserved = false
		s.counters.Malformed++
		return
	}
	if level == wire.LevelHandshake && !p.proven {
		p.proven = true // only the holder of the address could have got our Handshake keys
		s.freeHalfOpen(p)
	}
	p.conn.HandlePacket(now, &s.packet)
	s.packet.Reserved = false
	s.drain(now, slot, p)
}

// routeLong finds the connection of a handshake packet: by the server's connection ID once the client has it, by address and the client's
// choice before.
func (s *Shard) routeLong(socket uint32, h *wire.LongHeader) (slot uint32, ok bool) {
	if s.router == nil {
		if len(h.Dst) != 0 {
			return 0, false
		}
		return s.socketSlot(socket)
	}
	if len(h.Dst) == token.IDLen {
		if slot, _, ok = s.router.Slot(h.Dst); ok {
			return slot, true
		}
	}
	if h.Type != wire.PacketInitial || s.cfg.NewSession == nil {
		return 0, false
	}
	return s.halfOpen.find(s.hash(&s.path.Remote, h.Dst), &s.path.Remote, h.Dst)
}

// answered takes what a server may say without a connection: Retry and Version Negotiation. Both are for clients, and only for
// those whose first packet they answer.
func (s *Shard) answered(now mono.Time, socket uint32, b []byte, h *wire.LongHeader) {
	slot, ok := s.routeLong(socket, h)
	if !ok {
		s.counters.Malformed++
		return
	}
	p := s.at(slot)
	if p == nil || !p.conn.Client() || p.hs == nil || s.foreigner(p) {
		return
	}
	switch h.Type {
	case wire.PacketVersionNegotiation:
		if _, src, versions, ok := wire.ParseVersionNegotiation(b); ok && bytes.Equal(src, p.hs.odcid.Bytes()) {
			p.conn.HandleVersionNegotiation(now, versions)
		}
	case wire.PacketRetry:
		s.retried(now, p, b, h)
	}
	s.drain(now, slot, p)
	s.touch(slot, p)
}

// retried takes a Retry (RFC 9000 §17.2.5.2): the client starts over with the server's ID and token.
func (s *Shard) retried(now mono.Time, p *peer, b []byte, h *wire.LongHeader) {
	tag := protect.RetryTag(p.hs.odcid.Bytes(), b[:h.PNOff])
	src, ok := wire.MakeConnID(h.Src)
	if !ok || src.Len() == 0 || !bytes.Equal(b[h.PNOff:], tag[:]) || src == p.hs.odcid {
		s.counters.Malformed++
		return
	}
	if p.conn.HandleRetry(now, src, h.Token) {
		p.keys.InstallInitial(src.Bytes(), true)
		s.counters.RetriesFollowed++
	}
}
