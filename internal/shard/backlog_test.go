package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
)

// hold keeps the server from sending for a while, so that what its groups are sent waits for their members.
func (w *world) hold(d mono.Duration) {
	t := NewThrottle(10 << 20)
	t.full.Store(int64(w.now.Add(t.burst + d)))
	w.server.cfg.Throttle = t
}

// groupPair connects n clients and returns both ends of each, and what the clients receive.
func groupPair(t *testing.T, n int, adjust func(c *Config)) (w *world, here, there []Ref, got map[Ref][]string) {
	w = newWorld(t, 1, adjust)
	got = make(map[Ref][]string)
	w.capp.message = func(_ *Shard, r Ref, ev *proto.Event) bool {
		got[r] = append(got[r], string(ev.Payload))
		return true
	}
	for range n {
		there = append(there, w.connect())
	}
	return w, w.sapp.opened, there, got
}

func (w *world) newGroup(members ...Ref) *Group {
	g := NewGroup([]*Shard{w.server})
	for _, r := range members {
		if st := g.Add(r); st != Sent {
			w.t.Fatal(st)
		}
	}
	return g
}

// sendGroup sends on the channel that keeps order.
func sendGroup(g *Group, text string) {
	g.Send(&Outbound{Payload: []byte(text), Reliable: true}, Ref{}, false)
}

func TestWhatAGroupWasSentKeepsItsPlaceWhileItWaits(t *testing.T) {
	w, here, there, got := groupPair(t, 3, nil)
	all, some := w.newGroup(here...), w.newGroup(here[0], here[1])
	w.run(mono.Millisecond)
	w.hold(mono.Second)
	steps := []func(){
		func() { w.server.Send(here[0], text("a")) },
		func() { sendGroup(all, "b") },
		func() { sendGroup(some, "c") },
		func() { sendGroup(all, "d") },
		func() { w.server.Send(here[0], text("e")) },
		func() { some.Remove(here[1]); some.Add(here[2]) },
		func() { sendGroup(some, "f") },
		func() { all.Add(here[0]) }, // changes nothing
		func() { all.Send(text("g"), here[0], true) },
		func() { all.Close() },
		func() { sendGroup(some, "h") },
		func() { w.server.Send(here[0], text("i")) },
	}
	for _, step := range steps {
		step()
		w.run(mono.Millisecond)
	}
	if len(got) != 0 || w.server.backlog.count == 0 {
		t.Fatalf("it did not wait: %v", got)
	}
	w.run(2 * mono.Second)
	for i, want := range []string{"abcdefhi", "bcdg", "bdfgh"} {
		if s := strings.Join(got[there[i]], ""); s != want {
			t.Errorf("client %d got %q, not %q", i, s, want)
		}
	}
	if b := &w.server.backlog; b.count != 0 || b.bytes != 0 || b.first != nil {
		t.Errorf("%d messages of %d bytes still wait", b.count, b.bytes)
	}
	w.checkGroups(some)
	w.over()
}

func TestAMemberThatEndsIsToldOfWhatWaited(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, here, there Ref)
		got  int
		want proto.Outcome
	}{
		{"closed by its peer", func(w *world, _, there Ref) { w.client.Close(there, false, 0, "") }, 0, proto.Unknown},
		{"closed", func(w *world, here, _ Ref) { w.server.Close(here, false, 0, "") }, 0, proto.Unknown},
		{"shut down", func(w *world, here, _ Ref) { w.server.Close(here, true, 0, "") }, 1, proto.Delivered},
		{"drained", func(w *world, _, _ Ref) { w.server.Drain(0, func() {}) }, 1, proto.Delivered},
	} {
		w, here, there, got := groupPair(t, 1, nil)
		g := w.newGroup(here[0])
		w.run(mono.Millisecond)
		w.hold(100 * mono.Millisecond)
		m := text("x")
		m.Tag = 5
		g.Send(m, Ref{}, false)
		w.run(mono.Millisecond)
		if w.server.backlog.count != 1 {
			t.Errorf("%s: %d messages wait", c.name, w.server.backlog.count)
		}
		c.end(w, here[0], there[0])
		w.run(2 * mono.Second)
		if len(got[there[0]]) != c.got || !slices.Equal(w.sapp.outcomes, []proto.Outcome{c.want}) {
			t.Errorf("%s: the client got %q, the outcomes are %v", c.name, got[there[0]], w.sapp.outcomes)
		}
		if n := w.server.counters; n.GroupDeliveries+n.GroupSkipped != 1 || g.Len() != 0 {
			t.Errorf("%s: %d deliveries, %d skipped, %d members", c.name, n.GroupDeliveries, n.GroupSkipped, g.Len())
		}
		w.over()
	}
}

