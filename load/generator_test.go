package load

import (
	"slices"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// network is a transport in virtual time that echoes after a delay.
type network struct {
	now   mono.Time
	delay time.Duration
	room  int // messages that may be on their way; 0 means any number
	// drop and mangle decide the fate of the n-th message.
	drop   func(n int) bool
	mangle func(n int, p []byte) []byte

	sent   int
	flight []flight
	times  []mono.Time // when each message was taken
}

type flight struct {
	conn int
	p    []byte
	back mono.Time
}

func (n *network) Send(conn int, p []byte) bool {
	if n.room > 0 && len(n.flight) >= n.room {
		return false
	}
	n.times = append(n.times, n.now)
	p = slices.Clone(p)
	if n.mangle != nil {
		p = n.mangle(n.sent, p)
	}
	if n.drop == nil || !n.drop(n.sent) {
		n.flight = append(n.flight, flight{conn, p, n.now.Add(n.delay)})
	}
	n.sent++
	return true
}

// run drives g until it has finished. Turns are late by up to late.
func (n *network) run(t failer, g *generator, late time.Duration) {
	t.Helper()
	for i := 0; ; i++ {
		if i > 1_000_000 {
			t.Fatal("the generator does not finish")
		}
		next := g.turn(n.now)
		if g.finished {
			return
		}
		if len(n.flight) > 0 && n.flight[0].back <= max(next, n.now) {
			f := n.flight[0]
			n.flight = n.flight[1:]
			n.now = max(n.now, f.back)
			g.message(f.conn, f.p, n.now)
			continue
		}
		if next <= n.now {
			t.Fatalf("the generator asks for a turn at %v, it is %v", next, n.now)
		}
		n.now = next.Add(late)
	}
}

const begin = mono.Time(time.Hour)

func newTest(c Config) (*network, *generator) {
	n := &network{now: begin, delay: 80 * us}
	return n, newGenerator(&c, n, inOrder, false)
}

func TestOpenLoopSendsOneMessageEachInterval(t *testing.T) {
	n, g := newTest(Config{Connections: 3, Size: 64, Rate: 20_000})
	g.begin(n.now, 0, 10*ms)
	n.run(t, g, 0)
	if len(n.times) != 200 {
		t.Fatalf("%d messages in 10 ms at 20,000 a second, want 200", len(n.times))
	}
	for i, at := range n.times {
		if want := begin.Add(time.Duration(i) * 50 * us); at != want {
			t.Fatalf("message %d left at %v, want %v", i, at, want)
		}
	}
	for k := range g.conns {
		if c := g.conns[k].sent; c < 66 || c > 67 {
			t.Errorf("connection %d sent %d of 200 messages: they go round", k, c)
		}
	}
	s := &g.stats
	if s.planned != 200 || s.sent != 200 || s.received != 200 || s.corrupted != 0 {
		t.Errorf("planned %d, sent %d, received %d, corrupted %d", s.planned, s.sent, s.received, s.corrupted)
	}
	if got := s.latency.Max(); got != int64(80*us) {
		t.Errorf("latency %d ns, want the 80 µs of the network", got)
	}
}

func TestLatencyCountsFromTheIntendedTime(t *testing.T) {
	n, g := newTest(Config{Connections: 1, Size: 64, Rate: 1000})
	g.begin(n.now, 0, 10*ms)
	n.run(t, g, 300*us)
	if got := g.stats.latency.Max(); got != int64(380*us) {
		t.Errorf("latency %d ns for messages that left 300 µs late, want 380 µs", got)
	}
	if got := time.Duration(g.stats.lateness.Quantile(0.99)); got < 290*us || got > 310*us {
		t.Errorf("lateness %v, want 300 µs", got)
	}
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{}); len(why) != 1 {
		t.Errorf("a generator that is 300 µs late makes no valid run: %q", why)
	}
}

func TestRefusedSendsCountTheirWaitingTime(t *testing.T) {
	n, g := newTest(Config{Connections: 2, Size: 64, Rate: 20_000})
	n.room = 1 // one message a round trip of 80 µs, a message due every 50 µs
	g.begin(n.now, 0, 10*ms)
	n.run(t, g, 0)
	s := &g.stats
	if s.refused == 0 || s.received == 0 {
		t.Fatalf("refused %d, received %d", s.refused, s.received)
	}
	if got := time.Duration(s.latency.Max()); got < 2*ms {
		t.Errorf("latency of at most %v behind a transport that takes five of eight messages", got)
	}
	if got := time.Duration(s.lateness.Quantile(0.99)); got > 40*us {
		t.Errorf("lateness %v: waiting for room is not the generator's", got)
	}
	if s.sent == s.planned {
		t.Error("all was sent, though the transport is too slow")
	}
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{}); len(why) != 1 {
		t.Errorf("a run that did not send its plan is not valid: %q", why)
	}
}

