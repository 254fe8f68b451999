package shard

import (
	"runtime/debug"

	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/wire"
)

// rescue is deferred around everything that a peer's bytes can set off. A panic there is a fault of this code, and it must not let one peer
// end the process: the connection it happened on is dropped, counted and reported, and the shard goes on. A panic of the application is not
// held up, nor is any in a debug build or a simulation.
func (s *Shard) rescue() {
	if s.calling || invariant.Enabled || s.cfg.Fault == nil {
		return
	}
	v := recover()
	if v == nil {
		return
	}
	s.counters.Faults++
	slot := s.current
	s.shared.Events = s.shared.Events[:0]
	s.inForeign, s.packet.Reserved = false, false
	s.cfg.Fault(s, v, debug.Stack())
	if slot != noSlot {
		s.drop(slot)
	}
}

// drop forgets a connection whose state cannot be trusted. If even that fails, its slot is lost.
func (s *Shard) drop(slot uint32) {
	defer func() {
		if recover() != nil {
			s.counters.SlotsLost++
		}
	}()
	p := s.at(slot)
	if p == nil {
		return // it was forgotten already, or hibernates still
	}
	if s.slots.at(slot).record != 0 {
		s.discard(slot) // it could not be woken
	}
	if !p.ended {
		s.ended(slot, p, &Closed{Code: uint64(wire.InternalError)})
	}
	s.free(slot, p)
}
