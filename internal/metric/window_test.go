package metric

import (
	"math"
	"sync"
	"testing"
	"unsafe"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*math.Abs(want) }

func TestASteadyLoadShowsItsRate(t *testing.T) {
	for _, start := range []mono.Time{0, mono.Time(3600*mono.Second + 123*mono.Millisecond)} {
		var w Window
		now, total := start, uint64(1_000_000)
		for range 90_000 { // 90 s, 20,000 a second
			if w.Due(now) {
				w.Sample(now, total)
			}
			now = now.Add(mono.Millisecond)
			total += 20
		}
		r := w.Rates(now)
		if !near(r.Second, 20_000, 0.01) || !near(r.Ten, 20_000, 0.01) || !near(r.Minute, 20_000, 0.01) {
			t.Errorf("rates of a steady load are %+v", r)
		}
	}
}

func TestAYoungWindowDividesByItsLife(t *testing.T) {
	var w Window
	now, total := mono.Time(500*mono.Second), uint64(0)
	if w.Rates(now) != (Rates{}) {
		t.Error("a window that has not begun has rates")
	}
	for range 30 {
		w.Sample(now, total)
		now = now.Add(SamplePeriod)
		total += 100
	}
	w.Sample(now, total)
	if r := w.Rates(now); !near(r.Second, 1000, 0.01) || !near(r.Ten, 1000, 0.01) || !near(r.Minute, 1000, 0.01) {
		t.Errorf("rates after three seconds are %+v", r)
	}
}

func TestASleepingOwnersRatesFade(t *testing.T) {
	var w Window
	now, total := mono.Time(500*mono.Second), uint64(0)
	for range 700 {
		w.Sample(now, total)
		now = now.Add(SamplePeriod)
		total += 100
	}
	w.Sample(now, total)
	if r := w.Rates(now.Add(5*mono.Second + 200*mono.Millisecond)); r.Second != 0 || !near(r.Ten, 500, 0.1) || !near(r.Minute, 1000*55/60, 0.03) {
		t.Errorf("rates after five seconds of sleep are %+v", r)
	}
	if r := w.Rates(now.Add(70 * mono.Second)); r != (Rates{}) {
		t.Errorf("rates after 70 seconds of sleep are %+v", r)
	}
	// The burst that ends the sleep counts now, not when the sleep began.
	now = now.Add(1000 * mono.Second)
	w.Sample(now, total+600)
	if r := w.Rates(now); !near(r.Second, 600, 0.01) || !near(r.Minute, 0, 0) && !near(r.Minute, 10, 0.01) {
		t.Errorf("rates after the burst are %+v", r)
	}
}

// The model keeps what happened in each period.
func TestWindowAgreesWithAllPeriodsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		period := rapid.Int64Range(0, 5000).Draw(t, "start")
		at := func(p int64) mono.Time { return mono.Time(p * int64(SamplePeriod)) }
		began, total := period, uint64(0)
		w.Sample(at(period), 0)
		happened := map[int64]uint64{}
		for range rapid.IntRange(1, 200).Draw(t, "samples") {
			period += rapid.Int64Range(1, 1<<rapid.IntRange(0, 8).Draw(t, "bits")).Draw(t, "gap")
			n := rapid.Uint64Range(0, 1000).Draw(t, "n")
			total += n
			happened[period-1] = n
			w.Sample(at(period), total)
		}
		period += rapid.Int64Range(0, 100).Draw(t, "late")
		sum := func(from, to int64) (n uint64) {
			for p := from; p < to; p++ {
				n += happened[p]
			}
			return n
		}
		r := w.Rates(at(period + 2))
		if life := period - began; life >= 10 {
			if want := float64(sum(period-10, period)); r.Second != want {
				t.Fatalf("%v in the last second, want %v", r.Second, want)
			}
		}
		for _, c := range []struct {
			seconds int64
			got     float64
		}{{10, r.Ten}, {60, r.Minute}} {
			if end := period / 10 * 10; end-10*c.seconds >= began+10 {
				if want := float64(sum(end-10*c.seconds, end)) / float64(c.seconds); c.got != want {
					t.Fatalf("%v a second in the last %d, want %v", c.got, c.seconds, want)
				}
			}
		}
	})
}

func TestSampleDoesNotAllocateAndAWindowIsSmall(t *testing.T) {
	w := new(Window)
	now := mono.Time(0)
	if n := testing.AllocsPerRun(100, func() {
		now += mono.Time(SamplePeriod)
		w.Sample(now, 1)
		w.Rates(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := unsafe.Sizeof(*w); n >= 700 {
		t.Errorf("a window takes %d bytes", n)
	}
}

func TestNeighboursDoNotShareACacheLine(t *testing.T) {
	var shards [2]Padded[[3]uint64]
	a, b := uintptr(unsafe.Pointer(&shards[0].Value)), uintptr(unsafe.Pointer(&shards[1].Value))
	if b-a < unsafe.Sizeof(shards[0].Value)+CacheLine {
		t.Errorf("two values lie %d bytes apart", b-a)
	}
}

func TestReadersSeeWholeCopies(t *testing.T) {
	var p Published[[64]uint64]
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		var v [64]uint64
		for n := uint64(1); ; n++ {
			select {
			case <-done:
				return
			default:
			}
			for i := range v {
				v[i] = n
			}
			p.Publish(&v)
		}
	})
	var got [64]uint64
	last := uint64(0)
	for range 2000 {
		p.Load(&got)
		if got[0] < last || got[0] != got[63] {
			t.Errorf("read %d…%d after %d", got[0], got[63], last)
		}
		last = got[0]
	}
	close(done)
	wg.Wait()
	v := [64]uint64{63: 9}
	if !p.Publish(&v) {
		t.Error("nobody reads and the owner could not publish")
	}
	if p.Load(&got); got != v {
		t.Error("what was published last is not what is read")
	}
}

func BenchmarkSample(b *testing.B) {
	w := new(Window)
	now := mono.Time(0)
	for b.Loop() {
		now += mono.Time(SamplePeriod)
		w.Sample(now, uint64(now))
	}
}
