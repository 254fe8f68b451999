package room

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAppsHaveNames(t *testing.T) {
	for _, a := range []App{{}, {State: 1000, Tick: time.Second / 30}} {
		if b, ok := ParseApp(a.String()); !ok || a != b {
			t.Errorf("%v became %v, %t", a, b, ok)
		}
	}
	for _, text := range []string{"", "authority", "authority-1000", "authority-10-33ms", "authority-1000-0s", "authority-100000-1s", "echo"} {
		if a, ok := ParseApp(text); ok {
			t.Errorf("%q became %v", text, a)
		}
	}
}

func TestChangedMessagesAreFound(t *testing.T) {
	const size = 100
	h := Header{Kind: State, Member: 7, Seq: 9, Time: 12345, Inputs: 3}
	whole := h.Append(nil, size)
	var got Header
	if err := got.decode(whole, size); err != nil || got != h {
		t.Fatalf("%+v became %+v: %v", h, got, err)
	}
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 4
		if got.decode(b, size) == nil {
			t.Errorf("byte %d was changed and nobody noticed", i)
		}
	}
	if got.decode(whole[:size-1], size) == nil || got.Parse(whole[:HeaderSize-1]) {
		t.Error("a message that was cut was not noticed")
	}
	other := Header{Kind: State, Member: 7, Seq: 10, Time: 12345}
	mixed := append(slices.Clone(whole[:60]), other.Append(nil, size)[60:]...)
	if got.decode(mixed, size) == nil {
		t.Error("two halves of different messages were not noticed")
	}
}

func FuzzHeader(f *testing.F) {
	h := Header{Kind: Hello, Member: 1}
	f.Add(h.Append(nil, HeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Header
		if h.Parse(b) && string(h.Append(nil, HeaderSize)) != string(b[:HeaderSize]) {
			t.Errorf("%x is understood as %+v", b, h)
		}
	})
}

func TestQuantiles(t *testing.T) {
	var h histogram
	var all []int64
	for range 10_000 {
		v := int64(rand.ExpFloat64() * 1e6)
		all = append(all, v)
		h.add(v)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		if got := h.quantile(q); got < want || float64(got) > float64(want)*(1+2.0/fine)+1 {
			t.Errorf("quantile %g is %d, not %d", q, got, want)
		}
	}
	for v := range uint64(10_000) {
		if i := place(v); value(i) < int64(v) || i > 0 && value(i-1) >= int64(v) {
			t.Fatalf("%d is in step %d, which ends at %d", v, i, value(i))
		}
	}
}

// perfect is a server and a network without faults, in the members' own turns.
type perfect struct {
	m       *Members
	l       *Load
	clock   int64 // nobody waits in this test
	members int
	inputs  []uint64
	tick    uint64
	change  func(k int, h *Header) (copies int) // of what is delivered
	refuse  bool
}

func (t *perfect) Connect(_ context.Context, n int) error {
	t.members, t.inputs = n, make([]uint64, n)
	return nil
}

func (t *perfect) Drive(ctx context.Context, m *Members) error {
	t.m = m
	t.clock = int64(time.Hour)
	m.now = func() int64 { return t.clock }
	next := t.clock
	for ctx.Err() == nil {
		wait, done := m.Turn()
		if done {
			return nil
		}
		if now := t.clock; !t.l.App.Relay() && now >= next {
			next += int64(t.l.App.Tick)
			t.tick++
			for k := range t.members {
				t.deliver(k, &Header{Kind: State, Member: uint32(k), Seq: t.tick, Time: now, Inputs: t.inputs[k]}, t.l.App.State)
			}
		}
		t.clock += int64(min(max(wait, time.Microsecond), 100*time.Microsecond))
	}
	return context.Cause(ctx)
}

func (t *perfect) deliver(k int, h *Header, size int) {
	copies := 1
	if t.change != nil && h.Kind != Hello {
		copies = t.change(k, h)
	}
	for range copies {
		t.m.Arrived()
		t.m.Message(k, h.Append(nil, size))
	}
}

func (t *perfect) Send(k int, _ Kind, p []byte) bool {
	var h Header
	h.Parse(p)
	switch {
	case h.Kind == Hello:
		t.deliver(k, &h, HeaderSize)
	case t.refuse:
		return false
	case !t.l.App.Relay():
		t.inputs[k]++
	default:
		for to := range t.members {
			if to != k {
				copied := h
				t.deliver(to, &copied, len(p))
			}
		}
	}
	return true
}

func (t *perfect) Close() {}

// Rooms are judged by what arrives: nothing is said of a good one, and each fault
// has its own sentence.
func TestJudgement(t *testing.T) {
	relay := Load{Members: 5, Size: 64, Rate: 100, Each: 10, Duration: 300 * time.Millisecond, Warmup: 50 * time.Millisecond}
	authority := Load{App: App{State: 500, Tick: 10 * time.Millisecond}, Members: 5, Size: 64, Rate: 100, Duration: 300 * time.Millisecond, Warmup: 50 * time.Millisecond}
	seen := 0
	every := func(n int, do func(h *Header) int) func(int, *Header) int {
		return func(_ int, h *Header) int {
			if seen++; seen%n == 0 {
				return do(h)
			}
			return 1
		}
	}
	for _, c := range []struct {
		name    string
		l       Load
		change  func(int, *Header) int
		refuse  bool
		miss    string
		invalid string
	}{
		{name: "a relay", l: relay},
		{name: "an authority", l: authority},
		{name: "states lost", l: relay, change: every(7, func(h *Header) int {
			if h.Kind == State {
				return 0
			}
			return 1
		})},
		{name: "reliable lost", l: relay, change: func(_ int, h *Header) int {
			if h.Kind == Reliable && h.Seq == 3 {
				return 0
			}
			return 1
		}, miss: "reliable message 4"},
		{name: "doubled", l: relay, change: every(50, func(*Header) int { return 2 }), miss: "after"},
		{name: "of the wrong member", l: relay, change: every(50, func(h *Header) int { h.Member = 77; return 1 }), miss: "a message of member 77"},
		{name: "stale", l: relay, change: func(_ int, h *Header) int {
			if h.Kind == State && h.Seq%10 != 0 {
				return 0
			}
			return 1
		}, miss: "staleness"},
		{name: "refused", l: relay, refuse: true, invalid: "were sent", miss: "no state arrived"},
		{name: "ticks lost", l: authority, change: every(7, func(*Header) int { return 0 }), miss: "of the states arrived"},
		{name: "inputs lost", l: authority, change: func(_ int, h *Header) int { h.Inputs /= 2; return 1 }, miss: "of the inputs were taken"},
		{name: "for another player", l: authority, change: every(50, func(h *Header) int { h.Member ^= 1; return 1 }), miss: "a state for member"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen = 0
			tr := &perfect{l: &c.l, change: c.change, refuse: c.refuse}
			m := newMembers(&c.l, tr, func() {})
			m.drain = linger
			_ = tr.Connect(t.Context(), c.l.Members)
			if err := tr.Drive(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			r, f := m.result(&used{elapsed: c.l.Duration})
			if misses := strings.Join(f.Misses, "; "); (c.miss == "") != (misses == "") || !strings.Contains(misses, c.miss) {
				t.Errorf("the criteria that were missed are %q, want %q", misses, c.miss)
			}
			for _, why := range r.Reasons {
				if c.invalid == "" || !strings.Contains(why, c.invalid) {
					t.Errorf("invalid: %s", why)
				}
			}
			if c.invalid != "" && r.Valid {
				t.Error("the run is valid")
			}
		})
	}
}
