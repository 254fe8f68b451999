package congestion

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

const (
	ms = mono.Millisecond
	us = mono.Microsecond
)

// begin is an instant as early as a clock returns.
const begin = mono.Time(mono.Minute * 60)

func TestStartValuesAreReportedUntilTheFirstSample(t *testing.T) {
	r := NewRTT()
	if r.Min != mono.Second || r.Smoothed != 100*ms || r.Var != 50*ms || r.Sampled() {
		t.Errorf("start values %+v", r)
	}
	if got := r.PTO(25 * ms); got != 300*ms {
		t.Errorf("initial PTO %v, want 300 ms", got)
	}
	if got := r.RTO(); got != 300*ms {
		t.Errorf("initial RTO %v, want 300 ms", got)
	}
	var zero RTT
	if zero.PTO(0) != r.PTO(0) || zero.LossDelay() != r.LossDelay() || zero.RTO() != r.RTO() {
		t.Error("the zero value acts differently from NewRTT")
	}
}

func TestFirstSampleInitialisesTheEstimator(t *testing.T) {
	r := NewRTT()
	r.Update(begin, 40*ms, 30*ms)
	// The start values leave no trace, and the ack delay of the first sample
	// is not believed (RFC 9002 §5.3).
	if r.Latest != 40*ms || r.Min != 40*ms || r.Smoothed != 40*ms || r.Var != 20*ms {
		t.Errorf("after the first sample: %+v", r)
	}
}

func TestSmoothingUsesAnEighthAndAQuarter(t *testing.T) {
	r := NewRTT()
	r.Update(begin, 80*ms, 0)
	r.Update(begin, 160*ms, 0)
	// The deviation is 80 ms from the smoothed value before this sample.
	if r.Smoothed != 90*ms || r.Var != 40*ms+10*ms {
		t.Errorf("smoothed %v, want 90 ms; variance %v, want 50 ms", r.Smoothed, r.Var)
	}
}

func TestAckDelayIsTakenOffUnlessItUndercutsTheMinimum(t *testing.T) {
	r := NewRTT()
	r.Update(begin, 40*ms, 0)
	r.Update(begin, 65*ms, 25*ms)
	if r.Smoothed != 40*ms {
		t.Errorf("smoothed %v: 65 ms with a delay of 25 ms is a round trip of 40 ms", r.Smoothed)
	}
	r.Update(begin, 48*ms, 25*ms)
	if r.Smoothed != 41*ms {
		t.Errorf("smoothed %v: a delay that would undercut the minimum is a lie", r.Smoothed)
	}
	if r.Min != 40*ms {
		t.Errorf("minimum %v: the ack delay must not lower it", r.Min)
	}
}

func TestPTOHasAFloorOfOneMillisecond(t *testing.T) {
	r := NewRTT()
	for range 100 {
		r.Update(begin, 50*us, 0)
	}
	if got := r.PTO(0); got != 50*us+ms {
		t.Errorf("PTO on loopback %v, want 1.05 ms", got)
	}
	if got := r.PTO(25 * ms); got != 26*ms+50*us {
		t.Errorf("PTO with the peer's ack delay %v, want 26.05 ms", got)
	}
	if got := r.LossDelay(); got != ms {
		t.Errorf("loss delay on loopback %v, want 1 ms", got)
	}
}

func TestLossDelayIsNineEighthsOfTheLargerRoundTrip(t *testing.T) {
	r := NewRTT()
	r.Update(begin, 80*ms, 0)
	if got := r.LossDelay(); got != 90*ms {
		t.Errorf("loss delay %v, want 90 ms", got)
	}
	r.Update(begin, 160*ms, 0)
	if got := r.LossDelay(); got != 180*ms {
		t.Errorf("loss delay %v after a late sample, want 180 ms", got)
	}
}

func TestRTOIsClamped(t *testing.T) {
	r := NewRTT()
	r.Update(begin, ms, 0)
	if r.RTO() != 100*ms {
		t.Errorf("RTO %v, want the least, 100 ms", r.RTO())
	}
	r = NewRTT()
	r.Update(begin, 30*mono.Second, 0)
	if r.RTO() != 60*mono.Second {
		t.Errorf("RTO %v, want the most, 60 s", r.RTO())
	}
}

func TestPersistentCongestionTakesThreeTimeouts(t *testing.T) {
	r := NewRTT()
	r.Update(begin, 40*ms, 0)
	if got := r.PersistentDuration(25 * ms); got != 3*(40+80+25)*ms {
		t.Errorf("persistent congestion after %v, want 435 ms", got)
	}
}

func TestMinimumExpiresWhenThePathBecomesLonger(t *testing.T) {
	r := NewRTT()
	now := begin
	for range 10 {
		r.Update(now, 20*ms, 0)
		now = now.Add(mono.Second)
	}
	for range 14 {
		r.Update(now, 50*ms, 0)
		now = now.Add(mono.Second)
	}
	if r.Min != 20*ms {
		t.Fatalf("minimum %v: 20 ms was seen within half a window", r.Min)
	}
	for range 31 {
		r.Update(now, 50*ms, 0)
		now = now.Add(mono.Second)
	}
	if r.Min != 50*ms {
		t.Errorf("minimum %v: 20 ms was last seen a window ago", r.Min)
	}
}

func TestMinimumIsForgottenAfterALongSilence(t *testing.T) {
	r := NewRTT()
	r.Update(begin, 20*ms, 0)
	r.Update(begin.Add(MinRTTWindow), 70*ms, 0)
	if r.Min != 70*ms {
		t.Errorf("minimum %v after a silence of a whole window, want 70 ms", r.Min)
	}
}

// Whatever the samples, the minimum is the least sample of some span that is
// between half a window and a window long.
func TestMinimumIsTheLeastOfItsWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type sample struct {
			at mono.Time
			d  mono.Duration
		}
		var seen []sample
		r := NewRTT()
		now := begin
		for range rapid.IntRange(1, 200).Draw(t, "samples") {
			now = now.Add(mono.Duration(rapid.Int64Range(0, int64(5*mono.Second)).Draw(t, "pause")))
			d := mono.Duration(rapid.Int64Range(1, int64(mono.Second)).Draw(t, "sample"))
			r.Update(now, d, mono.Duration(rapid.Int64Range(0, int64(50*ms)).Draw(t, "delay")))
			seen = append(seen, sample{now, d})
			recent, window := d, d
			for _, s := range seen {
				if now.Sub(s.at) < MinRTTWindow/2 {
					recent = min(recent, s.d)
				}
				if now.Sub(s.at) < 3*MinRTTWindow/2 {
					window = min(window, s.d)
				}
			}
			if r.Min > recent || r.Min < window {
				t.Fatalf("minimum %v, least of half a window %v, least of the window %v", r.Min, recent, window)
			}
			if r.Smoothed <= 0 || r.Var < 0 || r.PTO(0) < Granularity || r.LossDelay() < Granularity {
				t.Fatalf("impossible estimate %+v", r)
			}
		}
	})
}
