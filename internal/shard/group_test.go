package shard

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
)

// groupWorld connects n clients and keeps what each of them receives, by its slot.
func groupWorld(t *testing.T, n int, adjust func(c *Config)) (w *world, g *Group, got map[Ref][]string) {
	w = newWorld(t, 1, adjust)
	got = make(map[Ref][]string)
	w.capp.message = func(_ *Shard, r Ref, ev *proto.Event) bool {
		got[r] = append(got[r], string(ev.Payload))
		return true
	}
	for range n {
		w.connect()
	}
	return w, NewGroup([]*Shard{w.server}), got
}

func text(s string) *Outbound { return &Outbound{Payload: []byte(s), Reliable: true} }

// checkGroups compares both directions of every membership, and what senders are told of them.
func (w *world) checkGroups(groups ...*Group) {
	w.t.Helper()
	s := w.server
	seated := 0
	s.every(func(slot uint32, p *peer) {
		n := int32(0)
		for at := p.seats; at != 0; at = s.seats[at-1].next {
			e := &s.seats[at-1]
			if m := e.group.list[e.place]; m.slot != slot || m.seat != at-1 {
				w.t.Fatalf("seat %d of slot %d leads to %+v", at-1, slot, m)
			}
			n++
		}
		if got := s.slots.at(slot).groups.Load(); got != n {
			w.t.Fatalf("slot %d has %d memberships, its senders see %d", slot, n, got)
		}
		seated += int(n)
	})
	sum := 0
	for _, g := range groups {
		n := 0
		if in := s.groups[g.id]; in != nil {
			n = len(in.list)
		}
		if g.Len() != n {
			w.t.Fatalf("a group of %d members says %d", n, g.Len())
		}
		sum += n
	}
	if sum != seated {
		w.t.Fatalf("the groups have %d members, the connections %d memberships", sum, seated)
	}
}

func TestAGroupsMessageReachesItsMembersOnce(t *testing.T) {
	w, g, got := groupWorld(t, 10, nil)
	for _, r := range w.sapp.opened[:8] {
		if st := g.Add(r); st != Sent {
			t.Fatal(st)
		}
		g.Add(r) // once more changes nothing
	}
	w.run(mono.Second)
	if n, _ := g.Send(text("hello"), w.sapp.opened[0], true); n != 7 {
		t.Errorf("addressed to %d", n)
	}
	if s := w.server; s.chunks.InUse() != 0 {
		t.Errorf("%d chunks before", s.chunks.InUse())
	}
	w.drop = func(from, _ udp.Addr, _ []byte) bool { return from != serverAddr }
	w.run(mono.Millisecond)
	if c := w.server.chunks.InUse(); c != 1 || w.server.shared.Pool.InUse() != 0 {
		t.Errorf("seven unacknowledged messages lie in %d chunks and %d blocks", c, w.server.shared.Pool.InUse())
	}
	w.drop = nil
	w.run(mono.Second)
	if len(got) != 7 {
		t.Errorf("%d clients got it: %v", len(got), got)
	}
	for r, list := range got {
		if len(list) != 1 || list[0] != "hello" {
			t.Errorf("%v got %q", r, list)
		}
	}
	c := w.server.counters
	if c.GroupItems != 1 || c.GroupDeliveries != 7 || c.GroupSkipped != 0 {
		t.Errorf("%d items, %d deliveries, %d skipped", c.GroupItems, c.GroupDeliveries, c.GroupSkipped)
	}
	w.checkGroups(g)
	w.over()
}

// The benchmark's ratio rests on it.
func TestAGroupsMessagePassesTheQueuesOfQuietMembers(t *testing.T) {
	passed := mark.ID(max(slices.Index(mark.Names, "proto: a message passed its queue"), 0))
	w, g, got := groupWorld(t, 10, nil)
	for _, r := range w.sapp.opened {
		g.Add(r)
	}
	for i, name := range []string{"the channel's first is queued", "passes"} {
		before := mark.Count(passed)
		g.Send(text(name), Ref{}, false)
		w.run(mono.Second)
		if n := int(mark.Count(passed) - before); mark.Enabled && n != 10*i {
			t.Errorf("%s: %d passed the queue", name, n)
		}
	}
	for r, list := range got {
		if len(list) != 2 {
			t.Errorf("%v got %q", r, list)
		}
	}
	w.over()
}

