package shard

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// Drain refuses new connections, shuts down the present ones in good order, and calls empty, once, on the shard's goroutine when none is
// left. If the shard has stopped, empty is called at once.
func (s *Shard) Drain(code uint64, empty func()) {
	ok := s.Do(func(now mono.Time) {
		s.refusing = true
		s.drained = empty
		s.every(func(slot uint32, p *peer) {
			s.slots.at(slot).shut(p.gen)
			s.handOut(now, slot, p)
			s.leaveAll(slot, p)
			p.conn.Leave(now, wire.ErrorCode(code))
			s.drain(now, slot, p)
			s.touch(slot, p)
		})
		s.checkDrained()
	})
	if !ok {
		empty()
	}
}

// CloseAll closes all connections at once and refuses new ones.
func (s *Shard) CloseAll(code uint64, reason string) {
	s.Do(func(now mono.Time) {
		s.refusing = true
		s.every(func(slot uint32, p *peer) {
			p.conn.Close(now, false, code, reason)
			s.drain(now, slot, p)
			s.touch(slot, p)
		})
	})
}

// every calls fn for each connection, which is woken for that.
func (s *Shard) every(fn func(slot uint32, p *peer)) {
	for slot := range uint32(min(len(s.peers)*slotChunk, s.cfg.MaxSlots)) {
		if p := s.awake(slot); p != nil && p.conn.State() != proto.StateFree {
			fn(slot, p)
		}
	}
}

// checkDrained tells who waits for the last connection.
func (s *Shard) checkDrained() {
	if s.live == 0 && s.drained != nil {
		fn := s.drained
		s.drained = nil
		fn()
	}
}

// Release forgets everything after Run has returned: connections, sessions, memory. What still waits in the mailbox is lost.
func (s *Shard) Release() {
	s.mu.Lock()
	fns := s.control
	s.control = nil
	s.mu.Unlock()
	for _, fn := range fns {
		fn(s.now) // Do promised to run them
	}
	s.every(func(slot uint32, p *peer) { s.free(slot, p) })
	s.mu.Lock()
	s.released = true
	results := s.results
	s.results = nil
	s.mu.Unlock()
	for _, h := range results {
		if h.busy = false; !h.closing {
			s.closeSession(h)
		}
	}
	s.in.Free()
}
