package shard

import (
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// members is a group as one of its shards has it. A member is a connection that lives: it leaves when it ends or is closed, so nothing has to be
// asked about it when there is something to send.
type members struct {
	id   uint64
	part *groupPart
	list []member
}

type member struct {
	slot uint32
	seat uint32 // index in Shard.seats
}

// seat is one membership as its connection has it: a link of the list that peer.seats begins.
type seat struct {
	group *members
	place uint32 // index in the group's list
	next  uint32 // index + 1 of the connection's next seat, or of the next free one
}

// group returns the shard's part of a group, nil if the group is closed.
func (s *Shard) group(id uint64) *members {
	if g := s.groups[id]; g != nil {
		return g
	}
	s.mu.Lock()
	part := s.announced[id]
	delete(s.announced, id)
	s.mu.Unlock()
	if part == nil {
		return nil
	}
	if s.groups == nil {
		s.groups = make(map[uint64]*members)
	}
	g := &members{id: id, part: part}
	s.groups[id] = g
	return g
}

// join makes a connection a member, if it still can be one and is none yet.
func (s *Shard) join(i *item) {
	g, p := s.group(i.group), s.find(i.slot, i.gen)
	slot := i.slot & slotMask
	shared := s.slots.at(slot)
	if g == nil || p == nil || shared.State(i.gen) != slotOpen || s.seatIn(p, g) != nil {
		shared.groups.Add(-1)
		if g != nil {
			g.part.reach.Add(-1)
		}
		return
	}
	at := s.freeSeat
	if at != 0 {
		at--
		s.freeSeat = s.seats[at].next
	} else {
		at = uint32(len(s.seats))
		s.seats = append(s.seats, seat{})
	}
	s.seats[at] = seat{group: g, place: uint32(len(g.list)), next: p.seats}
	p.seats = at + 1
	g.list = append(g.list, member{slot, at})
}

// seatIn returns the link that leads to a connection's seat in a group, nil if it is not a member.
func (s *Shard) seatIn(p *peer, g *members) (link *uint32) {
	for link = &p.seats; *link != 0; link = &s.seats[*link-1].next {
		if s.seats[*link-1].group == g {
			return link
		}
	}
	return nil
}

// leave ends one membership.
func (s *Shard) leave(i *item) {
	g := s.group(i.group)
	if g == nil {
		return
	}
	g.part.leaving.Add(-1)
	if p := s.find(i.slot, i.gen); p != nil {
		if link := s.seatIn(p, g); link != nil {
			s.vacate(link, i.slot&slotMask)
		}
	}
}

// leaveAll ends all memberships of a connection.
func (s *Shard) leaveAll(slot uint32, p *peer) {
	for p.seats != 0 {
		s.vacate(&p.seats, slot)
	}
}

// vacate takes the seat that link leads to out of its connection's list and its group's. The group's last member moves to its place.
func (s *Shard) vacate(link *uint32, slot uint32) {
	at := *link - 1
	empty := &s.seats[at]
	g := empty.group
	last := len(g.list) - 1
	moved := g.list[last]
	g.list[empty.place] = moved
	s.seats[moved.seat].place = empty.place
	g.list = g.list[:last]
	if last <= cap(g.list)/4 {
		g.list = append([]member(nil), g.list...)
	}
	*link = empty.next
	*empty = seat{next: s.freeSeat}
	s.freeSeat = at + 1
	g.part.reach.Add(-1)
	s.slots.at(slot).groups.Add(-1)
}

// disband ends a group.
func (s *Shard) disband(i *item) {
	g := s.group(i.group)
	if g == nil {
		return
	}
	for n := len(g.list); n > 0; n = len(g.list) {
		slot := g.list[n-1].slot
		s.vacate(s.seatIn(s.at(slot), g), slot)
	}
	delete(s.groups, g.id)
	if len(s.groups) == 0 {
		s.groups, s.seats, s.freeSeat = nil, nil, 0
	}
}

// fanOut gives a group's message to its members. It lies in the senders' chunk once, and every member's queue refers to it there. Members are
// taken from the end, so that one who leaves meanwhile is replaced by one who has been served.
func (s *Shard) fanOut(now mono.Time, i *item, id mem.ChunkID, payload []byte, off uint32) {
	g := s.group(i.group)
	if g == nil {
		return
	}
	cost := int64(len(payload) + wire.CreditOverhead)
	g.part.mail.Add(-cost)
	s.counters.GroupItems++
	except := noSlot
	if i.slot != noSlot && s.find(i.slot, i.gen) != nil {
		except = i.slot & slotMask
	}
	reliable := s.cfg.Proto.Channels[i.channel].Mode.Reliable()
	for k := len(g.list) - 1; k >= 0; k-- {
		slot := g.list[k].slot
		if slot == except {
			continue
		}
		p := s.at(slot)
		result := proto.SendBlocked
		if s.charge(slot, p, cost, reliable) {
			m := &s.message // a handler that ran for the member before may have used it
			m.Channel, m.Key, m.Tag, m.TTL = i.channel, i.key, i.tag, i.ttl
			m.Chunk, m.Offset, m.Payload = id, off, payload
			if result = p.conn.Send(now, m); result != proto.SendOK {
				s.credit(slot, p, cost)
			}
		}
		s.served(slot, p, i.tag, result)
		if len(s.shared.Events) > 0 {
			s.drain(now, slot, p)
		}
		s.touch(slot, p)
	}
}

// charge takes a message's credit from a member's account, as a sender to it alone does.
func (s *Shard) charge(slot uint32, p *peer, cost int64, reliable bool) bool {
	shared := s.slots.at(slot)
	used := shared.account.Add(cost) & accountMask
	if reliable && used > s.sendBuffer {
		shared.account.Add(-cost)
		return false
	}
	p.held += cost
	return true
}

// served counts what became of a group's message at one member. One that did not take it hears no more of it than its outcome.
func (s *Shard) served(slot uint32, p *peer, tag uint64, result proto.SendResult) {
	if result == proto.SendOK {
		s.counters.GroupDeliveries++
		return
	}
	s.counters.GroupSkipped++
	if tag == 0 || p.ended {
		return
	}
	o := proto.Refused
	if result == proto.SendClosed {
		o = proto.Unknown
	}
	s.outcome(p, Ref{slot | s.index, p.gen}, tag, o)
}