func TestAGroupCountsItsMembers(t *testing.T) {
	w, g, _ := groupWorld(t, 3, nil)
	a, b, other := w.sapp.opened[0], w.sapp.opened[1], w.sapp.opened[2]
	g.Remove(a)
	if status := g.Add(b); status != Sent {
		t.Fatal(status)
	}
	expect := func(want int, what string) {
		t.Helper()
		for _, when := range []string{"at once", "later"} {
			if got := g.Len(); got != want {
				t.Errorf("%s, %s: %d members, want %d", what, when, got, want)
			}
			if got, _ := g.Send(text("x"), other, true); got != want {
				t.Errorf("%s, %s: sent to %d, want %d", what, when, got, want)
			}
			w.run(mono.Second)
			w.checkGroups(g)
		}
	}
	expect(1, "one that was no member was removed, another added")
	g.Add(b)
	expect(1, "added again")
	g.Add(a)
	expect(2, "two added")
	g.Remove(a)
	g.Remove(a)
	g.Remove(other)
	expect(1, "removed twice, and one that is no member")
	g.Add(a)
	g.Remove(a)
	g.Add(a)
	expect(2, "added, removed and added")
	w.server.Close(a, true, 0, "")
	g.Remove(a)
	w.run(mono.Second)
	g.Remove(a)
	if status := g.Add(a); status != Gone {
		t.Errorf("a closed connection was added: %v", status)
	}
	expect(1, "closed, and removed before and after it is gone")
	g.Close()
	w.over()
}

func TestAGroupKeepsTheOrderOfItsSender(t *testing.T) {
	w, g, got := groupWorld(t, 1, nil)
	r := w.sapp.opened[0]
	send := func(s string) { w.server.Send(r, text(s)) }
	g.Send(text("nobody"), Ref{}, false)
	send("1")
	g.Add(r)
	g.Send(text("2"), Ref{}, false)
	send("3")
	g.Send(&Outbound{Payload: bytes.Repeat([]byte{'4'}, 100_000), Reliable: true}, Ref{}, false)
	g.Remove(r)
	g.Send(text("not any more"), Ref{}, false)
	send("5")
	g.Add(r)
	g.Send(text("6"), Ref{}, false)
	g.Close()
	g.Send(text("closed"), Ref{}, false)
	send("7")
	w.run(mono.Second)
	for _, list := range got {
		for i, m := range list {
			if m[:1] != fmt.Sprint(i+1) {
				t.Errorf("message %d is %.10q", i+1, m)
			}
		}
		if len(list) != 7 || len(list[3]) != 100_000 {
			t.Errorf("%d messages", len(list))
		}
	}
	if g.Close() || g.Add(r) != Gone || g.Len() != 0 {
		t.Error("a closed group takes part")
	}
	w.checkGroups(g)
	if w.server.groups != nil || w.server.seats != nil {
		t.Error("the last group left memory behind")
	}
	w.over()
}

func TestAMemberWithoutRoomIsSkippedAndTold(t *testing.T) {
	w, g, got := groupWorld(t, 3, func(c *Config) { c.Proto.SendBuffer = 10_000 })
	for _, r := range w.sapp.opened {
		g.Add(r)
	}
	full := w.sapp.opened[1]
	w.run(mono.Second)
	w.drop = func(udp.Addr, udp.Addr, []byte) bool { return true }
	if w.server.Send(full, &Outbound{Payload: make([]byte, 9000), Reliable: true}) != Sent {
		t.Fatal("send")
	}
	m := text(string(make([]byte, 2000)))
	m.Tag = 7
	if n, _ := g.Send(m, Ref{}, false); n != 3 {
		t.Errorf("addressed to %d", n)
	}
	w.run(mono.Millisecond)
	if c := w.server.counters; c.GroupDeliveries != 2 || c.GroupSkipped != 1 {
		t.Errorf("%d deliveries, %d skipped", c.GroupDeliveries, c.GroupSkipped)
	}
	if len(w.sapp.outcomes) != 1 || w.sapp.outcomes[0] != proto.Refused {
		t.Errorf("outcomes %v", w.sapp.outcomes)
	}
	for i := range 20 { // an unreliable channel pushes out its oldest instead
		u := &Outbound{Payload: fmt.Append(make([]byte, 1000), i), Channel: 4}
		if n, _ := g.Send(u, Ref{}, false); n != 3 {
			t.Errorf("addressed to %d", n)
		}
	}
	w.run(mono.Millisecond)
	if c := w.server.counters; c.GroupSkipped != 1 || c.GroupDeliveries != 62 || w.server.shared.Stats.Evicted == 0 {
		t.Errorf("%d deliveries, %d skipped, %d evicted", c.GroupDeliveries, c.GroupSkipped, w.server.shared.Stats.Evicted)
	}
	w.drop = nil
	w.run(5 * mono.Second)
	delivered := 0
	for _, o := range w.sapp.outcomes[1:] {
		if o == proto.Delivered {
			delivered++
		}
	}
	if delivered != 2 || len(got) != 3 {
		t.Errorf("%d delivered to %d clients: %v", delivered, len(got), w.sapp.outcomes)
	}
	w.over()
}

