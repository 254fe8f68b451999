package shard

import "godwit.example/godwit/internal/mono"

// members is a group as one of its shards has it. A member is a connection that lives: it leaves when it ends or is closed, so nothing has to be
// asked about it when there is something to send.
type members struct {
	id   uint64
	part *groupPart
	list []member

	head, tail uint32   // index + 1 of its first and last message in the backlog, 0 = none
	before     *members // with messages there
	behind     *members
	until      uint64 // number of the newest message when this round over the members began; 0 = it did not begin
	place      int    // members from here on were looked at in this round
	waiting    bool   // one of them takes its messages later
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

// join makes a connection a member, if it still can be one; senders ask for no membership twice. It gets what the group is sent from now on.
func (s *Shard) join(now mono.Time, i *item) {
	g, p := s.group(i.group), s.find(i.slot, i.gen)
	slot := i.slot & slotMask
	shared := s.slots.at(slot)
	if g == nil || p == nil || p.left {
		shared.groups.Add(-1)
		if g != nil {
			g.part.gone(Ref{i.slot, i.gen})
		}
		return
	}
	s.handOut(now, slot, p) // what waits for it now is not this group's
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
func (s *Shard) leave(now mono.Time, i *item) {
	g := s.group(i.group)
	if g == nil {
		return
	}
	if p := s.find(i.slot, i.gen); p != nil {
		if link := s.seatIn(p, g); link != nil {
			slot := i.slot & slotMask
			s.handOut(now, slot, p)
			s.touch(slot, p)
			s.vacate(link, slot)
		}
	}
}

// leaveAll ends all memberships of a connection, for good.
func (s *Shard) leaveAll(slot uint32, p *peer) {
	p.left = true
	for p.seats != 0 {
		s.seats[p.seats-1].group.part.gone(Ref{slot, p.gen})
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
	s.slots.at(slot).groups.Add(-1)
	if p := s.at(slot); p.seats == 0 && p.ahead > 0 {
		s.credit(slot, p, 0)
	}
}

// disband ends a group.
func (s *Shard) disband(now mono.Time, i *item) {
	g := s.group(i.group)
	if g == nil {
		return
	}
	s.handOutAll(now, g)
	for n := len(g.list); n > 0; n = len(g.list) {
		slot := g.list[n-1].slot
		s.vacate(s.seatIn(s.at(slot), g), slot)
	}
	delete(s.groups, g.id)
	if len(s.groups) == 0 {
		s.groups, s.seats, s.freeSeat = nil, nil, 0
	}
}
