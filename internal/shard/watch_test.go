package shard

import (
	"testing"

	"godwit.example/godwit/internal/mono"
)

// watched returns a shard that has nothing but a watch, the clock it reads, and what it reported.
func watched() (s *Shard, clock *mono.Time, reports *[]SlowCall) {
	clock, reports = new(mono.Time), new([]SlowCall)
	*clock = mono.Time(mono.Minute)
	s = new(Shard)
	s.cfg.Clock = func() mono.Time { return *clock }
	s.cfg.Slow = func(c SlowCall) { *reports = append(*reports, c) }
	return s, clock, reports
}

// call is a function of the application that takes d.
func (s *Shard) testCall(clock *mono.Time, r Ref, c Call, d mono.Duration) {
	s.enter(r, c)
	*clock = clock.Add(d)
	s.calling = false
}

func TestALongCallIsReportedWithItsConnection(t *testing.T) {
	s, clock, reports := watched()
	s.watch.begin(*clock)
	s.testCall(clock, Ref{7, 1}, CallMessage, 50*mono.Millisecond)
	s.lap()
	if len(*reports) != 1 || (*reports)[0] != (SlowCall{CallMessage, Ref{7, 1}, 50 * mono.Millisecond, 1}) {
		t.Errorf("%+v", *reports)
	}
	if s.counters.SlowHandlers != 1 || s.counters.Stalls != 0 {
		t.Errorf("%d slow handlers and %d stalls", s.counters.SlowHandlers, s.counters.Stalls)
	}
}

func TestALongBatchOfSeveralConnectionsIsWatchedClosely(t *testing.T) {
	s, clock, reports := watched()
	batch := func(long mono.Duration) {
		s.watch.begin(*clock)
		for slot := range uint32(4) {
			d := mono.Duration(mono.Microsecond)
			if slot == 2 {
				d = long
			}
			s.testCall(clock, Ref{slot, 1}, CallMessage, d)
			s.lapClosely()
		}
		s.lap()
	}
	batch(3 * mono.Millisecond) // the kernel may take a CPU away for so long
	if len(*reports) != 0 || s.counters.SlowHandlers != 1 {
		t.Fatalf("%+v, %d counted", *reports, s.counters.SlowHandlers)
	}
	s.watch.usage.known = false
	batch(3 * mono.Millisecond)
	if s.counters.SlowHandlers+s.counters.Stalls != 2 {
		t.Fatalf("%d slow handlers and %d stalls", s.counters.SlowHandlers, s.counters.Stalls)
	}
	// The thread of the test did run or wait meanwhile, for all the kernel knows, unless it says that it was starved.
	if len(*reports) > 0 && (*reports)[0].Ref != (Ref{2, 1}) {
		t.Errorf("%+v is reported, want the third connection", (*reports)[0])
	}
	*clock = clock.Add(closeWatch + mono.Second)
	s.watch.begin(*clock)
	if s.watch.closely {
		t.Error("it is watched closely for ever")
	}
	batch(20 * mono.Millisecond) // surely slow, and nobody knows whose it was
	if last := (*reports)[len(*reports)-1]; last.Ref != (Ref{}) || last.Calls != 4 {
		t.Errorf("%+v", last)
	}
}

func TestEachFunctionAnswersForItself(t *testing.T) {
	s, clock, reports := watched()
	s.watch.begin(*clock)
	s.testCall(clock, Ref{1, 1}, CallOpen, 50*mono.Millisecond)
	s.testCall(clock, Ref{1, 1}, CallMessage, mono.Microsecond)
	s.lap()
	if len(*reports) != 1 || (*reports)[0].Call != CallOpen || (*reports)[0].Took != 50*mono.Millisecond {
		t.Errorf("%+v", *reports)
	}
}

func TestADelayWithoutACallIsAStall(t *testing.T) {
	s, clock, reports := watched()
	s.watch.begin(*clock)
	*clock = clock.Add(20 * mono.Millisecond)
	s.lap()
	if len(*reports) != 0 || s.counters.SlowHandlers != 0 || s.counters.Stalls != 1 {
		t.Errorf("%+v, %d slow handlers, %d stalls", *reports, s.counters.SlowHandlers, s.counters.Stalls)
	}
}

func TestTheKernelsTimeIsNotTheHandlers(t *testing.T) {
	s, clock, reports := watched()
	s.watch.begin(*clock)
	s.watch.at = 0 // as after a write
	*clock = clock.Add(20 * mono.Millisecond)
	s.testCall(clock, Ref{1, 1}, CallClose, mono.Microsecond)
	s.lap()
	if len(*reports) != 0 || s.counters.SlowHandlers != 0 {
		t.Errorf("%+v, %d slow handlers", *reports, s.counters.SlowHandlers)
	}
}

func TestAThreadThatIsNotRunIsStarved(t *testing.T) {
	const ms = mono.Millisecond
	was := usage{thread: 5, cpu: 100 * ms, waits: 10, known: true}
	cases := []struct {
		name string
		now  usage
		want bool
	}{
		{"it did not run and did not sleep", usage{5, 101 * ms, 10, true}, true},
		{"it computed", usage{5, 118 * ms, 10, true}, false},
		{"it slept", usage{5, 101 * ms, 11, true}, false},
		{"it is another thread", usage{6, 101 * ms, 10, true}, false},
		{"nothing is known", usage{5, 101 * ms, 10, false}, false},
	}
	for _, c := range cases {
		if got := c.now.starved(was, 20*ms); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
