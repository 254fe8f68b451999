package wheel

import (
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

// check verifies what must hold between any two calls.
func (w *Wheel) check(t interface{ Fatalf(string, ...any) }) {
	linked := 0
	for head, id := range w.heads {
		level, digit := head>>digitBits, head&digitMask
		if (id != 0) != (w.occupied[level]>>digit&1 != 0) {
			t.Fatalf("bucket %d.%d: the bitmap is wrong", level, digit)
		}
		for prev := uint32(0); id != 0; linked++ {
			e := w.entry(id - 1)
			if e.prev != prev || e.at < e.armed && e.armed > mono.Time(w.tick<<tickShift) {
				t.Fatalf("slot %d is badly linked: %+v behind %d", id-1, *e, prev)
			}
			if w.headOf(e.armed) != head {
				t.Fatalf("slot %d armed for %d lies in bucket %d.%d", id-1, e.armed, level, digit)
			}
			prev, id = id, e.next
		}
	}
	for id, prev := w.left, uint32(0); id != 0; linked++ {
		e := w.entry(id - 1)
		if e.prev != prev || e.armed == mono.Never {
			t.Fatalf("slot %d is badly linked in the bucket that is being emptied: %+v behind %d", id-1, *e, prev)
		}
		prev, id = id, e.next
	}
	for slot := range uint32(len(w.chunks) << chunkBits) {
		e := w.entry(slot)
		if e.armed != mono.Never {
			linked--
		} else if e.at != mono.Never {
			t.Fatalf("slot %d has a deadline and no bucket", slot)
		}
	}
	if linked != 0 {
		t.Fatalf("%d more entries in buckets than armed ones", linked)
	}
}

func earliest(model map[uint32]mono.Time) mono.Time {
	first := mono.Never
	for _, at := range model {
		first = min(first, at)
	}
	return first
}

func TestWheelBehavesAsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := mono.Time(rapid.Int64Range(0, 1<<60).Draw(t, "start"))
		w := New(now)
		w.limit = rapid.IntRange(1, 80).Draw(t, "limit")
		whole := rapid.Bool().Draw(t, "whole") // Expired is called until nothing is left
		model := map[uint32]mono.Time{}
		slot := rapid.Uint32Range(0, 60)
		distance := func(t *rapid.T, label string) mono.Duration {
			// All orders of magnitude alike: what matters are the levels.
			return mono.Duration(rapid.Int64Range(0, 1<<rapid.IntRange(0, 58).Draw(t, label+" bits")).Draw(t, label))
		}
		expire := func(t *rapid.T) {
			var due []uint32
			for s, at := range model {
				if at <= now {
					due = append(due, s)
				}
			}
			got := w.Expired(now, nil)
			for calls := 1; whole && w.Next() <= now; calls++ {
				if calls > 1000 {
					t.Fatalf("the next call is due at %d, which is not after %d, after a thousand of them", w.Next(), now)
				}
				got = w.Expired(now, got)
			}
			if !whole { // the rest has its turn later
				due = slices.DeleteFunc(due, func(s uint32) bool { return !slices.Contains(got, s) })
			}
			slices.Sort(due)
			slices.Sort(got)
			if !slices.Equal(got, due) {
				t.Fatalf("slots %v fired, %v were due", got, due)
			}
			for _, s := range due {
				delete(model, s)
			}
			if whole && w.Next() <= now {
				t.Fatalf("the next call is due at %d, which is not after %d", w.Next(), now)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				s, at := slot.Draw(t, "slot"), now.Add(distance(t, "in"))
				w.Set(s, at)
				model[s] = at
			},
			"set near": func(t *rapid.T) {
				for range 10 {
					s, at := slot.Draw(t, "slot"), now.Add(mono.Duration(rapid.IntRange(0, 1<<18).Draw(t, "in")))
					w.Set(s, at)
					model[s] = at
				}
			},
			"crowd": func(t *rapid.T) {
				d := distance(t, "in")
				for s := range uint32(50) {
					w.Set(s, now.Add(d+mono.Duration(s)))
					model[s] = now.Add(d + mono.Duration(s))
				}
			},
			"set in the past": func(t *rapid.T) {
				s := slot.Draw(t, "slot")
				at := max(now-mono.Time(distance(t, "ago")), 0)
				w.Set(s, at)
				model[s] = at
			},
			"push back": func(t *rapid.T) {
				s := slot.Draw(t, "slot")
				if at, ok := model[s]; ok {
					model[s] = min(at.Add(distance(t, "by")), mono.Never-1)
					w.Set(s, model[s])
				}
			},
			"none": func(t *rapid.T) {
				s := slot.Draw(t, "slot")
				w.Set(s, mono.Never)
				delete(model, s)
			},
			"remove": func(t *rapid.T) {
				s := slot.Draw(t, "slot")
				w.Remove(s)
				delete(model, s)
			},
			"advance": func(t *rapid.T) {
				now = min(now.Add(distance(t, "by")), mono.Never-1)
				expire(t)
			},
			"wait": func(t *rapid.T) {
				if w.Next() != mono.Never {
					now = max(now, w.Next())
					expire(t)
				}
			},
			"": func(t *rapid.T) {
				w.check(t)
				if w.Len() != len(model) {
					t.Fatalf("%d deadlines, %d in the model", w.Len(), len(model))
				}
				if first := earliest(model); w.Next() > first {
					t.Fatalf("the next call is due at %d, a deadline at %d", w.Next(), first)
				}
			},
		})
		// Whoever sleeps until Next each time gets there in few steps.
		for steps := 0; len(model) > 0; steps++ {
			if steps > 61*(levels+2) && (whole || steps > 61*61*(levels+2)) {
				t.Fatalf("%d deadlines are left after %d wake-ups", len(model), steps)
			}
			now = max(now, w.Next())
			expire(t)
		}
		if w.Len() != 0 {
			t.Fatalf("%d deadlines are left", w.Len())
		}
	})
}

