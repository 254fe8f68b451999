package congestion

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

func TestPacerAllowsSixteenDatagramsAfterAPause(t *testing.T) {
	p := NewPacer(1200)
	const rate = 1_200_000 // a datagram a millisecond
	if got := p.Ready(begin, rate); got != 16*1200 {
		t.Fatalf("ready %d, want a burst of 16 datagrams", got)
	}
	p.Sent(begin, 16*1200)
	if got := p.Ready(begin, rate); got != 0 {
		t.Fatalf("ready %d right after the burst, want none", got)
	}
	next := p.Next(begin, 1200, rate)
	if d := next.Sub(begin); d < ms || d > ms+10 {
		t.Fatalf("the next datagram may leave after %v, want 1 ms", d)
	}
	if got := p.Ready(next, rate); got < 1200 {
		t.Fatalf("ready %d at the time Next named, want a datagram", got)
	}
	if got := p.Ready(begin.Add(mono.Second), rate); got != 16*1200 {
		t.Fatalf("ready %d after a second, want one burst and no more", got)
	}
}

func TestPacerAllowsAMillisecondOfAHighRate(t *testing.T) {
	p := NewPacer(1200)
	if got := p.Ready(begin, 1_000_000_000); got != 1_000_000 {
		t.Errorf("ready %d at 1 GB/s, want 1 ms of it", got)
	}
}

func TestPacerLetsALongTrainOverdrawOnce(t *testing.T) {
	p := NewPacer(1200)
	const rate = 1_200_000
	p.Sent(begin, 16*1200-1)
	if p.Ready(begin, rate) != 1 {
		t.Fatal("one byte is left")
	}
	p.Sent(begin, 1200)
	if got := p.Ready(begin, rate); got >= 0 {
		t.Fatalf("ready %d: the excess is still to be paid", got)
	}
	if d := p.Next(begin, 1200, rate).Sub(begin); d < 19*ms/10 || d > 2*ms {
		t.Errorf("next after %v, want almost 2 ms", d)
	}
}

func TestPacerGrantsMoreThanABurstWhenTheBucketIsEmpty(t *testing.T) {
	p := NewPacer(1200)
	const rate = 1_200_000
	p.Sent(begin, 1200)
	if d := p.Next(begin, 100*1200, rate).Sub(begin); d < ms || d > ms+10 {
		t.Errorf("next after %v, want the 1 ms until the bucket is empty", d)
	}
}

func TestPacerWithoutARateNeverWaits(t *testing.T) {
	p := NewPacer(1200)
	for range 1000 {
		if p.Ready(begin, 0) < 1<<20 || p.Next(begin, 1<<20, 0) != begin {
			t.Fatal("no rate, no limit")
		}
		p.Sent(begin, 1<<20)
	}
	if got := p.Ready(begin.Add(ms), 1_200_000); got < 1200 {
		t.Errorf("ready %d: what left while unlimited is not owed later", got)
	}
}

// Over any span the pacer passes the rate and a burst, within a datagram, and
// a sender that always has data gets the rate.
func TestPacerHoldsTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(10_000, 10_000_000_000).Draw(t, "rate")
		p := NewPacer(1200)
		now, passed := begin, int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "trains") {
			if rapid.Bool().Draw(t, "early") {
				early := now.Add(mono.Duration(rapid.Int64Range(0, int64(ms)).Draw(t, "pause")))
				now = min(early, p.Next(now, 1200, rate))
			} else {
				now = p.Next(now, 1200, rate)
			}
			ready := p.Ready(now, rate)
			if ready < 1200 && ready < 16*1200 {
				continue
			}
			train := min(ready, rapid.IntRange(1200, 60_000).Draw(t, "train"))
			p.Sent(now, train)
			passed += int64(train)
		}
		elapsed := float64(now.Sub(begin)) / float64(mono.Second)
		// Times are whole nanoseconds and sizes whole bytes: each train may gain one of both.
		most := elapsed*float64(rate) + float64(max(16*1200, rate/1000)) + 300*(1+float64(rate)/float64(mono.Second))
		if float64(passed) > most {
			t.Fatalf("%d bytes passed in %v at %d B/s, want at most %.0f", passed, now.Sub(begin), rate, most)
		}
	})
}

func TestPacerGivesAGreedySenderItsRate(t *testing.T) {
	for _, rate := range []int64{100_000, 3_333_333, 1_250_000_000} {
		p := NewPacer(1200)
		now, passed := begin, int64(0)
		for now < begin.Add(mono.Second) {
			// Asking often must not lose fractions of a byte.
			for range 5 {
				p.Ready(now, rate)
				now = now.Add(133)
			}
			if p.Ready(now, rate) >= 1200 {
				p.Sent(now, 1200)
				passed += 1200
			} else {
				now = max(now, p.Next(now, 1200, rate)-1000)
			}
		}
		if float64(passed) < 0.99*float64(min(rate, 1_700_000_000)) && rate < 1_000_000_000 {
			t.Errorf("%d B/s: %d bytes in a second", rate, passed)
		}
	}
}

func TestPacingRateNeverHoldsBackTheWindow(t *testing.T) {
	for _, kind := range []Kind{Adaptive, NewReno} {
		c := New(kind, 1200)
		r := NewRTT()
		if c.PacingRate(&r) != 0 {
			t.Errorf("%v paces before the first sample", kind)
		}
		r.Update(begin, 40*ms, 0)
		if got, least := c.PacingRate(&r), int64(12_000*25*2); got != least {
			t.Errorf("%v paces slow start at %d B/s, want twice the window a round trip, %d", kind, got, least)
		}
	}
}

func TestLocalPathsAreNotPaced(t *testing.T) {
	c := New(Adaptive, 1200)
	r := NewRTT()
	r.Update(begin, 60*us, 0)
	var p Pacer
	now := begin
	for range 1000 { // windows, one a round trip
		if p.Ready(now, c.PacingRate(&r)) < c.Window() || p.Next(now, c.Window(), c.PacingRate(&r)) > now {
			t.Fatal("a timer was asked for on a path of 60 µs")
		}
		p.Sent(now, c.Window())
		now = now.Add(60 * us)
	}
}
