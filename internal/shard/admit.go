package shard

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/token"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// admit decides about the Initial of a stranger. It returns the slot of a new connection, or answers statelessly or not at all.
func (s *Shard) admit(now mono.Time, socket uint32, h *wire.LongHeader, size int) (slot uint32, ok bool) {
	if h.Type != wire.PacketInitial || s.cfg.NewSession == nil {
		s.counters.Strays++
		return 0, false
	}
	if size < wire.MinInitialSize || len(h.Dst) < minInitialDCID {
		s.counters.Malformed++
		return 0, false
	}
	if s.refusing {
		s.counters.Refused++
		s.turnAway(now, socket, h, wire.Shutdown)
		return 0, false
	}
	dcid, _ := wire.MakeConnID(h.Dst)
	odcid, validated := dcid, false
	if len(h.Token) > 0 {
		original, verdict := s.retry.Check(h.Token, now, s.path.Remote, h.Version, h.Dst)
		if validated = verdict == token.Valid; validated {
			odcid = original
		} else {
			s.counters.TokensRejected++
		}
	}
	if !validated && (s.cfg.AlwaysRetry || s.halfOpen.crowded(&s.path.Remote)) {
		s.sendRetry(now, socket, h)
		return 0, false
	}
	if i := s.halfOpen.reclaim(); i >= 0 {
		s.at(s.halfOpen.entries[i].slot).half = -1
		s.halfOpen.remove(i)
	}
	if s.halfOpen.full() {
		s.counters.HalfOpenFull++
		return 0, false
	}
	slot, p := s.alloc()
	if p == nil {
		s.counters.Refused++
		s.turnAway(now, socket, h, wire.ServerBusy)
		return 0, false
	}
	s.accept(now, socket, slot, p, h, halfEntry{
		remote: s.path.Remote, dcid: dcid, odcid: odcid, slot: slot, retried: validated,
	})
	return slot, true
}

// accept begins a server's connection.
func (s *Shard) accept(now mono.Time, socket, slot uint32, p *peer, h *wire.LongHeader, e halfEntry) {
	p.app, p.socket = s.cfg.App, socket
	p.half = int32(s.halfOpen.add(now, s.hash(&e.remote, e.dcid.Bytes()), e))
	id := s.newID(slot, s.rng.Uint64())
	s.router.Bind(id)
	peerID, _ := wire.MakeConnID(h.Src)
	init := proto.InitParams{
		AddressValidated: e.retried, Slot: slot, Path: s.path, LocalID: id, PeerID: peerID, OriginalDst: e.odcid,
		ResetToken: s.resetToken(id), Seed: s.rng.Fork(), CryptoBuf: s.halfOpen.buffer(int(p.half)),
	}
	if e.retried {
		init.RetrySrc = e.dcid
	}
	p.conn.Init(now, &s.shared, init)
	p.conn.SetHandshakeDeadline(now.Add(s.cfg.Proto.HandshakeTimeout))
	p.keys.InstallInitial(h.Dst, false)
	s.initialKeys(p)
}

// initialKeys tells the connection that it may use the Initial level.
func (s *Shard) initialKeys(p *peer) {
	p.conn.InstallKeys(wire.LevelInitial, false, wire.TagLen)
	p.conn.InstallKeys(wire.LevelInitial, true, wire.TagLen)
}

// newID makes a connection ID of a slot.
func (s *Shard) newID(slot uint32, random uint64) wire.ConnID {
	return token.EncodeID(s.cfg.IDs.Key, uint8(s.cfg.Index), s.cfg.IDs.Server, random&token.MaxTag, slot)
}

func (s *Shard) resetToken(id wire.ConnID) [wire.ResetTokenLen]byte {
	return token.Reset(&s.cfg.IDs.ResetKey, id.Bytes())
}

// sendRetry asks a client to show that it receives at its address. Retries have a budget: under a flood of spoofed sources the time
// of established connections is worth more than an answer.
func (s *Shard) sendRetry(now mono.Time, socket uint32, h *wire.LongHeader) {
	if !s.limits.retry.take(now) {
		s.counters.RetriesSuppressed++
		return
	}
	rscid := s.newID(token.MaxSlot, s.rng.Uint64())
	buf := s.reserve()
	if buf == nil {
		return
	}
	cookie := s.retry.Issue(s.cookie[:0], now, s.path.Remote, h.Version, h.Dst, rscid.Bytes())
	b := wire.AppendRetry(buf[:0], h.Version, h.Src, rscid.Bytes(), cookie, 0)
	tag := protect.RetryTag(h.Dst, b)
	s.reply(socket, append(b, tag[:]...))
	s.counters.RetriesSent++
}

