package congestion

import (
	"reflect"
	"testing"
	"unsafe"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

func TestFixedKeepsItsWindowAndRate(t *testing.T) {
	u := newTester(t, Fixed)
	u.c.SetFixed(100_000, 5_000_000)
	u.round(20*ms, 4)
	u.lose(50_000, u.now)
	u.c.OnECN(u.now, u.now, &u.r)
	u.c.OnPathChange(u.now)
	if u.c.Window() != 100_000 || u.c.PacingRate(&u.r) != 5_000_000 {
		t.Errorf("window %d, rate %d", u.c.Window(), u.c.PacingRate(&u.r))
	}
	u.c.SetFixed(1, -1)
	if u.c.Window() != 2*testDatagram || u.c.PacingRate(&u.r) != 0 {
		t.Errorf("window %d, rate %d: the minimum and no rate", u.c.Window(), u.c.PacingRate(&u.r))
	}
}

func TestFixedWindowIsForFixedOnly(t *testing.T) {
	c := New(Adaptive, testDatagram)
	c.SetFixed(1<<20, 1)
	if c.Window() != 10*testDatagram {
		t.Errorf("window %d", c.Window())
	}
}

func TestNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for k := range numKinds + 1 {
		seen[k.String()] = true
	}
	for s := range numStates + 1 {
		seen[s.String()] = true
	}
	if len(seen) != int(numKinds+1)+int(numStates+1)-1 { // both end in "unknown"
		t.Errorf("names %v", seen)
	}
}

func TestNothingHoldsAPointer(t *testing.T) {
	for _, v := range []any{RTT{}, Controller{}, Pacer{}} {
		walk(t, reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
	if got := unsafe.Sizeof(Controller{}); got > 192 {
		t.Errorf("a controller takes %d bytes, want three cache lines or less", got)
	}
}

func walk(t *testing.T, typ reflect.Type, path string) {
	switch typ.Kind() {
	case reflect.Struct:
		for i := range typ.NumField() {
			walk(t, typ.Field(i).Type, path+"."+typ.Field(i).Name)
		}
	case reflect.Array:
		walk(t, typ.Elem(), path)
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.String, reflect.Func, reflect.Interface, reflect.Chan, reflect.UnsafePointer:
		t.Errorf("%s is a %v: a connection that holds it could not be packed", path, typ.Kind())
	}
}

// history draws a plausible life of a connection's controller and calls check
// after each step.
func history(t *rapid.T, c *Controller, r *RTT, check func(now mono.Time)) {
	now := begin
	for range rapid.IntRange(1, 300).Draw(t, "steps") {
		step(t, c, r, &now)
		check(now)
	}
}

func step(t *rapid.T, c *Controller, r *RTT, now *mono.Time) {
	*now = now.Add(mono.Duration(rapid.Int64Range(0, int64(100*ms)).Draw(t, "pause")))
	bytes := rapid.IntRange(1, 2*c.Window()).Draw(t, "bytes")
	inFlight := rapid.IntRange(bytes, 3*c.Window()).Draw(t, "in flight")
	sent := max(*now-mono.Time(rapid.Int64Range(0, int64(200*ms)).Draw(t, "age")), 1)
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0:
		c.OnSent(*now, bytes, rapid.SampledFrom([]int{0, inFlight}).Draw(t, "before"))
	case 1, 2:
		c.OnLoss(*now, LossInfo{Bytes: bytes, SentTime: sent, InFlight: inFlight, Persistent: rapid.IntRange(0, 9).Draw(t, "persistent") == 0}, r)
	case 3:
		c.OnECN(*now, sent, r)
	case 4:
		if rapid.IntRange(0, 9).Draw(t, "change") == 0 {
			c.OnPathChange(*now)
			*r = NewRTT()
		}
	case 5:
		c.SetMaxDatagram(rapid.IntRange(1200, 9000).Draw(t, "datagram"))
	default:
		r.Update(*now, mono.Duration(rapid.Int64Range(1, int64(300*ms)).Draw(t, "rtt")), 0)
		c.OnAck(*now, AckInfo{Bytes: bytes, SentTime: sent, InFlight: inFlight, AppLimited: rapid.Bool().Draw(t, "app-limited")}, r)
	}
}

func drawKind(t *rapid.T) Kind { return Kind(rapid.IntRange(0, int(numKinds)-1).Draw(t, "kind")) }

func TestWindowStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r := New(drawKind(t), testDatagram), NewRTT()
		history(t, &c, &r, func(mono.Time) {
			if c.Window() < c.MinWindow() || c.Window() > c.MaxWindow() || c.MaxWindow() > maxWindowBytes {
				t.Fatalf("window %d outside %d … %d", c.Window(), c.MinWindow(), c.MaxWindow())
			}
			if c.PacingRate(&r) < 0 {
				t.Fatalf("pacing rate %d", c.PacingRate(&r))
			}
		})
	})
}