func TestNextIsExactForTheEarliestDeadline(t *testing.T) {
	w := New(1000)
	w.Set(3, mono.Time(70*mono.Microsecond))
	w.Set(9, mono.Time(65*mono.Microsecond))
	w.Set(4, mono.Time(20*mono.Second))
	if w.Next() != mono.Time(65*mono.Microsecond) {
		t.Errorf("next is %v", w.Next())
	}
	if fired := w.Expired(w.Next()-1, nil); len(fired) != 0 {
		t.Errorf("%v fired early", fired)
	}
	if fired := w.Expired(w.Next(), nil); !slices.Equal(fired, []uint32{9}) {
		t.Errorf("%v fired", fired)
	}
	if w.Next() != mono.Time(70*mono.Microsecond) {
		t.Errorf("next is %v, in the same bucket as the one before", w.Next())
	}
	w.Expired(w.Next(), nil)
	if w.Next() != mono.Time(20*mono.Second) {
		t.Errorf("next is %v, far ahead and alone", w.Next())
	}
}

func TestADeadlinePushedBackWakesOnceATimeout(t *testing.T) {
	w := New(0)
	now, wakes := mono.Time(0), 0
	for range 100_000 { // one packet each 10 µs for a second, timeout 25 ms
		now = now.Add(10 * mono.Microsecond)
		if w.Next() <= now {
			wakes++
			if fired := w.Expired(now, nil); len(fired) != 0 {
				t.Fatalf("%v fired", fired)
			}
		}
		w.Set(0, now.Add(25*mono.Millisecond))
	}
	if wakes > 1000/25+1 {
		t.Errorf("%d wake-ups in a second", wakes)
	}
}

func TestACrowdFarAheadDoesNotKeepTheShardAwake(t *testing.T) {
	w := New(0)
	const slots = 10_000
	for s := range uint32(slots) {
		w.Set(s, mono.Time(60*mono.Second).Add(mono.Duration(s)*mono.Microsecond))
	}
	wakes, last := 0, mono.Time(-1)
	for w.Next() < mono.Time(60*mono.Second) {
		if w.Next() != last { // not the rest of what was due
			wakes, last = wakes+1, w.Next()
		}
		if fired := w.Expired(w.Next(), nil); len(fired) != 0 {
			t.Fatalf("%v fired", fired)
		}
	}
	if wakes > levels {
		t.Errorf("%d wake-ups before the first deadline", wakes)
	}
	fired := 0
	for w.Len() > 0 {
		fired += len(w.Expired(w.Next(), nil))
	}
	if fired != slots {
		t.Errorf("%d fired", fired)
	}
}

