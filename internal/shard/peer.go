package shard

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// peer is one connection that is awake, and what the shard needs around it. It never moves.
type peer struct {
	conn     proto.Conn
	keys     protect.Keys
	app      App
	hs       *handshake // while there is a session
	dial     *Dial      // until it was answered
	held     int64      // credit of messages that the connection has, and ahead
	deadline mono.Time  // as the wheel has it
	keysDrop mono.Time  // when the keys of the last phase go; mono.Never
	coldAt   mono.Time  // when its cipher objects go if no packet comes or goes before; mono.Never
	taken    uint64     // number of the newest message that its groups had been sent when it last took some
	packets  uint64     // that had come and gone when coldAt was set
	next     uint32     // slot+1 of the next peer in the dirty queue
	gen      uint32
	socket   uint32
	half     int32  // half-open entry, or -1
	seats    uint32 // index + 1 of its first membership in Shard.seats
	ahead    int64  // credit for messages that its groups will be sent, 2*Shard.chargeAhead at most
	dirty    bool
	open     bool // App.Open was called
	ended    bool // EventClosed was seen
	left     bool // it joins no group any more
	proven   bool // the peer's address is proven: packets may be held back for it
	ownSock  bool // the socket is the connection's own
	cold     bool // its cipher objects are gone: at coldAt it hibernates
}

// at returns the peer of a slot that exists: nil if it is free, or its connection hibernates.
func (s *Shard) at(slot uint32) *peer { return s.peers[slot/slotChunk][slot%slotChunk] }

// awake returns the peer of a slot that exists, and wakes its connection if it hibernates. It is nil if the slot is free.
func (s *Shard) awake(slot uint32) *peer {
	if p := s.at(slot); p != nil {
		return p
	}
	return s.wake(slot)
}

// find returns the peer that r names, if it is still that connection. One that hibernates is woken.
func (s *Shard) find(slot, gen uint32) *peer {
	slot &= slotMask
	if int(slot/slotChunk) >= len(s.peers) {
		return nil
	}
	if p := s.at(slot); p != nil {
		if p.gen == gen && p.conn.State() != proto.StateFree {
			return p
		}
		return nil
	}
	if g, _ := s.slots.at(slot).state(); g != gen {
		return nil
	}
	return s.wake(slot)
}

// alloc takes a slot: the one that has been free for longest, so that stale handles and late packets find it
// empty as long as possible. It returns nil when the shard is full.
func (s *Shard) alloc() (slot uint32, p *peer) {
	if s.freeHead == 0 && !s.moreSlots() {
		return 0, nil
	}
	slot = s.freeHead - 1
	shared := s.slots.at(slot)
	s.freeHead = shared.link
	if s.freeHead == 0 {
		s.freeTail = 0
	}
	s.live++
	gen, _ := shared.state()
	gen++
	p = s.seat(slot)
	*p = peer{gen: gen, deadline: mono.Never, keysDrop: mono.Never, coldAt: mono.Never, half: -1}
	shared.want.Store(0)
	shared.tag.Store(0)
	shared.setState(gen, slotHandshake)
	return slot, p
}

// moreSlots makes a chunk of slots. It reports false if the shard is full.
func (s *Shard) moreSlots() bool {
	first := uint32(len(s.peers)) * slotChunk
	if int(first) >= s.cfg.MaxSlots {
		return false
	}
	s.peers = append(s.peers, new([slotChunk]*peer))
	s.slots.add(first)
	for slot := first; slot < min(first+slotChunk, uint32(s.cfg.MaxSlots)); slot++ {
		s.release(slot)
	}
	return true
}

// maxSparePeers bounds the peers that are kept for the next connections.
const maxSparePeers = 256

// seat gives a slot a peer.
func (s *Shard) seat(slot uint32) (p *peer) {
	if n := len(s.sparePeers); n > 0 {
		p = s.sparePeers[n-1]
		s.sparePeers = s.sparePeers[:n-1]
	} else {
		p = new(peer)
	}
	s.peers[slot/slotChunk][slot%slotChunk] = p
	return p
}

// unseat takes a slot's peer away.
func (s *Shard) unseat(slot uint32, p *peer) {
	s.peers[slot/slotChunk][slot%slotChunk] = nil
	*p = peer{half: -1}
	if len(s.sparePeers) < maxSparePeers {
		s.sparePeers = append(s.sparePeers, p)
	}
}

// release puts an empty slot at the end of the free list.
func (s *Shard) release(slot uint32) {
	s.slots.at(slot).link = 0
	if s.freeTail != 0 {
		s.slots.at(s.freeTail - 1).link = slot + 1
	} else {
		s.freeHead = slot + 1
	}
	s.freeTail = slot + 1
}