// Between two reductions lies at least a packet sent after the first: however
// losses and marks are reported, no round trip is punished twice. Persistent
// congestion is the exception the RFC makes.
func TestOneReductionARoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r := New(Kind(rapid.IntRange(0, 1).Draw(t, "kind")), testDatagram), NewRTT()
		history(t, &c, &r, func(mono.Time) {})
		now := begin.Add(mono.Minute)
		c.OnECN(now, now, &r)
		reduced := c.Window()
		for range rapid.IntRange(1, 20).Draw(t, "losses") {
			sent := now - mono.Time(rapid.Int64Range(0, int64(mono.Second)).Draw(t, "age"))
			later := now.Add(mono.Duration(rapid.Int64Range(0, int64(ms)).Draw(t, "later")))
			c.OnLoss(later, LossInfo{Bytes: rapid.IntRange(1, 100_000).Draw(t, "bytes"), SentTime: sent, InFlight: reduced}, &r)
			c.OnECN(later, sent, &r)
			if c.Window() != reduced {
				t.Fatalf("window %d → %d for packets sent before the reduction", reduced, c.Window())
			}
		}
	})
}

// A window grows by no more than the bytes acknowledged, so an ACK of many
// small packets is worth no more than one of few large ones.
func TestGrowthIsBoundedByBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r := New(Kind(rapid.IntRange(0, 1).Draw(t, "kind")), testDatagram), NewRTT()
		now := begin
		for range rapid.IntRange(0, 100).Draw(t, "before") {
			step(t, &c, &r, &now)
		}
		c.SetMaxDatagram(testDatagram)
		before := c.Window()
		bytes := rapid.IntRange(1, before).Draw(t, "acked")
		credit := int(c.credit)
		c.OnAck(now, AckInfo{Bytes: bytes, SentTime: now, InFlight: before}, &r)
		if grown := c.Window() - before; grown > max(bytes, (bytes+credit)/before*testDatagram) {
			t.Fatalf("%v: %d bytes acknowledged, window grew by %d", c.State(), bytes, grown)
		}
	})
}

func TestPackedControllerHasTheSameFuture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r, p := New(drawKind(t), testDatagram), NewRTT(), NewPacer(testDatagram)
		now := begin
		for range rapid.IntRange(0, 100).Draw(t, "before") {
			step(t, &c, &r, &now)
			p.Sent(now, 1200)
		}
		b := p.Append(r.Append(c.Append(nil, now), now), now)
		var c2 Controller
		var r2 RTT
		var p2 Pacer
		n := c2.Parse(b, now)
		n += r2.Parse(b[n:], now)
		n += p2.Parse(b[n:], now)
		if n != len(b) || c2 != c || r2 != r || p2 != p {
			t.Fatalf("unpacked %d of %d bytes to\n%+v %+v %+v, want\n%+v %+v %+v", n, len(b), c2, r2, p2, c, r, p)
		}
		if len(b) > 200 {
			t.Fatalf("packed size %d", len(b))
		}
	})
}

