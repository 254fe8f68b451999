package shard

import (
	"unsafe"

	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/token"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// receive takes batches from the socket until it is empty or the cycle's share of messages is reached. It reports whether
// more may be waiting.
func (s *Shard) receive(now mono.Time) (more bool) {
	until := s.shared.Stats.MessagesReceived + uint64(s.cfg.CycleMessages)
	for batches := 0; batches < maxBatches; batches++ {
		n := s.socket.Read(&s.in)
		batch := s.in.Datagrams[:n]
		for i := range batch {
			if n > 1 {
				s.prefetchEntries(batch[i:])
			}
			s.datagram(now, &batch[i])
			s.lapClosely()
		}
		s.lap()
		if !s.in.More && !mutant.On(mutant.ReadsOn) || n == 0 {
			return false
		}
		if s.shared.Stats.MessagesReceived >= until {
			return true
		}
	}
	return true
}

// prefetchEntries has the CPU fetch what the entries behind the first will touch, while that one is served: of the second but one what its
// connection ID leads to, of the second what that leads to in turn. With a hundred busy connections most of it is far away.
func (s *Shard) prefetchEntries(batch []udp.Datagram) {
	if len(batch) > 2 {
		if slot, ok := s.destination(&batch[2]); ok {
			mem.Prefetch(unsafe.Pointer(s.at(slot)), peerLines) // a hint: it may be nil
			mem.Prefetch(s.wheel.Entry(slot), 1)
		}
	}
	if len(batch) > 1 {
		if slot, ok := s.destination(&batch[1]); ok {
			if p := s.at(slot); p != nil {
				p.conn.Prefetch()
				aead, block := p.keys.Opening()
				mem.Prefetch(aead, aeadLines)
				mem.Prefetch(block, blockLines)
			}
		}
	}
}

// destination returns the slot that an entry's first datagram is for, if it has a short header and the slot exists.
func (s *Shard) destination(d *udp.Datagram) (slot uint32, ok bool) {
	if len(d.Data) == 0 || wire.IsLong(d.Data[0]) {
		return 0, false
	}
	slot, _, ok = s.routeShort(d.Socket, d.Data)
	return slot, ok
}

// maxBatches bounds a cycle whose datagrams hold no messages.
const maxBatches = 16

// datagram takes one entry of a batch: segments of equal size from one sender, which belong to one connection as a rule.
func (s *Shard) datagram(now mono.Time, d *udp.Datagram) {
	defer s.rescue()
	s.current = noSlot
	s.path.Remote, s.path.Local = wire.Addr(d.Remote), wire.Addr(d.Local)
	s.packet.Path, s.packet.ECN = &s.path, d.ECN
	data := d.Data
	size := d.Segment
	if size <= 0 {
		size = len(data)
	}
	for len(data) > 0 {
		segment := data[:min(size, len(data))]
		data = data[len(segment):]
		s.counters.Datagrams++
		s.counters.BytesIn += uint64(len(segment))
		s.segment(now, d.Socket, segment)
	}
}

// segment takes one datagram of the network.
func (s *Shard) segment(now mono.Time, socket uint32, b []byte) {
	if wire.IsLong(b[0]) {
		s.long(now, socket, b)
		return
	}
	slot, pnOff, ok := s.routeShort(socket, b)
	if !ok {
		s.strayShort(now, socket, b)
		return
	}
	s.current = slot
	p := s.at(slot)
	if p == nil {
		s.stir(now, slot, b, pnOff)
		return
	}
	if s.foreigner(p) {
		return
	}
	p.conn.HandleDatagram(now, &s.path, len(b))
	s.packet.Size = len(b)
	s.open(now, slot, p, b, pnOff, wire.LevelOneRTT)
	s.drain(now, slot, p)
	s.touch(slot, p)
}

// routeShort finds the connection of a short-header packet: by its connection ID, or by its socket where connections have
// sockets of their own and no IDs.
func (s *Shard) routeShort(socket uint32, b []byte) (slot uint32, pnOff int, ok bool) {
	if b[0]&wire.FixedBit == 0 {
		return 0, 0, false
	}
	if s.router == nil {
		slot, ok = s.socketSlot(socket)
		return slot, 1, ok
	}
	slot, _, ok = s.router.Slot(b[1:])
	return slot, 1 + token.IDLen, ok
}

// foreigner reports whether a client's datagram comes from an address that is not its server's: a client drops it, as servers do not
// move (RFC 9000 §9). Where connections have sockets of their own the host has dropped it already.
func (s *Shard) foreigner(p *peer) bool {
	if s.router == nil || !p.conn.Client() || p.conn.Path().Remote == s.path.Remote {
		return false
	}
	s.counters.Strays++
	return true
}

// socketSlot returns the slot of the connection that owns a socket.
func (s *Shard) socketSlot(socket uint32) (slot uint32, ok bool) {
	if int(socket) < len(s.bySocket) && s.bySocket[socket] != 0 {
		return s.bySocket[socket] - 1, true
	}
	return 0, false
}

// open opens one packet and gives it to its connection.
func (s *Shard) open(now mono.Time, slot uint32, p *peer, b []byte, pnOff int, level wire.Level) (opened bool) {
	return s.take(now, slot, p, s.scratch.Open(&p.keys, b, pnOff, level, &s.packet), b, pnOff, level)
}

// take gives a packet to its connection, after what became of opening it.
func (s *Shard) take(now mono.Time, slot uint32, p *peer, result protect.Result, b []byte, pnOff int, level wire.Level) (opened bool) {
	switch result {
	case protect.OpenOK:
		p.conn.HandlePacket(now, &s.packet)
		return true
	case protect.OpenReserved:
		s.packet.Reserved = true
		p.conn.HandlePacket(now, &s.packet)
		s.packet.Reserved = false
	case protect.OpenNoKeys:
		s.holdBack(p, b, pnOff, level)
	case protect.OpenDuplicate:
		s.counters.DuplicatePackets++
		s.failedShort(now, p, b, level)
	case protect.OpenFailed:
		s.counters.FailedPackets++
		s.failedShort(now, p, b, level)
	case protect.OpenKeyUpdate:
		p.conn.Close(now, false, uint64(wire.KeyUpdateError), "a key update out of turn")
	}
	return false
}

// failedShort looks at a packet that could not be opened: it may be a stateless reset, whose random bytes may even look like
// a packet number that was seen.
func (s *Shard) failedShort(now mono.Time, p *peer, b []byte, level wire.Level) {
	if level == wire.LevelOneRTT && len(b) >= minReset && p.conn.IsStatelessReset(b[len(b)-wire.ResetTokenLen:]) {
		p.conn.HandleStatelessReset(now)
	}
}

// drain takes what the connection has to say. Handlers run inline; what they send goes to the mailbox, so no
// connection is entered twice.
func (s *Shard) drain(now mono.Time, slot uint32, p *peer) {
	if len(s.shared.Events) == 0 {
		return
	}
	for i := 0; i < len(s.shared.Events); {
		ev := &s.shared.Events[i]
		if ev.Kind == proto.EventMessage {
			i = s.deliver(now, slot, p, i)
			continue
		}
		invariant.Check(ev.Slot == slot, "shard: an event is drained for another connection")
		s.event(now, slot, p, ev)
		i++
	}
	s.shared.Events = s.shared.Events[:0]
}

// deliver gives the application the messages of one channel that begin at event i, as far as they follow one on the other, and
// returns where they end. Credit for what the application is done with goes back to the peer once for all of them.
func (s *Shard) deliver(now mono.Time, slot uint32, p *peer, i int) int {
	first, channel, credit, count := i, s.shared.Events[i].Channel, 0, 0
	s.enter(Ref{slot | s.index, p.gen}, CallMessage)
	for ; i < len(s.shared.Events); i++ {
		ev := &s.shared.Events[i]
		if ev.Kind != proto.EventMessage || ev.Channel != channel {
			break
		}
		invariant.Check(ev.Slot == slot, "shard: a message is delivered for another connection")
		if mutant.On(mutant.Garbage) {
			ev.Payload = append([]byte(nil), ev.Payload...)
		}
		s.calling = true
		done := p.app.Message(s, s.serving, ev)
		s.calling = false
		if done {
			credit += len(ev.Payload)
			count++
		}
		if ev.Ref != 0 {
			s.shared.Pool.Put(ev.Ref)
		}
	}
	s.watch.calls += i - first - 1 // enter has counted one
	if count > 0 {
		p.conn.Consumed(now, channel, credit+(count-1)*wire.CreditOverhead)
	}
	return i
}

// event takes everything but messages.
func (s *Shard) event(now mono.Time, slot uint32, p *peer, ev *proto.Event) {
	r := Ref{slot | s.index, p.gen}
	switch ev.Kind {
	case proto.EventWritable:
		s.credit(slot, p, int64(ev.N))
	case proto.EventOutcome:
		s.outcome(p, r, ev.Tag, ev.Outcome)
	case proto.EventGap:
		s.enter(r, CallGap)
		p.app.Gap(s, r, ev.Channel, int(ev.N))
		s.calling = false
	case proto.EventCrypto:
		s.crypto(slot, p, ev.Level, ev.Payload)
	case proto.EventConfirmed:
		s.counters.Confirmed++
	case proto.EventDropKeys:
		p.keys.Drop(ev.Level)
	case proto.EventPath:
		s.pathChanged(slot, p)
	case proto.EventNewID:
		s.router.Bind(ev.ConnID)
	case proto.EventRetireID:
		s.router.Unbind(ev.ConnID)
	case proto.EventClosed:
		c := Closed{Code: ev.Code, Reason: string(ev.Payload), App: ev.App, Remote: ev.Remote}
		switch ev.Code {
		case proto.CodeIdleTimeout, proto.CodeHandshake:
			c.Idle, c.Silent = true, mono.Duration(ev.Key)
		}
		s.farewell(now, p)
		s.ended(slot, p, &c)
	case proto.EventStreamOpen, proto.EventStreamData, proto.EventStreamEnd, proto.EventStreamReset, proto.EventStreamStop,
		proto.EventStreamWritable, proto.EventStreamLimit:
		s.streamEvent(p, r, ev)
	case proto.EventTicket:
		// NEW_TOKEN is not sent by this version's servers, and a client has nowhere to keep one.
	}
	if ev.Ref != 0 {
		s.shared.Pool.Put(ev.Ref)
	}
}
