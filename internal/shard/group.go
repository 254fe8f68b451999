package shard

import (
	"sync"
	"sync/atomic"

	"godwit.example/godwit/internal/mailbox"
	"godwit.example/godwit/internal/wire"
)

// MaxGroups is how many groups a connection may be in: leaving one looks through them.
const MaxGroups = 1024

// Group is a set of connections that are sent the same messages. This is the part that senders see: it may be used by any goroutine. Each
// shard keeps the members that live on it (members), and what is said about a group travels through the mailboxes, so it keeps its order with
// the sends to single connections; senders know who will be a member once the mailboxes are empty (groupPart).
type Group struct {
	id     uint64
	shards []*Shard
	parts  []groupPart // by shard

	mu     sync.Mutex // while a shard learns of the group, or it is closed
	closed atomic.Bool
}

// groupPart is what a group's senders and one of its shards share.
type groupPart struct {
	mu   sync.Mutex        // held while a change is put into the mailbox, so that the shard sees the changes of one member in order
	in   map[uint32]uint32 // who is a member once the mailbox was emptied: generations by slot
	size atomic.Int64      // of in

	mail  atomic.Int64 // bytes of messages in the mailbox
	known atomic.Bool  // the shard was told of the group
	_     [24]byte     // shards do not disturb each other
}

// has reports whether a connection is a member. Its caller holds mu.
func (p *groupPart) has(r Ref) bool {
	gen, ok := p.in[r.Slot&slotMask]
	return ok && gen == r.Gen
}

func (p *groupPart) member(r Ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has(r)
}

// note adds a member or takes it out. Its caller holds mu.
func (p *groupPart) note(r Ref, in bool) {
	switch {
	case !in:
		delete(p.in, r.Slot&slotMask)
	case p.in == nil:
		p.in = map[uint32]uint32{r.Slot & slotMask: r.Gen}
	default:
		p.in[r.Slot&slotMask] = r.Gen
	}
	p.size.Store(int64(len(p.in)))
}

// gone takes a connection out that has ended.
func (p *groupPart) gone(r Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has(r) {
		p.note(r, false)
	}
}

// groupIDs counts the groups of the process: endpoints may share a shard.
var groupIDs atomic.Uint64

// NewGroup returns a group without members for the connections of an endpoint's shards.
func NewGroup(shards []*Shard) *Group {
	return &Group{id: groupIDs.Add(1), shards: shards, parts: make([]groupPart, len(shards))}
}

// announce tells the shard of a group that gets its first member there. It reports false if the group is closed.
func (g *Group) announce(part *groupPart, s *Shard) bool {
	if part.known.Load() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed.Load() {
		return false
	}
	if !part.known.Load() {
		s.mu.Lock()
		if s.announced == nil {
			s.announced = make(map[uint64]*groupPart)
		}
		s.announced[g.id] = part
		s.mu.Unlock()
		part.known.Store(true)
	}
	return true
}

// Add makes a connection a member, behind everything that the caller has sent before. It returns Sent, WouldBlock if the mailbox is full,
// TooLarge if the connection is in MaxGroups, Gone if it is closed, or NotYet.
func (g *Group) Add(r Ref) Status {
	s, part := g.shards[r.Shard()], &g.parts[r.Shard()]
	slot := s.slots.at(r.Slot)
	switch slot.State(r.Gen) {
	case slotOpen:
	case slotHandshake:
		return NotYet
	default:
		return Gone
	}
	if g.closed.Load() {
		return Gone
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.has(r) {
		return Sent
	}
	if slot.groups.Add(1) > MaxGroups {
		slot.groups.Add(-1)
		return TooLarge
	}
	status := Gone
	if g.announce(part, s) {
		i := item{kind: itemJoin, slot: r.Slot, gen: r.Gen, group: g.id}
		if s.mailbox.Put(i.header(), nil) {
			part.note(r, true)
			return Sent
		}
		status = WouldBlock
	}
	slot.groups.Add(-1)
	return status
}

// Remove ends a membership, if there is one, behind everything that the caller has sent before.
func (g *Group) Remove(r Ref) {
	part := &g.parts[r.Shard()]
	part.mu.Lock()
	defer part.mu.Unlock()
	if !part.has(r) {
		return
	}
	part.note(r, false)
	i := item{kind: itemLeave, slot: r.Slot, gen: r.Gen, group: g.id}
	g.shards[r.Shard()].mailbox.Force(i.header())
}

// Len returns the number of members, changes that are on their way included.
func (g *Group) Len() (n int) {
	if g.closed.Load() {
		return 0
	}
	for i := range g.parts {
		n += int(g.parts[i].size.Load())
	}
	return n
}

// Send queues a message for all members but the excepted one, if there is one: once for each shard. It returns how many members it is on its
// way to, and how many shards had no room for it.
func (g *Group) Send(m *Outbound, except Ref, excepted bool) (members, refused int) {
	if g.closed.Load() {
		return 0, 0
	}
	for i := range g.parts {
		part := &g.parts[i]
		n := int(part.size.Load())
		if n == 0 {
			continue
		}
		here := excepted && except.Shard() == i
		if here && part.member(except) {
			n--
		}
		it := item{kind: itemGroup, slot: noSlot, channel: m.Channel, key: m.Key, tag: m.Tag, ttl: m.TTL, group: g.id}
		if here {
			it.slot, it.gen = except.Slot, except.Gen
		}
		if !g.shards[i].sendGroup(part, &it, m.Payload) {
			refused++
			continue
		}
		members += n
	}
	return members, refused
}

// sendGroup puts a group's message into the mailbox, of which a group may fill as much as a connection.
func (s *Shard) sendGroup(part *groupPart, i *item, payload []byte) bool {
	n := int64(len(payload) + wire.CreditOverhead)
	if mail := part.mail.Add(n); mail > s.mailShare && mail != n {
		part.mail.Add(-n)
		return false
	}
	ok := false
	if len(payload) > mailbox.MaxInPlace {
		ok = s.mailbox.Put(i.header(), payload)
	} else if h, room := s.mailbox.Begin(len(payload)); h != nil {
		*itemOf(h) = *i
		copy(room, payload)
		s.mailbox.Commit(len(payload))
		ok = true
	}
	if !ok {
		part.mail.Add(-n)
	}
	return ok
}

// Close ends all memberships, behind everything that the caller has sent before. It reports whether the group was open.
func (g *Group) Close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed.Swap(true) {
		return false
	}
	for i := range g.parts {
		if g.parts[i].known.Load() {
			it := item{kind: itemDisband, slot: noSlot, group: g.id}
			g.shards[i].mailbox.Force(it.header())
		}
	}
	return true
}

// Closed reports whether Close was called.
func (g *Group) Closed() bool { return g.closed.Load() }