func TestTheTTLOfAGroupsMessageRunsWhileItWaits(t *testing.T) {
	w, here, there, got := groupPair(t, 1, nil)
	g := w.newGroup(here[0])
	w.run(mono.Millisecond)
	w.hold(100 * mono.Millisecond)
	for i, ttl := range []mono.Duration{50 * mono.Millisecond, 200 * mono.Millisecond, 0} {
		g.Send(&Outbound{Payload: fmt.Append(nil, i), Reliable: true, Tag: 1, TTL: ttl}, Ref{}, false)
	}
	w.run(mono.Millisecond)
	w.drop = func(from, _ udp.Addr, _ []byte) bool {
		return from == serverAddr && w.now < mono.Time(mono.Second+150*mono.Millisecond)
	}
	w.run(mono.Second)
	if s := strings.Join(got[there[0]], ""); s != "12" || w.server.shared.Stats.Expired != 1 || w.server.counters.GroupSkipped != 1 {
		t.Errorf("the client got %q, %d expired, %d skipped", s, w.server.shared.Stats.Expired, w.server.counters.GroupSkipped)
	}
	slices.Sort(w.sapp.outcomes)
	if !slices.Equal(w.sapp.outcomes, []proto.Outcome{proto.Delivered, proto.Delivered, proto.Expired}) {
		t.Errorf("outcomes %v", w.sapp.outcomes)
	}
	w.over()
}

func TestTheBacklogOfGroupsIsBounded(t *testing.T) {
	for _, c := range []struct {
		name           string
		mailbox        int
		messages, size int
	}{{"messages", 8 << 20, maxBacklog + 100, 10}, {"bytes", 64 << 10, 40, 1000}} {
		w, here, there, got := groupPair(t, 2, func(cfg *Config) { cfg.MailboxBytes = c.mailbox })
		var groups []*Group
		for range 3 {
			groups = append(groups, w.newGroup(here...))
		}
		w.run(mono.Millisecond)
		w.hold(mono.Second)
		for i := range c.messages {
			sendGroup(groups[i%3], fmt.Sprintf("%*d", c.size, i))
			if i%5 == 4 {
				w.run(0)
			}
			if b := &w.server.backlog; b.count > maxBacklog || b.bytes > w.server.mailShare {
				t.Fatalf("%s: %d messages of %d bytes wait", c.name, b.count, b.bytes)
			}
		}
		w.run(mono.Millisecond)
		if n := w.server.counters; n.GroupOverflows == 0 || n.GroupItems != uint64(c.messages) {
			t.Errorf("%s: %d overflows, %d items", c.name, n.GroupOverflows, n.GroupItems)
		}
		w.run(5 * mono.Second)
		for _, r := range there {
			if len(got[r]) != c.messages {
				t.Errorf("%s: %d messages", c.name, len(got[r]))
			}
			for i, s := range got[r] {
				if s != fmt.Sprintf("%*d", c.size, i) {
					t.Fatalf("%s: message %d is %s", c.name, i, strings.TrimSpace(s))
				}
			}
		}
		w.over()
		if b := &w.server.backlog; b.entries != nil {
			t.Errorf("%s: a shard at rest keeps %d entries", c.name, cap(b.entries))
		}
	}
}

// A large group neither waits for connections that have something to send nor holds them up.
func TestAGroupAndOtherConnectionsTakeTurns(t *testing.T) {
	const half = 300
	w, here, there, got := groupPair(t, 2*half, nil)
	g := w.newGroup(here[:half]...)
	w.run(mono.Millisecond)
	for _, r := range here[half:] {
		w.server.Send(r, text("hello"))
	}
	sendGroup(g, "hello")
	before := w.server.counters.Trains
	w.server.Step(w.now)
	n, all := w.server.counters.GroupDeliveries, w.server.counters.Trains-before
	if all >= 2*half || n < all/3 || n > all*2/3 {
		t.Errorf("%d of the %d trains of a cycle were the group's", n, all)
	}
	w.run(3 * mono.Second)
	for i, r := range there {
		if len(got[r]) != 1 {
			t.Fatalf("client %d got %q", i, got[r])
		}
	}
	w.over()
}

// groupModel says what each connection is to receive: whatever comes is appended at once.
type groupModel struct {
	members map[*Group]map[Ref]bool
	closed  map[Ref]bool
	want    map[Ref][]string
}

func (m *groupModel) send(r Ref, text string) {
	if !m.closed[r] {
		m.want[r] = append(m.want[r], text)
	}
}

