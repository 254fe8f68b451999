package shard

import (
	"errors"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// Errors of a Dial that never sent a packet.
var (
	ErrFull     = errors.New("shard: no room for another connection")
	ErrStopped  = errors.New("shard: the shard has stopped")
	ErrCanceled = errors.New("shard: the dial was canceled")
)

// Dial is one attempt to reach a server.
type Dial struct {
	App        App
	Remote     wire.Addr
	NewSession func(params []byte) Session
	// Done is called once, on the shard's goroutine: with nil after App.Open, or with what went wrong. App.Freed follows in either case.
	Done func(r Ref, c *Closed)

	slot, gen uint32
	began     bool
	canceled  bool
}

func (d *Dial) done(r Ref, c *Closed) { d.Done(r, c) }

// Dial begins a connection. Any goroutine may call it. If it returns false the shard has stopped and Done is not called.
func (s *Shard) Dial(d *Dial) bool { return s.Do(func(now mono.Time) { s.dial(now, d) }) }

// Cancel ends a dial that has not succeeded yet; Done is called with ErrCanceled.
func (s *Shard) Cancel(d *Dial) {
	s.Do(func(now mono.Time) {
		d.canceled = true
		if !d.began {
			return
		}
		p := s.find(d.slot, d.gen)
		if p == nil || p.dial != d {
			return
		}
		s.ended(d.slot, p, &Closed{Err: ErrCanceled})
		s.free(d.slot, p)
	})
}

// undone ends a dial that got no connection.
func (s *Shard) undone(d *Dial, err error) {
	d.done(Ref{}, &Closed{Err: err})
	d.App.Freed(s, Ref{})
}

// dial takes a slot and, where connections have sockets of their own, a socket.
func (s *Shard) dial(now mono.Time, d *Dial) {
	if d.canceled {
		s.undone(d, ErrCanceled)
		return
	}
	slot, p := s.alloc()
	if p == nil {
		s.undone(d, ErrFull)
		return
	}
	init := proto.InitParams{Client: true, Slot: slot, Path: wire.Path{Remote: d.Remote}}
	if s.cfg.NewSession == nil { // a client: a server dials from its only socket, whose number is 0
		socket, err := s.socket.Connect(udp.Addr(d.Remote))
		if err != nil {
			s.unalloc(slot, p)
			s.undone(d, err)
			return
		}
		p.socket = socket
	}
	if s.router == nil {
		socket := p.socket
		for int(socket) >= len(s.bySocket) {
			s.bySocket = append(s.bySocket, 0)
		}
		s.bySocket[socket] = slot + 1
		p.ownSock = true
	} else {
		init.LocalID = s.newID(slot, s.rng.Uint64())
		s.router.Bind(init.LocalID)
	}
	var first [12]byte
	s.rng.Fill(first[:])
	init.Seed = s.rng.Fork()
	init.PeerID, _ = wire.MakeConnID(first[:])
	init.OriginalDst = init.PeerID
	p.app, p.dial, p.proven = d.App, d, true
	d.slot, d.gen, d.began = slot, p.gen, true
	p.conn.Init(now, &s.shared, init)
	p.conn.SetHandshakeDeadline(now.Add(s.cfg.Proto.HandshakeTimeout))
	p.keys.InstallInitial(first[:], true)
	s.initialKeys(p)

	params := s.cfg.Proto.Params
	params.InitialSrc, params.HasInitialSrc = init.LocalID, true
	p.hs = &handshake{
		shard: s, slot: slot, gen: p.gen, make: d.NewSession, params: params.Append(nil), client: true, odcid: init.OriginalDst, remote: d.Remote,
	}
	s.counters.Dials++
	s.submit(p.hs)
	s.touch(slot, p)
}

// unalloc gives back a slot whose connection never began.
func (s *Shard) unalloc(slot uint32, p *peer) {
	s.slots.at(slot).setState(p.gen, slotFree)
	s.unseat(slot, p)
	s.release(slot)
	s.live--
}