// turnAway closes a connection that never was: one Initial packet with CLOSE (RFC 9000 §10.2.3), no longer than its cause.
func (s *Shard) turnAway(now mono.Time, socket uint32, h *wire.LongHeader, code wire.ErrorCode) {
	if !s.limits.refuse.take(now) {
		return
	}
	buf := s.reserve()
	if buf == nil {
		return
	}
	const pnLen = 1
	keys := &s.stranger
	keys.InstallInitial(h.Dst, false)
	src := s.newID(token.MaxSlot, s.rng.Uint64())
	b, lengthOff := wire.AppendLong(buf[:0], wire.PacketInitial, wire.Version, h.Src, src.Bytes(), nil, pnLen)
	pnOff := len(b)
	b = wire.AppendPN(b, 0, pnLen)
	b = wire.AppendClose(b, code, 0, nil)
	for len(b) < wire.MinInitialSize-wire.TagLen { // a client may drop a small datagram that carries an Initial
		b = append(b, 0)
	}
	end := len(b) + wire.TagLen
	wire.SetLength(b, lengthOff, end-pnOff)
	s.outgoing = wire.Outgoing{PNOff: int32(pnOff), End: int32(end), Level: wire.LevelInitial, PNLen: pnLen, TagLen: wire.TagLen}
	s.scratch.Seal(keys, b[:end], &s.outgoing)
	keys.Erase()
	s.reply(socket, b[:end])
}

// negotiateVersion answers an unknown version (RFC 9000 §6).
func (s *Shard) negotiateVersion(now mono.Time, socket uint32, h *wire.LongHeader, size int) {
	if s.cfg.NewSession == nil || size < wire.MinInitialSize || !s.limits.version.take(now) {
		s.counters.Strays++
		return
	}
	if buf := s.reserve(); buf != nil {
		s.reply(socket, wire.AppendVersionNegotiation(buf[:0], h.Src, h.Dst, versions[:], uint8(s.rng.Uint64())))
		s.counters.VersionsNegotiated++
	}
}

var versions = [...]uint32{wire.Version}

// strayShort takes a short-header packet that leads to no connection here: it may belong to another shard, and otherwise its
// sender may be told that this server has no state.
func (s *Shard) strayShort(now mono.Time, socket uint32, b []byte) {
	if s.strayReset(now, socket, b) {
		return
	}
	s.counters.Strays++
	if s.router == nil || len(b) <= 1+token.IDLen || b[0]&wire.FixedBit == 0 {
		return // what was damaged on its way may name a live connection, which must not be reset
	}
	id := b[1 : 1+token.IDLen]
	if s.forward(id, socket, b) {
		return
	}
	shard, server, _, _, ok := token.DecodeID(s.cfg.IDs.Key, id)
	if !ok || server != s.cfg.IDs.Server || s.owner(shard) != s.cfg.Index || len(b) < minResetTrigger || !s.limits.reset.take(now) {
		return
	}
	s.sendReset(socket, id, len(b))
}

const (
	minReset        = 21
	minResetTrigger = 22 // the answer is smaller than its cause and still looks like a packet, which takes 21 bytes (RFC 9000 §10.3)
	maxReset        = 60
)

// sendReset says that there is no such connection. The answer is shorter than its cause, so two servers cannot loop.
func (s *Shard) sendReset(socket uint32, id []byte, size int) {
	buf := s.reserve()
	if buf == nil {
		return
	}
	cid, _ := wire.MakeConnID(id)
	tok := s.resetToken(cid)
	n := min(size-1, maxReset)
	b := buf[:n]
	s.rng.Fill(b[:n-len(tok)])
	b[0] = b[0]&0x3f | wire.FixedBit
	copy(b[n-len(tok):], tok[:])
	s.reply(socket, b)
	s.counters.ResetsSent++
}

// owner returns the real shard of a virtual one.
func (s *Shard) owner(virtual uint8) int { return int(virtual) % max(s.cfg.IDs.Shards, 1) }

// foreign is a datagram that reached the wrong shard.
type foreign struct {
	path   wire.Path
	data   []byte
	socket uint32
	ecn    uint8
}

const maxForeign = 256 // datagrams waiting for another shard

// forward gives a datagram to the shard that its connection ID names. It reports whether it was another shard's.
func (s *Shard) forward(id []byte, socket uint32, b []byte) bool {
	if len(s.peerSet) < 2 || s.inForeign {
		return false
	}
	shard, server, _, _, ok := token.DecodeID(s.cfg.IDs.Key, id)
	if !ok || len(id) != token.IDLen || server != s.cfg.IDs.Server || s.owner(shard) == s.cfg.Index {
		return false
	}
	return s.handOver(s.peerSet[s.owner(shard)], socket, b)
}

// handOver gives a datagram to another shard, if that has room for it. The datagram is dealt with in any case.
func (s *Shard) handOver(other *Shard, socket uint32, b []byte) bool {
	other.mu.Lock()
	taken := len(other.foreign) < maxForeign
	if taken {
		other.foreign = append(other.foreign, foreign{s.path, append([]byte(nil), b...), socket, s.packet.ECN})
		other.posted.Store(true)
	}
	other.mu.Unlock()
	if !taken {
		s.counters.ForwardsDropped++
		return true
	}
	s.counters.Forwarded++
	other.socket.Wake()
	return true
}

// takeForeign processes a datagram that another shard received.
func (s *Shard) takeForeign(now mono.Time, f *foreign) {
	d := udp.Datagram{Data: f.data, Remote: udp.Addr(f.path.Remote), Local: udp.Addr(f.path.Local), ECN: f.ecn, Socket: f.socket}
	s.inForeign = true
	s.datagram(now, &d)
	s.inForeign = false
}
