package shard

import (
	"fmt"

	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

const (
	maxHeld     = 16      // packets held back for one handshake until their keys are there
	maxHeldSize = 1 << 10 // ... and for all of a shard

	alertInternal     = 80 // internal_error, RFC 8446 §6.2
	alertAccessDenied = 49 // access_denied
)

// handshake is a connection's session and what is on its way to and from it. While busy is set a worker owns session,
// work, workCuts and out; everything else is the shard's.
type handshake struct {
	shard     *Shard
	slot, gen uint32
	make      func(params []byte) Session
	params    []byte
	odcid     wire.ConnID // client: of its first Initial
	remote    wire.Addr   // of the peer when it began
	decided   bool        // Config.Authorize was asked
	session   Session
	busy      bool
	client    bool
	in        []byte // the peer's bytes for the next run
	cuts      []cut
	work      []byte
	workCuts  []cut
	closing   bool // the run ends the session
	out       wire.HandshakeOutput
	err       error
	held      []heldPacket
}

// cut says that the next n bytes belong to a level.
type cut struct {
	level wire.Level
	n     int
}

// heldPacket is a packet that came before its keys.
type heldPacket struct {
	path  wire.Path
	level wire.Level
	ecn   uint8
	pnOff int
	size  int
	data  []byte
}

// run does the session's part, on a worker. A panic there fails the handshake: the bytes came from a stranger.
func (h *handshake) run() {
	if !invariant.Enabled {
		defer func() {
			if v := recover(); v != nil {
				h.out.Alert, h.out.Err = alertInternal, fmt.Errorf("shard: the session panicked: %v", v)
			}
		}()
	}
	if h.closing {
		if h.session != nil {
			h.session.Close()
		}
		return
	}
	if h.session == nil {
		h.out.Alert = -1
		h.session = h.make(h.params)
		h.session.Start(&h.out)
	}
	data := h.work
	for _, c := range h.workCuts {
		if h.out.Err != nil {
			return
		}
		h.session.Handle(c.level, data[:c.n], &h.out)
		data = data[c.n:]
	}
}

// undecided reports whether a server's handshake is complete but for the application's consent.
func (h *handshake) undecided() bool {
	return h.shard.cfg.Authorize != nil && !h.client && !h.closing && !h.decided && h.out.Complete && h.out.Err == nil
}

// decide asks the application for its consent. The connection cannot be read before: its last keys are part of the result.
func (h *handshake) decide() {
	h.decided = true
	if err := h.shard.cfg.Authorize(&h.out, h.remote); err != nil {
		h.out.Alert, h.out.Err = alertAccessDenied, err
	}
}

// post returns a job to its shard. If that is gone, the session ends here.
func (s *Shard) post(h *handshake) {
	s.mu.Lock()
	if s.released {
		s.mu.Unlock()
		if !h.closing {
			h.closing = true
			h.run()
		}
		return
	}
	s.results = append(s.results, h)
	s.posted.Store(true)
	s.mu.Unlock()
	s.socket.Wake()
}

// submit hands the waiting bytes to a worker, or runs the session at once where there are no workers. It reports false when
// the workers have too much to do.
func (s *Shard) submit(h *handshake) bool {
	if h.busy {
		return true
	}
	h.in, h.work = h.work[:0], h.in
	h.cuts, h.workCuts = h.workCuts[:0], h.cuts
	if h.busy = true; s.cfg.Workers == nil {
		h.run()
		if h.undecided() {
			h.decide()
		}
		s.mu.Lock()
		s.results = append(s.results, h)
		s.posted.Store(true)
		s.mu.Unlock()
		return true
	}
	if s.cfg.Workers.submit(h, h.client || h.session != nil) {
		return true
	}
	h.busy = false
	return false
}

// crypto passes handshake bytes of the peer on to the session. A server's session begins with the whole ClientHello.
func (s *Shard) crypto(slot uint32, p *peer, level wire.Level, b []byte) {
	h := p.hs
	if h == nil {
		if p.half < 0 || p.conn.Client() || level != wire.LevelInitial {
			return // the session is over
		}
		h = s.startServer(slot, p)
	}
	h.in = append(h.in, b...)
	h.cuts = append(h.cuts, cut{level, len(b)})
	if !s.submit(h) {
		s.counters.HandshakesShed++
		p.hs = nil // the half-open entry ends in time; the client asks again
	}
}

// startServer makes the handshake of a server's connection; the session itself begins on the worker.
func (s *Shard) startServer(slot uint32, p *peer) *handshake {
	e := &s.halfOpen.entries[p.half]
	params := s.cfg.Proto.Params
	id := p.conn.LocalID()
	params.InitialSrc, params.HasInitialSrc = id, true
	params.OriginalDst, params.HasOriginalDst = e.odcid, true
	if e.retried {
		params.RetrySrc, params.HasRetrySrc = e.dcid, true
	}
	params.ResetToken, params.HasResetToken = s.resetToken(id), true
	h := &handshake{shard: s, slot: slot, gen: p.gen, make: s.cfg.NewSession, params: params.Append(nil), remote: p.conn.Path().Remote}
	p.hs = h
	if e.retried {
		s.halfOpen.soften(int(p.half))
	}
	s.counters.HandshakesStarted++
	return h
}

// finish takes the result of a run.
func (s *Shard) finish(now mono.Time, h *handshake) {
	defer s.rescue()
	s.current = noSlot
	h.busy = false
	if h.closing {
		return
	}
	p := s.find(h.slot, h.gen)
	if p == nil || p.hs != h {
		s.closeSession(h)
		return
	}
	s.current = h.slot
	s.apply(now, h.slot, p, h)
	s.drain(now, h.slot, p)
	s.touch(h.slot, p)
	switch {
	case p.hs != h:
	case p.conn.State() >= proto.StateClosing, p.conn.Complete() && !p.conn.Client():
		s.dropSession(p)
	case len(h.cuts) > 0:
		s.submit(h)
	}
}

// apply gives the output of a session to its connection.
func (s *Shard) apply(now mono.Time, slot uint32, p *peer, h *handshake) {
	out := &h.out
	if p.half >= 0 {
		s.halfOpen.renew(now, int(p.half))
	}
	if out.Err != nil {
		h.err = out.Err
		p.conn.HandshakeFailed(now, uint8(max(out.Alert, 0)), out.Err.Error())
		return
	}
	if len(out.PeerParams) > 0 {
		ok := p.conn.SetPeerParams(now, out.PeerParams)
		out.PeerParams = nil
		if !ok {
			return
		}
	}
	for i := range out.Secrets {
		k := &out.Secrets[i]
		if s.cfg.Proto.Plain && k.Level == wire.LevelOneRTT {
			*k = wire.SecretInstall{}
			continue // a checksum takes the place of the keys once its seed is known
		}
		p.keys.Install(k.Level, k.Write, k.Secret, out.ChecksumSeed)
		p.conn.InstallKeys(k.Level, k.Write, p.keys.TagLen(k.Level))
		*k = wire.SecretInstall{}
	}
	out.Secrets = out.Secrets[:0]
	for level := range out.Crypto {
		if len(out.Crypto[level]) > 0 {
			p.conn.SendCrypto(wire.Level(level), out.Crypto[level])
			out.Crypto[level] = out.Crypto[level][:0]
		}
	}
	if out.Complete && !p.conn.Complete() && !p.ended { // its peer may have closed it while the last step was being computed
		if s.cfg.Proto.Plain {
			for _, write := range [...]bool{false, true} {
				p.keys.Install(levelApp, write, wire.Secret{Suite: wire.SuitePlain}, out.ChecksumSeed)
				p.conn.InstallKeys(levelApp, write, p.keys.TagLen(levelApp))
			}
		}
		p.proven = true
		s.freeHalfOpen(p)
		p.conn.HandshakeComplete(now)
		s.counters.HandshakesDone++
		s.drain(now, slot, p)
		s.opened(now, slot, p)
	}
	s.retryHeld(now, slot, p, h)
}

// dropSession ends the connection's interest in its session.
func (s *Shard) dropSession(p *peer) {
	h := p.hs
	if h == nil {
		return
	}
	p.hs = nil
	s.heldPackets -= len(h.held)
	h.held = nil
	if !h.busy { // otherwise finish closes it
		s.closeSession(h)
	}
}

// closeSession ends a session that no worker has. Closing may wait for the session's own goroutine, so it is a worker's job too.
func (s *Shard) closeSession(h *handshake) {
	if h.session == nil {
		return
	}
	h.closing, h.busy = true, true
	if s.cfg.Workers == nil {
		h.run()
		h.busy = false
		return
	}
	s.cfg.Workers.submit(h, true)
}

// holdBack keeps a packet whose keys are still being computed: the second packet of the server's first flight, or a message that
// overtook the client's Finished in our own queue. Only proven peers may have packets held.
func (s *Shard) holdBack(p *peer, b []byte, pnOff int, level wire.Level) {
	h := p.hs
	if h == nil || !p.proven || p.keys.Has(level, false) || len(h.held) >= maxHeld || s.heldPackets >= maxHeldSize {
		s.counters.NoKeys++
		return
	}
	s.heldPackets++
	h.held = append(h.held, heldPacket{
		path: s.path, level: level, ecn: s.packet.ECN, pnOff: pnOff, size: s.packet.Size, data: append([]byte(nil), b...),
	})
}

// retryHeld opens packets that were held back, now that there are more keys.
func (s *Shard) retryHeld(now mono.Time, slot uint32, p *peer, h *handshake) {
	held := h.held
	if len(held) == 0 {
		return
	}
	h.held = nil
	s.heldPackets -= len(held)
	path, ecn, size := s.path, s.packet.ECN, s.packet.Size
	for i := range held {
		k := &held[i]
		if p.hs != h {
			break
		}
		s.path, s.packet.Path = k.path, &s.path
		s.packet.ECN, s.packet.Size = k.ecn, k.size
		s.open(now, slot, p, k.data, k.pnOff, k.level)
		s.drain(now, slot, p)
	}
	s.path, s.packet.ECN, s.packet.Size = path, ecn, size
}
