package shard

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
)

// Call names a function of the application.
type Call uint8

// The functions of App that the application's own code hangs on, and Config.Tick.
const (
	NoCall Call = iota
	CallOpen
	CallMessage
	CallGap
	CallOutcome
	CallWritable
	CallTick
	CallClose
)

var callNames = [...]string{"none", "Open", "Message", "Gap", "Outcome", "Writable", "Tick", "Close"}

// String returns the name of the function of godwit.Handler.
func (c Call) String() string { return callNames[c] }

// SlowCall is what Config.Slow is told.
type SlowCall struct {
	Call  Call
	Ref   Ref // the connection it was made for; zero for a Tick, or if there were several connections
	Took  mono.Duration
	Calls int // made in that time
}

const (
	// slowCall is how long what happens between two readings of the clock may take: a batch of packets with its handlers takes tens of
	// microseconds.
	slowCall = mono.Millisecond
	// surelySlow is more than a kernel takes a CPU away for as a rule, so it is reported although nobody looked closely.
	surelySlow = 10 * mono.Millisecond
	// closeWatch is how long a shard looks closely after it was held up.
	closeWatch = 10 * mono.Second
)

// watch notices functions of the application that keep the shard from its other connections. As a rule the clock is read once a batch, and what a
// batch has in excess may be a handler's, or the kernel's who gave the CPU to others. Then the shard looks closely for a while: it reads the clock
// after each entry and each timer, which names the connection, and once a cycle what its thread was given by the kernel, which tells a thread
// that was not run from a handler that computes or sleeps.
type watch struct {
	at      mono.Time // when the clock was last read; zero: when the next function is called
	until   mono.Time // the end of looking closely
	calls   int       // functions of the application called since at
	several bool      // for several connections
	closely bool
	usage   usage // of the thread, at the beginning of the cycle, while looking closely
}

// usage is what the kernel says of a thread.
type usage struct {
	thread int
	cpu    mono.Duration // it was running
	waits  int64         // it gave up its CPU by itself, to sleep
	known  bool
}

// enter notes that a function of the application is about to be called.
func (s *Shard) enter(r Ref, c Call) {
	w := &s.watch
	if w.calls > 0 && s.called != c {
		s.lap() // each function answers for itself
	}
	switch {
	case w.calls > 0:
		w.several = w.several || s.serving != r
	case w.at == 0 && s.cfg.Clock != nil:
		w.at = s.cfg.Clock()
	}
	w.calls++
	s.serving, s.calling, s.called = r, true, c
}

// begin starts the watch of a cycle.
func (w *watch) begin(now mono.Time) {
	w.at, w.calls, w.several = now, 0, false
	if !w.closely {
		return
	}
	if now > w.until {
		w.closely = false
		return
	}
	w.usage = threadUsage()
}

// lapClosely is lap where it matters only to name a connection.
func (s *Shard) lapClosely() {
	if s.watch.closely || mutant.On(mutant.ClockEachEntry) {
		s.lap()
	}
}

// lap reads the clock and looks at what happened since it was last read.
func (s *Shard) lap() {
	if s.cfg.Clock == nil {
		return
	}
	w := &s.watch
	now := s.cfg.Clock()
	if d := now.Sub(w.at); d > slowCall && w.at != 0 {
		s.heldUp(now, d)
	}
	w.at, w.calls, w.several = now, 0, false
}

// heldUp decides who has held up the shard for d.
func (s *Shard) heldUp(now mono.Time, d mono.Duration) {
	w := &s.watch
	was := w.usage
	closely := w.closely
	w.usage = threadUsage()
	w.closely, w.until = true, now.Add(closeWatch)
	if w.calls == 0 || closely && w.usage.starved(was, d) {
		s.counters.Stalls++
		return
	}
	s.counters.SlowHandlers++
	if !closely && d < surelySlow {
		return // the kernel's doing, perhaps: if not, it will happen again
	}
	c := SlowCall{Call: s.called, Ref: s.serving, Took: d, Calls: w.calls}
	if w.several {
		c.Ref = Ref{}
	}
	s.cfg.Slow(c)
}

// starved reports whether the thread wanted to run for most of d, and was not let: it did not go to sleep, and it did not run. A goroutine that
// changed its thread is given no excuse.
func (u usage) starved(was usage, d mono.Duration) bool {
	return u.known && was.known && u.thread == was.thread && u.waits == was.waits && u.cpu-was.cpu < d/2
}