func TestEveryInstantHasAPlace(t *testing.T) {
	w := New(5)
	for i, at := range []mono.Time{0, 5, 1 << 15, 1 << 40, 1 << 62, mono.Never - 1} {
		w.Set(uint32(i), at)
	}
	w.check(t)
	got := 0
	for w.Next() != mono.Never {
		got += len(w.Expired(w.Next(), nil))
	}
	if got != 6 {
		t.Errorf("%d of 6 fired", got)
	}
	w.Remove(1000)
}

func TestSetAndExpiredDoNotAllocate(t *testing.T) {
	w := New(0)
	w.Set(99, mono.Never)
	now := mono.Time(0)
	dst := make([]uint32, 0, 100)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(mono.Millisecond)
		for s := range uint32(100) {
			w.Set(s, now.Add(mono.Duration(s*s)*mono.Microsecond))
		}
		dst = w.Expired(now, dst[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSetLater(b *testing.B) {
	for _, slots := range []int{100, 100_000} {
		b.Run(map[int]string{100: "100 slots", 100_000: "100,000 slots"}[slots], func(b *testing.B) {
			w := New(0)
			for s := range slots {
				w.Set(uint32(s), mono.Time(25*mono.Millisecond))
			}
			s, at := uint32(0), mono.Time(25*mono.Millisecond)
			for b.Loop() {
				at += 100
				w.Set(s, at)
				if s += 7919; int(s) >= slots {
					s %= uint32(slots)
				}
			}
		})
	}
}

// BenchmarkCycle is a shard's use: a hundred connections push their timeouts
// back, one deadline a step passes.
func BenchmarkCycle(b *testing.B) {
	w := New(0)
	now := mono.Time(0)
	dst := make([]uint32, 0, 100)
	s := uint32(0)
	for b.Loop() {
		now += 50_000
		w.Set(s, now.Add(5*mono.Millisecond))
		if s++; s == 100 {
			s = 0
		}
		dst = w.Expired(now, dst[:0])
	}
}

func TestEntryIsWhereADeadlineLies(t *testing.T) {
	w := New(0)
	if w.Entry(3) != nil {
		t.Error("an entry of a slot that never had a deadline")
	}
	w.Set(3, 77)
	if e := (*entry)(w.Entry(3)); e == nil || e.at != 77 {
		t.Errorf("%+v", e)
	}
}

// TestACallLooksAtALimitedNumberOfEntries has many deadlines come up at the same time, first to be spread over the levels below and then to fire.
func TestACallLooksAtALimitedNumberOfEntries(t *testing.T) {
	w := New(0)
	const slots = 20_000
	at := mono.Time(3600 * mono.Second)
	for s := range uint32(slots) {
		w.Set(s, at)
	}
	fired, calls := 0, 0
	for now := mono.Time(0); w.Len() > 0; calls++ {
		now = max(now, w.Next())
		before := w.Stats().Visited
		n := len(w.Expired(now, nil))
		if n > 0 && now < at {
			t.Fatalf("%d fired early", n)
		}
		fired += n
		if looked := w.Stats().Visited - before; looked > visitLimit+scanLimit*levels {
			t.Fatalf("one call looked at %d entries", looked)
		}
		if calls%10 == 0 {
			w.Remove(uint32(calls)) // out of the middle of whatever it is in
			w.check(t)
		}
		if calls > 1000 {
			t.Fatalf("%d are left after a thousand calls", w.Len())
		}
	}
	if fired < slots-200 {
		t.Errorf("%d fired", fired)
	}
}

func TestGrowthMovesNothing(t *testing.T) {
	w := New(0)
	w.Set(0, mono.Time(60*mono.Minute))
	first := w.Entry(0)
	const many = 1 << 20
	for slot := uint32(1); slot < many; slot += 1000 {
		w.Set(slot, mono.Time(60*mono.Minute))
	}
	if w.Entry(0) != first {
		t.Error("the first entry was moved")
	}
	if n := testing.AllocsPerRun(1, func() { w.Set(many-1000, mono.Never) }); n != 0 {
		t.Errorf("%v allocations for a slot that has room", n)
	}
	if w.Entry(many) != nil {
		t.Error("a slot that was never used has an entry")
	}
	w.check(t)
}
