package shard

import (
	"cmp"
	"slices"
	"unsafe"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// maxBacklog is how many messages may wait for the members of all groups.
const maxBacklog = 4096

// backlog holds the messages that groups were sent until every member has taken them, which it does at the beginning of its next turn to
// send: its queue, its account and its packets are then in the CPU's caches once instead of twice. A message costs the shard a fixed amount
// until then. How far a connection has taken what its groups were sent is one number (peer.taken), because whatever else it is told makes it
// take everything first.
type backlog struct {
	entries []pending
	free    uint32 // index + 1 of the first unused one, linked by next
	count   int
	bytes   int64    // what they cost
	newest  uint64   // number of the last message that came
	first   *members // the groups that messages wait for, in turns
	last    *members
	turn    bool     // the next turn is a member's
	only    *members // the turn that begins is that of a member of this group, the only one that messages wait for
	due     []uint32 // scratch: what one connection takes
}

// pending is a message that waits for a group's members. It holds a reference to its chunk.
type pending struct {
	number   uint64 // in the order of all messages for groups
	came     mono.Time
	key      uint64
	tag      uint64
	ttl      mono.Duration // from came on; 0 = for ever
	chunk    mem.ChunkID
	off      uint32 // in the chunk
	size     uint32
	except   uint32 // slot of the connection that it is not for, or noSlot
	next     uint32 // index + 1 of the group's next message, or of the next unused one
	channel  uint16
	reliable bool
}

// cost is what a member's account is charged.
func (e *pending) cost() int64 { return int64(e.size) + wire.CreditOverhead }

// fanOut takes a group's message from the mailbox. It lies in the senders' chunk once, and every member's queue will refer to it there.
func (s *Shard) fanOut(now mono.Time, i *item, id mem.ChunkID, payload []byte, off uint32) {
	g := s.group(i.group)
	if g == nil {
		return
	}
	cost := int64(len(payload) + wire.CreditOverhead)
	g.part.mail.Add(-cost)
	s.counters.GroupItems++
	if len(g.list) == 0 {
		return
	}
	b := &s.backlog
	for b.count == maxBacklog || b.count > 0 && b.bytes+cost > s.mailShare {
		s.counters.GroupOverflows++
		s.handOutAll(now, b.first)
	}
	e := b.add(g, cost)
	e.came, e.key, e.tag, e.ttl, e.channel = now, i.key, i.tag, i.ttl, i.channel
	e.chunk, e.off, e.size, e.except = id, off, uint32(len(payload)), noSlot
	e.reliable = s.cfg.Proto.Channels[i.channel].Mode.Reliable()
	if i.slot != noSlot && s.find(i.slot, i.gen) != nil {
		e.except = i.slot & slotMask
	}
	s.chunks.Retain(id)
}

// add puts an entry behind a group's others, for the caller to fill in.
func (b *backlog) add(g *members, cost int64) *pending {
	at := b.free
	if at == 0 {
		b.entries = append(b.entries, pending{})
		at = uint32(len(b.entries))
	} else {
		b.free = b.entries[at-1].next
	}
	b.count++
	b.bytes += cost
	b.newest++
	e := &b.entries[at-1]
	e.number, e.next = b.newest, 0
	if g.head == 0 {
		g.head = at
		b.push(g)
	} else {
		b.entries[g.tail-1].next = at
	}
	g.tail = at
	return e
}

// push puts a group at the end of those that messages wait for.
func (b *backlog) push(g *members) {
	g.before, g.behind = b.last, nil
	if b.last != nil {
		b.last.behind = g
	} else {
		b.first = g
	}
	b.last = g
}

// unlink takes a group out of those that messages wait for.
func (b *backlog) unlink(g *members) {
	if g.before != nil {
		g.before.behind = g.behind
	} else {
		b.first = g.behind
	}
	if g.behind != nil {
		g.behind.before = g.before
	} else {
		b.last = g.before
	}
	g.before, g.behind = nil, nil
}

// nextMember returns a connection that has not taken what its groups were sent, or nil if it met none: it looks at a group's members in rounds, a
// few at a time. One that will have a turn anyhow takes its messages then. Members are taken from the end, so that one who leaves meanwhile is
// replaced by one who has been looked at.
func (s *Shard) nextMember() (slot uint32, p *peer) {
	b := &s.backlog
	g := b.first
	if g.until == 0 {
		g.until, g.place, g.waiting = b.newest, len(g.list), false
	}
	newest := b.entries[g.tail-1].number
	for range membersPerTurn {
		if g.place = min(g.place, len(g.list)) - 1; g.place < 0 {
			s.endRound(g)
			return 0, nil
		}
		s.prefetch(g)
		slot := g.list[g.place].slot
		switch p := s.at(slot); {
		case p.taken >= newest:
		case p.dirty:
			g.waiting = true
		default:
			if g.behind == nil {
				b.only = g
			}
			return slot, p
		}
	}
	return 0, nil
}

// membersPerTurn is how many members that need no turn are passed over in one.
const membersPerTurn = 16

// endRound forgets what all members of a group have taken. The group's next round comes after those of the others.
func (s *Shard) endRound(g *members) {
	b := &s.backlog
	b.unlink(g)
	for !g.waiting && g.head != 0 && b.entries[g.head-1].number <= g.until {
		at := g.head
		e := &b.entries[at-1]
		g.head = e.next
		b.count--
		b.bytes -= e.cost()
		s.chunks.Release(e.chunk)
		e.next = b.free
		b.free = at
	}
	g.until = 0
	if g.head != 0 {
		b.push(g)
	}
}

// handOutAll gives a group's members at once what they have not taken, when there is no time left for their turns.
func (s *Shard) handOutAll(now mono.Time, g *members) {
	b := &s.backlog
	if g.head == 0 {
		return
	}
	for k := len(g.list) - 1; k >= 0; k-- {
		slot := g.list[k].slot
		p := s.at(slot)
		s.handOut(now, slot, p)
		s.touch(slot, p)
	}
	g.until, g.waiting = b.newest, false
	s.endRound(g)
}

// handOut gives a connection what its groups were sent since it last took something, in the order it was sent.
func (s *Shard) handOut(now mono.Time, slot uint32, p *peer) {
	if s.backlog.count == 0 {
		return
	}
	for _, at := range s.takeDue(slot, p, nil) {
		s.give(now, slot, p, &s.backlog.entries[at], nil)
	}
}

// takeAndBuild is handOut at the beginning of a turn: a message that is the only one may leave in the turn's first train without having been queued.
// It reports whether that train is built.
func (s *Shard) takeAndBuild(now mono.Time, slot uint32, p *peer) bool {
	if s.backlog.count == 0 {
		return false
	}
	due := s.takeDue(slot, p, s.backlog.only)
	if len(due) == 1 && !s.blocked {
		return s.give(now, slot, p, &s.backlog.entries[due[0]], s.slab[s.used:])
	}
	for _, at := range due {
		s.give(now, slot, p, &s.backlog.entries[at], nil)
	}
	return false
}

// takeDue returns where the messages lie that a connection has not taken, and notes that it has them now. They are all in one group, if that
// is given.
func (s *Shard) takeDue(slot uint32, p *peer, only *members) []uint32 {
	b := &s.backlog
	due, groups := b.due[:0], 0
	switch {
	case p.taken >= b.newest:
	case only != nil:
		due = b.waiting(due, only, slot, p.taken)
		p.taken = b.newest
	default:
		for at := p.seats; at != 0; at = s.seats[at-1].next {
			n := len(due)
			due = b.waiting(due, s.seats[at-1].group, slot, p.taken)
			if len(due) > n {
				groups++
			}
		}
		if groups > 1 {
			slices.SortFunc(due, func(x, y uint32) int { return cmp.Compare(b.entries[x].number, b.entries[y].number) })
		}
		p.taken = b.newest
	}
	b.due = due
	return due
}

// waiting appends where a group's messages lie that come after the one of that number and are for the connection.
func (b *backlog) waiting(due []uint32, g *members, slot uint32, taken uint64) []uint32 {
	for k := g.head; k != 0; k = b.entries[k-1].next {
		if e := &b.entries[k-1]; e.number > taken && e.except != slot {
			due = append(due, k-1)
		}
	}
	return due
}

// give hands one message to one member. With buf, the connection may build a train for it there at once; it reports whether it did.
func (s *Shard) give(now mono.Time, slot uint32, p *peer, e *pending, buf []byte) (built bool) {
	m := &s.message
	m.TTL = 0
	if e.ttl > 0 {
		if m.TTL = e.ttl - now.Sub(e.came); m.TTL <= 0 {
			s.shared.Stats.Expired++
			s.skip(slot, p, e.tag, proto.Expired)
			return false
		}
	}
	cost := e.cost()
	if !s.charge(slot, p, cost, e.reliable) {
		s.skip(slot, p, e.tag, proto.Refused)
		return false
	}
	m.Channel, m.Key, m.Tag = e.channel, e.key, e.tag
	m.Chunk, m.Offset, m.Payload = e.chunk, e.off, s.chunks.Bytes(e.chunk)[e.off:e.off+e.size]
	if buf != nil {
		sent, built := p.conn.SendTrain(now, m, buf, &s.train)
		if built {
			s.seal(now, p)
		}
		if sent {
			s.counters.GroupDeliveries++
			return built
		}
	}
	switch p.conn.Send(now, m) {
	case proto.SendOK:
		s.counters.GroupDeliveries++
	case proto.SendClosed:
		s.credit(slot, p, cost)
		s.skip(slot, p, e.tag, proto.Unknown)
	default:
		s.credit(slot, p, cost)
		s.skip(slot, p, e.tag, proto.Refused)
	}
	if len(s.shared.Events) > 0 {
		s.drain(now, slot, p) // a message may push out another one
	}
	return false
}

// charge takes a message's credit from a member's account, as a sender to it alone does. While no sender waits, it takes some more for the
// messages to come: an atomic operation waits for all stores before it.
func (s *Shard) charge(slot uint32, p *peer, cost int64, reliable bool) bool {
	if p.ahead >= cost {
		p.ahead -= cost
		return true
	}
	shared := s.slots.at(slot)
	more := s.chargeAhead
	if shared.want.Load() != 0 {
		more = 0
	}
	used := shared.account.Add(cost+more) & accountMask
	if used > s.sendBuffer && more > 0 {
		used = shared.account.Add(-more) & accountMask
		more = 0
	}
	if reliable && used > s.sendBuffer {
		shared.account.Add(-cost)
		return false
	}
	p.held += cost + more
	p.ahead += more
	return true
}

// skip counts a message that a member did not take. The member's application hears no more of it than its outcome.
func (s *Shard) skip(slot uint32, p *peer, tag uint64, o proto.Outcome) {
	s.counters.GroupSkipped++
	if tag != 0 && !p.ended {
		s.outcome(p, Ref{slot | s.index, p.gen}, tag, o)
	}
}

// forsake tells of the messages that a connection did not live to take.
func (s *Shard) forsake(slot uint32, p *peer) {
	if s.backlog.count == 0 {
		return
	}
	for _, at := range s.takeDue(slot, p, nil) {
		s.skip(slot, p, s.backlog.entries[at].tag, proto.Unknown)
	}
}

// Members are fetched from memory while others before them have their turns: first what is found by the slot, then what that leads to, at last
// what that leads to in turn.
const (
	fetchFirst = 6
	fetchRest  = 4
	fetchLast  = 2
	peerLines  = int((unsafe.Sizeof(peer{}) + mem.CacheLine - 1) / mem.CacheLine)
	aeadLines  = 12 // AES-GCM of the standard library: two key schedules and a table
	blockLines = 4  // AES: the key schedule that encrypts
)

// prefetch has the CPU fetch what the next members' turns will touch. A turn touches some sixty cache lines, which for most members are far
// away, and would wait for one after the other: docs/adr/0012-members-take-their-messages.md.
func (s *Shard) prefetch(g *members) {
	if k := g.place - fetchFirst; k >= 0 {
		slot := g.list[k].slot
		mem.Prefetch(unsafe.Pointer(s.at(slot)), peerLines)
		mem.Prefetch(s.wheel.Entry(slot), 1)
	}
	if k := g.place - fetchRest; k >= 0 {
		p := s.at(g.list[k].slot)
		p.conn.Prefetch()
		aead, block := p.keys.Sealing()
		mem.Prefetch(aead, aeadLines)
		mem.Prefetch(block, blockLines)
	}
	if k := g.place - fetchLast; k >= 0 {
		s.at(g.list[k].slot).conn.PrefetchQueue()
	}
}