// step does something at random to both the model and the world.
func (m *groupModel) step(w *world, rng *rand.Rand, groups []*Group, n int) {
	r := w.sapp.opened[rng.IntN(len(w.sapp.opened))]
	i := rng.IntN(len(groups))
	g := groups[i]
	s := fmt.Sprint(n)
	switch op := rng.IntN(100); {
	case op < 25:
		if g.Add(r) == Sent {
			m.members[g][r] = true
		}
	case op < 32:
		g.Remove(r)
		delete(m.members[g], r)
	case op < 62:
		except := rng.IntN(2) == 0
		g.Send(text(s), r, except)
		for k := range m.members[g] {
			if k != r || !except {
				m.send(k, s)
			}
		}
	case op < 82:
		if w.server.Send(r, text(s)) == Sent {
			m.send(r, s)
		}
	case op < 83:
		w.server.Close(r, true, 0, "")
		m.closed[r] = true
	case op < 85:
		g.Close()
		groups[i] = w.newGroup()
		m.members[groups[i]] = map[Ref]bool{}
	case op < 88:
		w.hold(mono.Duration(rng.IntN(30)) * mono.Millisecond)
	default:
		w.run(mono.Duration(rng.IntN(3)) * mono.Millisecond)
	}
}

func TestGroupsDeliverWhatAModelDoes(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w, here, there, got := groupPair(t, 5, nil)
		loss := float64(seed%3) * 0.05
		w.drop = func(udp.Addr, udp.Addr, []byte) bool { return rng.Float64() < loss }
		m := &groupModel{members: map[*Group]map[Ref]bool{}, closed: map[Ref]bool{}, want: map[Ref][]string{}}
		var groups []*Group
		for range 3 {
			g := w.newGroup()
			groups = append(groups, g)
			m.members[g] = map[Ref]bool{}
		}
		for n := range 400 {
			m.step(w, rng, groups, n)
		}
		w.run(10 * mono.Second)
		for i, r := range here {
			if !slices.Equal(got[there[i]], m.want[r]) {
				t.Fatalf("seed %d, client %d:\ngot  %v\nwant %v", seed, i, got[there[i]], m.want[r])
			}
		}
		w.checkGroups(groups...)
		w.drop = nil
		w.over()
	}
}

// A member's account is charged ahead for what its groups will be sent, by a little, and no sender is left waiting for that.
func TestAMembersAccountIsChargedAhead(t *testing.T) {
	w, here, there, got := groupPair(t, 1, func(c *Config) { c.Proto.SendBuffer = 64 << 10 })
	s, slot := w.server, here[0].Slot&slotMask
	g, p, shared := w.newGroup(here[0]), s.at(slot), s.slots.at(slot)
	for range 300 {
		sendGroup(g, strings.Repeat("x", 100))
		w.run(100 * mono.Microsecond)
		if held := shared.account.Load(); held != p.held || p.ahead < 0 || p.ahead > 2*s.chargeAhead || held > s.sendBuffer {
			t.Fatalf("the account is charged %d, the connection holds %d, %d of it ahead", held, p.held, p.ahead)
		}
	}
	w.run(mono.Second)
	if st, _ := s.connStats(here[0]); p.ahead == 0 || p.held != p.ahead || st.Queued != 0 {
		t.Errorf("at rest the connection holds %d, %d of it ahead, and %d is queued", p.held, p.ahead, st.Queued)
	}

	largest := &Outbound{Payload: make([]byte, s.sendBuffer-32), Reliable: true}
	answers := []Status{s.Send(here[0], largest)}
	w.sapp.writable = func(s *Shard, r Ref) { answers = append(answers, s.Send(r, largest)) }
	w.run(mono.Second)
	if !slices.Equal(answers, []Status{WouldBlock, Sent}) || len(got[there[0]]) != 301 {
		t.Errorf("a message as large as the buffer: %v, %d messages arrived", answers, len(got[there[0]]))
	}

	w.sapp.writable = nil
	shared.account.Add(-p.ahead)
	p.held, p.ahead = p.held-p.ahead, 0
	shared.want.Store(1)
	sendGroup(g, "y")
	w.run(50 * mono.Microsecond)
	if p.held != 33 || p.ahead != 0 {
		t.Errorf("while a sender waits, %d is held and %d ahead", p.held, p.ahead)
	}
	w.run(mono.Second)
	if shared.want.Load() != 0 {
		t.Error("the sender that waited was not told")
	}

	sendGroup(g, "z")
	w.run(mono.Second)
	if p.ahead == 0 {
		t.Error("nothing is ahead")
	}
	g.Remove(here[0])
	w.run(mono.Millisecond)
	if a := shared.account.Load(); a != 0 || p.ahead != 0 {
		t.Errorf("no member any more, it is still charged %d, %d ahead", a, p.ahead)
	}
	w.over()
}