func TestAGroupFillsItsShareOfTheMailboxOnly(t *testing.T) {
	w, g, _ := groupWorld(t, 2, func(c *Config) { c.MailboxBytes = 64 << 10 })
	r, late := w.sapp.opened[0], w.sapp.opened[1]
	g.Add(r)
	sent := 0
	for {
		n, refused := g.Send(text(string(make([]byte, 1000))), Ref{}, false)
		if refused > 0 {
			if n != 0 {
				t.Errorf("a refused message is addressed to %d", n)
			}
			break
		}
		sent++
	}
	if sent < 6 || sent > 9 {
		t.Errorf("%d messages of 1 kB in an eighth of 64 KiB", sent)
	}
	for w.server.Send(r, text("x")) == Sent {
	}
	for range 10_000 { // what fills the rest; leaving passes all the same
		if g.Add(late) != Sent {
			break
		}
		g.Remove(late)
	}
	if status := g.Add(late); status != WouldBlock {
		t.Errorf("a full mailbox took a member: %v", status)
	}
	w.run(mono.Second)
	if g.Len() != 1 {
		t.Errorf("%d members", g.Len())
	}
	w.checkGroups(g)
	w.over()
}

func TestAConnectionIsInALimitedNumberOfGroups(t *testing.T) {
	w, _, _ := groupWorld(t, 1, nil)
	r := w.sapp.opened[0]
	var groups []*Group
	for range MaxGroups {
		g := NewGroup([]*Shard{w.server})
		groups = append(groups, g)
		if g.Add(r) != Sent {
			t.Fatal("add")
		}
	}
	more := NewGroup([]*Shard{w.server})
	if st := more.Add(r); st != TooLarge {
		t.Errorf("one more gives %d", st)
	}
	w.run(mono.Second)
	groups[5].Close()
	w.run(mono.Second)
	if st := more.Add(r); st != Sent {
		t.Errorf("after one has gone: %d", st)
	}
	w.run(mono.Second)
	w.checkGroups(append(append(groups[:5:5], groups[6:]...), more)...)
	w.over()
	if len(w.server.seats) == 0 || w.server.slots.at(r.Slot).groups.Load() != 0 {
		t.Error("memberships outlive the connection")
	}
}

func TestMembershipsFollowAnyHistory(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w, _, _ := groupWorld(t, 6, nil)
		var groups []*Group
		for range 300 {
			refs := w.sapp.opened
			r := refs[rng.IntN(len(refs))]
			if len(groups) < 4 {
				groups = append(groups, NewGroup([]*Shard{w.server}))
			}
			i := rng.IntN(len(groups))
			switch op := rng.IntN(100); {
			case op < 45:
				groups[i].Add(r)
			case op < 65:
				groups[i].Remove(r)
			case op < 80:
				groups[i].Send(text("hello"), r, rng.IntN(2) == 0)
			case op < 83:
				w.server.Close(r, rng.IntN(2) == 0, 0, "")
			case op < 86:
				w.connect()
			case op < 88:
				groups[i].Close()
				groups = append(groups[:i], groups[i+1:]...)
			default:
				w.run(mono.Duration(rng.IntN(5)) * mono.Millisecond)
				if rng.IntN(4) == 0 {
					w.run(2 * mono.Second)
				}
				w.checkGroups(groups...)
			}
		}
		w.run(mono.Second)
		w.checkGroups(groups...)
		w.over()
		w.checkGroups(groups...)
	}
}
