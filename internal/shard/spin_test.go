package shard

import (
	"testing"

	"godwit.example/godwit/internal/mono"
)

// spinTest drives a spinner through time.
type spinTest struct {
	spinner
	now    mono.Time
	done   uint64
	waited mono.Duration // what others have taken of the CPU
	share  float64       // of the time that they take
	thread int
	known  bool
}

func newSpinTest(patience mono.Duration) *spinTest {
	t := &spinTest{now: mono.Time(60 * mono.Minute), thread: 1, known: true}
	t.patience = patience
	t.ask = func() delay { return delay{thread: t.thread, waited: t.waited, known: t.known} }
	return t
}

// pass lets time pass with work every gap, and returns the share of the time for which the spinner looked.
func (t *spinTest) pass(d, gap mono.Duration) float64 {
	const lap = mono.Microsecond * 10
	looked := 0
	next := t.now.Add(gap)
	end := t.now.Add(d)
	laps := 0
	for ; t.now < end; t.now = t.now.Add(lap) {
		if t.now >= next {
			t.done++
			next = t.now.Add(gap)
		}
		t.waited += mono.Duration(t.share * float64(lap))
		laps++
		if t.look(t.now, t.done) {
			looked++
		}
	}
	return float64(looked) / float64(laps)
}

func TestShardLooksOnlyWhileWorkComesOften(t *testing.T) {
	s := newSpinTest(200 * mono.Microsecond)
	s.pass(judgeEvery, 50*mono.Microsecond)
	if x := s.pass(mono.Second, 50*mono.Microsecond); x != 1 {
		t.Errorf("it looked for %v of the time with work every 50 µs", x)
	}
	if x := s.pass(mono.Second, mono.Never.Sub(s.now)); x > 0.001 {
		t.Errorf("it looked for %v of a second without work", x)
	}
	if x := s.pass(mono.Second, 400*mono.Microsecond); x != 0 {
		t.Errorf("it looked for %v of the time with work every 400 µs", x)
	}
	s.pass(judgeEvery, 50*mono.Microsecond)
	if x := s.pass(mono.Second, 50*mono.Microsecond); x != 1 {
		t.Errorf("it looked for %v of the time with work every 50 µs again", x)
	}
	s.patience = 0
	if x := s.pass(mono.Second, 50*mono.Microsecond); x != 0 {
		t.Errorf("it looked for %v of the time although it is not to", x)
	}
}

func TestShardDoesNotLookWhenOthersWantTheCPU(t *testing.T) {
	s := newSpinTest(200 * mono.Microsecond)
	s.share = 0.05 // the kernel's threads
	s.pass(judgeEvery, 50*mono.Microsecond)
	if x := s.pass(10*mono.Second, 50*mono.Microsecond); x != 1 {
		t.Errorf("it looked for %v of the time while others took 5 %%", x)
	}
	s.share = 0.5
	if x := s.pass(10*mono.Minute, 50*mono.Microsecond); x > 0.01 || s.pauses < 10 {
		t.Errorf("it looked for %v of ten minutes while others took half of the CPU, and paused %d times", x, s.pauses)
	}
	s.share = 0
	s.pass(mostRespite+mono.Second, 50*mono.Microsecond)
	if x := s.pass(2*mono.Minute, 50*mono.Microsecond); x != 1 || s.respite != 0 {
		t.Errorf("it looked for %v of the time when nobody else wanted the CPU any more; the respite is %v", x, s.respite)
	}
	s.share = 0.5
	s.pass(2*shareEvery, 50*mono.Microsecond)
	if s.brisk || s.respite != leastRespite {
		t.Errorf("after a quiet time the first respite is %v", s.respite)
	}
}

func TestShardThatCannotAskDoesNotLook(t *testing.T) {
	s := newSpinTest(200 * mono.Microsecond)
	s.known = false
	if x := s.pass(10*mono.Second, 50*mono.Microsecond); x != 0 {
		t.Errorf("it looked for %v of the time", x)
	}
}

func TestDelayOfAnotherThreadSaysNothing(t *testing.T) {
	s := newSpinTest(200 * mono.Microsecond)
	s.pass(mono.Second, 50*mono.Microsecond)
	s.thread, s.waited = 2, s.waited+mono.Minute
	if x := s.pass(mono.Second, 50*mono.Microsecond); x != 1 {
		t.Errorf("it looked for %v of the time after the goroutine had changed its thread", x)
	}
}