// free forgets a connection whose life is over.
func (s *Shard) free(slot uint32, p *peer) {
	if !p.ended {
		s.ended(slot, p, &Closed{})
	}
	if p.dirty { // the queue may still hold it; an entry of a free slot is skipped there
		s.undirty(slot, p)
	}
	s.dropSession(p)
	s.freeHalfOpen(p)
	if s.router != nil {
		s.router.Clear(slot)
		s.dials().drop(slot | s.index)
	}
	p.conn.Release()
	p.keys.Erase()
	s.wheel.Remove(slot)
	if p.ownSock {
		s.bySocket[p.socket] = 0
		s.socket.CloseSocket(p.socket)
	}
	shared := s.slots.at(slot)
	shared.setState(p.gen, slotFree)
	shared.account.Add(-p.held)
	app, gen := p.app, p.gen
	s.unseat(slot, p)
	s.release(slot)
	s.live--
	if app != nil {
		app.Freed(s, Ref{slot | s.index, gen})
	}
	s.checkDrained()
}

// touch puts a connection into the queue of those that may have something to send.
func (s *Shard) touch(slot uint32, p *peer) {
	if p.dirty {
		return
	}
	p.dirty = true
	p.next = 0
	if s.dirtyTail != 0 {
		s.at(s.dirtyTail - 1).next = slot + 1
	} else {
		s.dirtyHead = slot + 1
	}
	s.dirtyTail = slot + 1
}

// undirty takes a connection out of the queue; rare.
func (s *Shard) undirty(slot uint32, p *peer) {
	p.dirty = false
	last := uint32(0)
	for at := s.dirtyHead; at != 0; at = s.at(at - 1).next {
		if at != slot+1 {
			last = at
			continue
		}
		if last == 0 {
			s.dirtyHead = p.next
		} else {
			s.at(last - 1).next = p.next
		}
		if s.dirtyTail == at {
			s.dirtyTail = last
		}
		return
	}
}

// opened tells the application about a connection whose handshake is complete.
func (s *Shard) opened(now mono.Time, slot uint32, p *peer) {
	shared := s.slots.at(slot)
	shared.maxSend.Store(uint32(min(p.conn.PeerMaxMessage(), s.cfg.Proto.SendBuffer-wire.CreditOverhead, 1<<31)))
	shared.setRemote(p.conn.Path().Remote)
	shared.setState(p.gen, slotOpen)
	p.open = true
	s.counters.Opened++
	s.noteReset(slot, p)
	r := Ref{slot | s.index, p.gen}
	s.enter(r, CallOpen)
	refusal := p.app.Open(s, r)
	s.calling = false
	if refusal != nil {
		p.conn.Close(now, refusal.App, refusal.Code, refusal.Reason)
		s.drain(now, slot, p)
		return
	}
	if d := p.dial; d != nil {
		p.dial = nil
		d.done(r, nil)
	}
}

// ended tells the application that a connection is over: no message will come any more.
func (s *Shard) ended(slot uint32, p *peer, c *Closed) {
	s.forsake(slot, p)
	p.ended = true
	s.leaveAll(slot, p)
	c.Open = p.open
	shared := s.slots.at(slot)
	shared.setEnd(p.gen, c)
	shared.setState(p.gen, slotEnding)
	if c.Err == nil && p.hs != nil {
		c.Err = p.hs.err
	}
	s.counters.Closed++
	r := Ref{slot | s.index, p.gen}
	if p.app != nil && (p.open || p.dial != nil || c.Remote) {
		s.enter(r, CallClose)
		p.app.Closed(s, r, c)
		s.calling = false
	}
	if d := p.dial; d != nil {
		p.dial = nil
		d.done(r, c)
	}
}

// freeHalfOpen gives back the connection's entry of the half-open table.
func (s *Shard) freeHalfOpen(p *peer) {
	if p.half >= 0 {
		s.halfOpen.remove(int(p.half))
		p.half = -1
	}
}

// pathChanged publishes where the connection now sends to.
func (s *Shard) pathChanged(slot uint32, p *peer) {
	s.slots.at(slot).setRemote(p.conn.Path().Remote)
	s.noteReset(slot, p)
}

// Proven returns the result of a connection's session and where it came from, while the session is there: in App.Open it is.
func (s *Shard) Proven(r Ref) (out *wire.HandshakeOutput, remote wire.Addr) {
	p := s.find(r.Slot, r.Gen)
	if p == nil || p.hs == nil {
		return nil, remote
	}
	return &p.hs.out, p.hs.remote
}