func TestWarmupIsNotMeasured(t *testing.T) {
	n, g := newTest(Config{Connections: 2, Size: 64, Rate: 10_000})
	n.mangle = func(i int, p []byte) []byte {
		n.delay = 80 * us
		if i < 100 {
			n.delay = 90 * us // in the warm-up
		}
		return p
	}
	g.begin(n.now, 10*ms, 10*ms)
	n.run(t, g, 0)
	s := &g.stats
	if s.planned != 100 || s.sent != 100 || s.received != 100 || s.latency.Count() != 100 {
		t.Errorf("planned %d, sent %d, received %d, latencies %d: 100 belong to the measurement", s.planned, s.sent, s.received, s.latency.Count())
	}
	if s.latency.Max() != int64(80*us) {
		t.Errorf("latency %d ns is of the warm-up", s.latency.Max())
	}
	if s.returned != 100 {
		t.Errorf("%d came back while measuring, want 100: those that the end cut off stand for those that began before", s.returned)
	}
}

func TestClosedLoopKeepsMessagesOutstanding(t *testing.T) {
	n, g := newTest(Config{Connections: 5, Size: 64, Outstanding: 3})
	most := 0
	n.mangle = func(_ int, p []byte) []byte {
		most = max(most, len(n.flight)+1)
		return p
	}
	g.begin(n.now, 0, 8*ms)
	n.run(t, g, 0)
	if most != 15 {
		t.Errorf("%d messages on their way, want 3 on each of 5 connections", most)
	}
	if s := &g.stats; s.received != 15*100 || s.sent != s.received {
		t.Errorf("sent %d, received %d, want 15 in each of 100 round trips", s.sent, s.received)
	}
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{}); len(why) != 0 {
		t.Errorf("invalid: %q", why)
	}
}

func TestLostMessagesAreWaitedForFiveSeconds(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		n, g := newTest(Config{Connections: 1, Size: 64, Rate: 1000})
		g.order, g.lossy = anyOrder, lossy
		n.drop = func(i int) bool { return i == 5 }
		g.begin(n.now, 0, 10*ms)
		n.run(t, g, 0)
		if s := &g.stats; s.sent != 10 || s.received != 9 {
			t.Errorf("sent %d, received %d", s.sent, s.received)
		}
		if waited := n.now.Sub(begin); waited != 10*ms+drainTime {
			t.Errorf("lossy %v: finished after %v", lossy, waited)
		}
	}
}

func TestStalenessIsTheAgeOfTheValueBefore(t *testing.T) {
	n, g := newTest(Config{Connections: 1, Size: 64, Rate: 1000, Staleness: true})
	g.order, g.lossy = newerOnly, true
	n.delay = 2 * ms
	n.drop = func(i int) bool { return i == 4 || i == 5 }
	g.begin(n.now, 0, 10*ms)
	n.run(t, g, 0)
	// Each message replaces one that is a period older; one replaces one that is three periods older.
	if s := &g.stats.staleness; s.Count() != 7 || s.Min() != int64(3*ms) || s.Max() != int64(5*ms) {
		t.Errorf("%d values were replaced at ages of %d to %d ns", s.Count(), s.Min(), s.Max())
	}
}

func TestAMessageThatComesLateIsNotLost(t *testing.T) {
	n, g := newTest(Config{Connections: 1, Size: 64, Rate: 1000})
	n.delay = 4 * time.Second
	g.begin(n.now, 0, 10*ms)
	n.run(t, g, 0)
	if s := &g.stats; s.received != 10 || s.returned != 0 {
		t.Errorf("received %d, %d of them while measuring", s.received, s.returned)
	}
}

func TestClosedLoopGoesOnWhenALossyTransportLosesAll(t *testing.T) {
	n, g := newTest(Config{Connections: 2, Size: 64, Outstanding: 4})
	g.order, g.lossy = anyOrder, true
	n.drop = func(i int) bool { return i >= 100 && i < 108 }
	g.begin(n.now, 0, 2*time.Second)
	n.run(t, g, 0)
	if s := &g.stats; s.sent-s.received != 8 || s.received < 1000 {
		t.Errorf("sent %d, received %d: the loop stood still after its losses", s.sent, s.received)
	}
}

func TestCorruptionAndDisorderAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name     string
		mangle   func(i int, p []byte) []byte
		received uint64
	}{
		{"a bit", func(i int, p []byte) []byte {
			if i == 3 {
				p[40] ^= 1
			}
			return p
		}, 9},
		{"a repetition", func(i int, p []byte) []byte {
			if i == 3 {
				h := header{conn: 0, seq: 2, due: begin.Add(2 * ms)}
				h.encode(p)
			}
			return p
		}, 9},
		{"another connection's", func(i int, p []byte) []byte {
			if i == 3 {
				h := header{conn: 1, seq: 3, due: begin.Add(3 * ms)}
				h.encode(p)
			}
			return p
		}, 9},
	} {
		n, g := newTest(Config{Connections: 1, Size: 64, Rate: 1000})
		n.mangle = tt.mangle
		g.begin(n.now, 0, 10*ms)
		n.run(t, g, 0)
		// The message itself is missing, so the next one is out of order.
		if s := &g.stats; s.corrupted != 2 || s.received != tt.received {
			t.Errorf("%s: corrupted %d, received %d, want 2 and %d", tt.name, s.corrupted, s.received, tt.received)
		}
	}
}

// Whatever the network does, a run ends with everything accounted for.
func TestEveryRunEndsWithItsAccountsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Connections: rapid.IntRange(1, 5).Draw(t, "connections"), Size: rapid.IntRange(headerSize, 80).Draw(t, "size")}
		if rapid.Bool().Draw(t, "open") {
			c.Rate = rapid.Float64Range(100, 50_000).Draw(t, "rate")
		} else {
			c.Outstanding = rapid.IntRange(1, 5).Draw(t, "outstanding")
		}
		n := &network{now: begin, delay: time.Duration(rapid.Int64Range(1000, int64(3*ms)).Draw(t, "delay"))}
		n.room = rapid.IntRange(0, 10).Draw(t, "room")
		lossy := rapid.Bool().Draw(t, "lossy")
		o := inOrder
		if lossy {
			o = anyOrder
			period := rapid.IntRange(2, 20).Draw(t, "loss")
			n.drop = func(i int) bool { return i%period == 0 }
		}
		g := newGenerator(&c, n, o, lossy)
		g.begin(n.now, time.Duration(rapid.Int64Range(0, int64(5*ms)).Draw(t, "warmup")), 10*ms)
		n.run(t, g, time.Duration(rapid.Int64Range(0, int64(ms)).Draw(t, "late")))
		s := &g.stats
		switch {
		case s.received > s.sent, g.open && s.sent > s.planned, s.corrupted != 0:
			t.Fatalf("planned %d, sent %d, received %d, corrupted %d", s.planned, s.sent, s.received, s.corrupted)
		case !lossy && s.received != s.sent:
			t.Fatalf("%d of %d came back over a network that loses nothing", s.received, s.sent)
		case s.latency.Count() != s.received:
			t.Fatalf("%d latencies of %d messages", s.latency.Count(), s.received)
		}
	})
}

// failer is what tests and properties have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func TestTheGeneratorDoesNotAllocate(t *testing.T) {
	var back []byte
	c := Config{Connections: 1, Size: 64, Outstanding: 1}
	g := newGenerator(&c, sendFunc(func(_ int, p []byte) bool { back = append(back[:0], p...); return true }), inOrder, false)
	now := begin
	g.begin(now, 0, time.Hour)
	allocs := testing.AllocsPerRun(1000, func() {
		now = now.Add(10 * us)
		g.message(0, append([]byte(nil), back...)[:64:64], now)
		g.turn(now)
	})
	if allocs > 1 { // the test's own copy
		t.Errorf("%.1f allocations a message", allocs-1)
	}
}

type sendFunc func(conn int, p []byte) bool

func (f sendFunc) Send(conn int, p []byte) bool { return f(conn, p) }

func BenchmarkMessage(b *testing.B) {
	var buf [2][64]byte
	i := 0
	c := Config{Connections: 1, Size: 64, Outstanding: 1}
	g := newGenerator(&c, sendFunc(func(_ int, p []byte) bool { i ^= 1; copy(buf[i][:], p); return true }), inOrder, false)
	now := begin
	g.begin(now, 0, time.Hour)
	for b.Loop() {
		now += 100
		g.message(0, buf[i][:], now)
	}
}
