package udp

import (
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// briskly puts the engine into the state in which it waits often.
func briskly(t *testing.T, e *Engine) {
	t.Helper()
	e.hold.waits = 1 << 40
	e.hold.judge(mono.Now())
	if !e.hold.brisk {
		t.Fatal("the engine cannot hold its waits")
	}
}

func TestWaitsAreHeldWhileTheyAreMany(t *testing.T) {
	var h holding
	now := mono.Time(mono.Second)
	run := func(gap mono.Duration, d mono.Duration) (held bool) {
		for end := now.Add(d); now < end; now = now.Add(gap) {
			held = h.begin(now)
		}
		return held
	}
	if !run(50*mono.Microsecond, 60*mono.Millisecond) {
		t.Error("20,000 waits a second are not held")
	}
	if run(500*mono.Microsecond, 60*mono.Millisecond) {
		t.Error("2,000 waits a second are held")
	}
	for range 10 { // 60 in a burst, thirty times a second
		held := run(50*mono.Microsecond, 3*mono.Millisecond)
		if now = now.Add(30 * mono.Millisecond); held || h.begin(now) {
			t.Fatal("waits of short bursts are held")
		}
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

func TestAHeldWaitIsBounded(t *testing.T) {
	for name, e := range waiters(t) {
		var longest time.Duration
		ppoll, epoll := e.sys.ppoll, e.sys.epollPwait2
		e.sys.ppoll = func(fds *unix.PollFd, k int, timeout *unix.Timespec, held bool) (int, unix.Errno) {
			if held {
				longest = max(longest, time.Duration(timeout.Nano()))
			}
			return ppoll(fds, k, timeout, held)
		}
		e.sys.epollPwait2 = func(fd int, events *unix.EpollEvent, k int, timeout *kernelTimespec, held bool) (int, unix.Errno) {
			if held {
				longest = max(longest, time.Duration(timeout.nsec)+time.Duration(timeout.sec)*time.Second)
			}
			return epoll(fd, events, k, timeout, held)
		}
		briskly(t, e)
		start := time.Now()
		e.Wait(mono.Now(), -1)
		if held := e.Stats().HeldWaits; held != 1 || longest != time.Duration(maxHeld) || time.Since(start) > time.Second {
			t.Errorf("%s: %d held waits, of %v at most, in %v", name, held, longest, time.Since(start))
		}
	}
}

// holdOn keeps an engine in held waits of 50 µs, on the only processor there is, until stop is called.
func holdOn(t *testing.T, sleep func()) (stop func()) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	e := testServer(t, "127.0.0.1:0", func(s *system) {
		if sleep != nil {
			s.ppoll = func(*unix.PollFd, int, *unix.Timespec, bool) (int, unix.Errno) { sleep(); return 0, 0 }
		}
	})
	var stopped atomic.Bool
	ended := make(chan uint64)
	briskly(t, e)
	go func() {
		for !stopped.Load() {
			e.hold.judged = mono.Now() // what was found out stays
			e.Wait(e.hold.judged, -1)
		}
		ended <- e.Stats().HeldWaits
	}()
	return func() {
		stopped.Store(true)
		e.Wake()
		if <-ended == 0 {
			t.Error("no wait was held")
		}
		runtime.GOMAXPROCS(before)
	}
}

func TestAHeldWaitStopsNeitherGoroutinesNorTheCollector(t *testing.T) {
	defer holdOn(t, nil)() // of maxHeld each: nothing comes
	const turns = 20
	start := time.Now()
	for range turns {
		time.Sleep(time.Millisecond) // a timer of the runtime, and a turn of this goroutine
		runtime.GC()
	}
	if took := time.Since(start); took > turns*150*time.Millisecond {
		t.Errorf("%d sleeps and collections took %v", turns, took)
	}
}

func TestAHeldWaitNeedsNoSignals(t *testing.T) {
	if os.Getenv("GODEBUG") == "asyncpreemptoff=1" {
		return // the test above runs without signals
	}
	cmd := exec.Command(os.Args[0], "-test.run", "TestAHeldWaitStops", "-test.timeout", "60s")
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// lookOn keeps an engine looking for datagrams, on the only processor there is, until stop is called.
func lookOn(t *testing.T) (stop func()) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	e := testServer(t, "127.0.0.1:0")
	var stopped atomic.Bool
	ended := make(chan struct{})
	go func() {
		for !stopped.Load() {
			e.Wait(mono.Now(), 0)
		}
		close(ended)
	}()
	return func() {
		stopped.Store(true)
		<-ended
		runtime.GOMAXPROCS(before)
	}
}

func TestHeldWaitsLeaveTheNetworkToOthers(t *testing.T) {
	defer holdOn(t, func() {
		for start := time.Now(); time.Since(start) < 50*time.Microsecond; { // a held wait keeps its processor in this way
		}
	})()
	exchange(t)
}

func TestLooksLeaveTheNetworkToOthers(t *testing.T) {
	defer lookOn(t)()
	exchange(t)
}

// exchange fails if others than the engine have to wait for the runtime's monitor to learn of their datagrams.
func exchange(t *testing.T) {
	t.Helper()
	a, b := tcpPair(t)
	go func() {
		_, _ = io.Copy(b, b)
	}()
	var took []time.Duration
	buf := make([]byte, 1)
	for range 50 {
		start := time.Now()
		if _, err := a.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a, buf); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if m := took[len(took)/2]; m > 6*time.Millisecond { // the runtime's monitor alone looks every 10 ms
		t.Errorf("an exchange over TCP takes %v", m)
	}
}

// tcpPair is two ends of a connection that end with the test.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}