func TestUnpackingMovesInstantsToTheNewClock(t *testing.T) {
	u := newTester(t, Adaptive)
	u.round(20*ms, 1)
	b := u.r.Append(u.c.Append(nil, u.now), u.now)
	elsewhere := u.now + mono.Time(mono.Minute)
	var c Controller
	var r RTT
	n := c.Parse(b, elsewhere)
	r.Parse(b[n:], elsewhere)
	if got, want := elsewhere.Sub(c.adaptive.roundStart), u.now.Sub(u.c.adaptive.roundStart); got != want {
		t.Errorf("the round began %v ago, want %v", got, want)
	}
	if got, want := elsewhere.Sub(r.halfStart), u.now.Sub(u.r.halfStart); got != want {
		t.Errorf("the minimum's window began %v ago, want %v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	u := newTester(f, Adaptive)
	u.round(20*ms, 4)
	for _, kind := range []Kind{Adaptive, NewReno, Fixed} {
		c := New(kind, testDatagram)
		f.Add(c.Append(nil, begin))
	}
	f.Add(u.c.Append(nil, u.now))
	f.Add(u.r.Append(nil, u.now))
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Controller
		if n := c.Parse(b, begin); n > len(b) {
			t.Fatalf("read %d of %d bytes", n, len(b))
		} else if n > 0 {
			if c.Window() < c.MinWindow() || c.Window() > c.MaxWindow() {
				t.Fatalf("window %d", c.Window())
			}
			r := NewRTT()
			r.Update(begin, ms, 0)
			c.OnAck(begin.Add(ms), AckInfo{Bytes: 1200, SentTime: begin, InFlight: c.Window()}, &r)
			c.OnLoss(begin.Add(ms), LossInfo{Bytes: 1200, SentTime: begin, InFlight: c.Window()}, &r)
		}
		var r RTT
		r.Parse(b, begin)
		var p Pacer
		p.Parse(b, begin)
		p.Ready(begin, 1000)
		p.Next(begin, 1200, 1000)
	})
}

func TestTheSteadyPathDoesNotAllocate(t *testing.T) {
	for kind := range numKinds {
		u := newTester(t, kind)
		p := NewPacer(testDatagram)
		allocs := testing.AllocsPerRun(100, func() {
			rate := u.c.PacingRate(&u.r)
			p.Ready(u.now, rate)
			p.Sent(u.now, 4000)
			p.Next(u.now, 1200, rate)
			u.round(20*ms, 4)
			u.lose(100, u.now)
		})
		if allocs != 0 {
			t.Errorf("%v: %.1f allocations a round trip", kind, allocs)
		}
	}
}

func BenchmarkOnAck(b *testing.B) {
	for kind := range numKinds {
		for _, limited := range []bool{false, true} {
			name := kind.String()
			if limited {
				name += "/app-limited"
			}
			b.Run(name, func(b *testing.B) {
				c, r := New(kind, testDatagram), NewRTT()
				now := begin
				r.Update(now, 50*us, 0)
				for b.Loop() {
					now += 10_000
					c.OnAck(now, AckInfo{Bytes: 2400, SentTime: now - 50_000, InFlight: c.Window(), AppLimited: limited}, &r)
				}
			})
		}
	}
}

func BenchmarkRTTUpdate(b *testing.B) {
	r := NewRTT()
	now := begin
	for b.Loop() {
		now += 10_000
		r.Update(now, 50*us, 0)
	}
}

func BenchmarkPacerTrain(b *testing.B) {
	p := NewPacer(testDatagram)
	c, r := New(Adaptive, testDatagram), NewRTT()
	now := begin
	r.Update(now, 20*ms, 0)
	for b.Loop() {
		now += 100_000
		rate := c.PacingRate(&r)
		if p.Ready(now, rate) > 1200 {
			p.Sent(now, 1200)
		}
	}
}
