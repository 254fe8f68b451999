package shard

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// transmit builds, seals and sends for the connections in the queue and for members of groups that messages wait for, in turns of a few
// trains, until all are done, the socket is full, or the cycle has sent its share: what waits to be received may make the rest needless. When thousands of probe timers
// fire at once, answers that nobody reads would make the next timers fire too.
func (s *Shard) transmit(now mono.Time) {
	until := s.counters.Trains + cycleTrains
	for turns := s.live*2 + 1; s.busy() && !s.blocked && turns > 0 && s.counters.Trains < until && !s.throttled(now); turns-- {
		if slot, p := s.next(); p != nil {
			s.turn(now, slot, p)
		}
	}
	s.flush()
}

// busy reports whether anybody may have something to send.
func (s *Shard) busy() bool { return s.dirtyHead != 0 || s.backlog.first != nil }

// next returns whose turn it is, if it is anybody's: alternately the first of the queue and the next member of a group that messages wait for.
func (s *Shard) next() (slot uint32, p *peer) {
	s.backlog.turn, s.backlog.only = !s.backlog.turn, nil
	if s.dirtyHead == 0 || s.backlog.turn && s.backlog.first != nil {
		return s.nextMember()
	}
	slot = s.dirtyHead - 1
	p = s.at(slot)
	s.dirtyHead = p.next
	if s.dirtyHead == 0 {
		s.dirtyTail = 0
	}
	p.dirty = false
	return slot, p
}

// turn lets one connection send, first of all what its groups were sent.
func (s *Shard) turn(now mono.Time, slot uint32, p *peer) {
	defer s.rescue()
	s.current = slot
	built := s.takeAndBuild(now, slot, p)
	for trains := 0; ; trains++ {
		if trains == trainsPerTurn || s.blocked || trains > 0 && s.throttled(now) {
			s.touch(slot, p)
			break
		}
		if !built && !s.build(now, p) {
			break
		}
		built = false
		if len(s.out.Outs) >= flushTrains || s.used >= flushBytes || mutant.On(mutant.EagerWrites) {
			s.flush()
		}
	}
	s.drain(now, slot, p)
	s.settle(now, slot, p)
}

// build queues one protected train of a connection, if it has any to send.
func (s *Shard) build(now mono.Time, p *peer) bool {
	buf := s.slab[s.used:]
	if !p.conn.BuildTrain(now, buf, &s.train) {
		return false
	}
	s.seal(now, p)
	return true
}

// seal protects the train that was built at the end of the slab, and queues it.
func (s *Shard) seal(now mono.Time, p *peer) {
	buf := s.slab[s.used:]
	s.scratch.SealTrain(&p.keys, buf, &s.train)
	if t := s.cfg.Throttle; t != nil {
		t.spend(now, s.train.Len)
	}
	s.out.Outs = append(s.out.Outs, udp.Out{
		Data: buf[:s.train.Len:s.train.Len], Segment: s.train.SegmentSize,
		Remote: udp.Addr(s.train.Path.Remote), Local: udp.Addr(s.train.Path.Local),
		ECN: s.train.ECN, Socket: p.socket,
	})
	s.used += s.train.Len
	s.counters.Trains++
	s.counters.Segments += uint64(s.train.Segments)
	s.counters.BytesOut += uint64(s.train.Len)
}

// farewell sends a connection's CLOSE before the application learns of the end: a program that exits then has not left
// its peer waiting for the idle timeout.
func (s *Shard) farewell(now mono.Time, p *peer) {
	if !s.blocked && len(s.slab)-s.used >= maxTrainBytes && p.conn.State() == proto.StateClosing && s.build(now, p) {
		s.flush()
	}
}

// settle ends a connection's part in the cycle: its timer, its keys, its end.
func (s *Shard) settle(now mono.Time, slot uint32, p *peer) {
	if p.conn.State() == proto.StateConnected && p.keys.Exhausted() {
		p.conn.Close(now, false, uint64(wire.AEADLimitReached), "packet protection has reached its limit")
		s.drain(now, slot, p)
		s.touch(slot, p)
	}
	switch st := p.conn.State(); {
	case st == proto.StateClosed, st == proto.StateDraining && p.ownSock:
		// A socket of its own goes with the connection, so no late packet can be mistaken (RFC 9000 §10.2).
		s.free(slot, p)
		return
	}
	if p.hs != nil && p.conn.HandshakeOver() {
		s.dropSession(p)
	}
	cold, tired := s.coldDeadline(now, p)
	if tired && s.hibernate(now, slot, p) {
		return
	}
	at := min(p.conn.NextDeadline(), s.keyDeadline(now, p), cold)
	if at != p.deadline || mutant.On(mutant.TimersReset) {
		p.deadline = at
		s.wheel.Set(slot, at)
	}
}

// keyDeadline looks after the key phases of a connection (RFC 9001 §6) and returns when it has to do so again.
func (s *Shard) keyDeadline(now mono.Time, p *peer) mono.Time {
	if p.keys.WantsUpdate() && p.conn.Confirmed() {
		if start, ok := p.keys.PhaseStart(); !ok || start == 0 || p.conn.LargestAcked(levelApp) >= int64(start) {
			if p.keys.Update() {
				s.counters.KeyUpdates++
			}
		}
	}
	if !p.keys.HasPrevious() {
		p.keysDrop = mono.Never
		return mono.Never
	}
	if p.keysDrop == mono.Never {
		p.keysDrop = now.Add(3 * p.conn.RTT().PTO(mono.Duration(s.cfg.Proto.Params.MaxAckDelay)*mono.Millisecond))
	}
	if now >= p.keysDrop {
		p.keys.DropPrevious()
		p.keysDrop = mono.Never
	}
	return p.keysDrop
}

// flush sends what was built. What a full socket does not take stays for the next cycle.
func (s *Shard) flush() {
	if len(s.out.Outs) == 0 {
		s.blocked = false
		return
	}
	if s.watch.calls > 0 {
		s.lap() // what the kernel takes is not the handlers'
	}
	sent, blocked := s.socket.Write(&s.out)
	s.watch.at = 0
	s.blocked = blocked
	if blocked {
		s.counters.SocketFull++
		rest := copy(s.out.Outs, s.out.Outs[sent:])
		s.out.Outs = s.out.Outs[:rest]
		if rest > 0 {
			return
		}
		s.blocked = false
	}
	s.out.Outs = s.out.Outs[:0]
	s.used = 0
}

// reserve returns room for one stateless answer, or nil if the socket is full.
func (s *Shard) reserve() []byte {
	if s.blocked || len(s.slab)-s.used < maxTrainBytes {
		return nil
	}
	return s.slab[s.used : s.used+maxAnswer : s.used+maxAnswer]
}

const maxAnswer = 1500

// reply queues a stateless answer, built in what reserve returned, for the sender of the current datagram.
func (s *Shard) reply(socket uint32, b []byte) {
	s.out.Outs = append(s.out.Outs, udp.Out{
		Data: b, Remote: udp.Addr(s.path.Remote), Local: udp.Addr(s.path.Local), Socket: socket,
	})
	s.used += len(b)
	if len(s.out.Outs) >= flushTrains || s.used >= flushBytes {
		s.flush()
	}
}
