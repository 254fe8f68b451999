package udp

import (
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// waiters are the ways of waiting: ppoll, epoll_pwait2 and its substitute.
func waiters(t *testing.T) map[string]*Engine {
	t.Helper()
	server := testServer(t, "127.0.0.1:0")
	many := testClient(t, at(server, "127.0.0.1"))
	old := testClient(t, at(server, "127.0.0.1"), func(s *system) {
		s.epollPwait2 = func(int, *unix.EpollEvent, int, *kernelTimespec, bool) (int, unix.Errno) {
			return -1, unix.ENOSYS
		}
	})
	for _, e := range []*Engine{many, old} {
		if _, err := e.Connect(at(server, "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		e.Wait(mono.Now(), 0) // epoll reports the eventfd and the sockets once at first
	}
	return map[string]*Engine{
		"one socket": server, "no socket": testEngine(t, Config{Client: true}),
		"many sockets": many, "many sockets, old kernel": old,
	}
}

// countSignals counts the waits that a signal ended; the Go runtime sends them to its threads.
func countSignals(e *Engine) *int {
	n := new(int)
	ppoll, epoll := e.sys.ppoll, e.sys.epollPwait2
	e.sys.ppoll = func(fds *unix.PollFd, k int, timeout *unix.Timespec, held bool) (int, unix.Errno) {
		got, errno := ppoll(fds, k, timeout, held)
		if errno == unix.EINTR {
			*n++
		}
		return got, errno
	}
	e.sys.epollPwait2 = func(fd int, events *unix.EpollEvent, k int, timeout *kernelTimespec, held bool) (int, unix.Errno) {
		got, errno := epoll(fd, events, k, timeout, held)
		if errno == unix.EINTR {
			*n++
		}
		return got, errno
	}
	return n
}

func TestWaitEndsAtItsDeadline(t *testing.T) {
	for name, e := range waiters(t) {
		signals := countSignals(e)
		for _, d := range []mono.Duration{0, mono.Microsecond, 300 * mono.Microsecond, 3 * mono.Millisecond} {
			best := mono.Duration(mono.MaxDuration)
			for range 20 {
				before := *signals
				start := time.Now()
				e.Wait(mono.Now(), d)
				took := time.Since(start)
				if took < d {
					if *signals == before {
						t.Errorf("%s: a wait of %v took %v, and no signal ended it", name, d, took)
					}
					continue
				}
				best = min(best, took-d)
			}
			if best > 5*mono.Millisecond {
				t.Errorf("%s: waits of %v were all late by %v and more", name, d, best)
			}
		}
	}
}

func TestShortWaitsArePrecise(t *testing.T) {
	slack := 0
	e := testServer(t, "127.0.0.1:0", func(s *system) { s.timerSlack = func(int) { slack++ } })
	e.Wait(mono.Now(), 0)
	e.Wait(mono.Now(), 2*mono.Millisecond)
	if slack != 0 {
		t.Error("the timer slack was set for a wait that does not need it")
	}
	e.Wait(mono.Now(), 100*mono.Microsecond)
	if slack != 1 {
		t.Error("the timer slack was not set for a short wait")
	}
}

func TestWakeEndsAWait(t *testing.T) {
	for name, e := range waiters(t) {
		// Before the wait.
		e.Wake()
		e.Wake()
		e.Wait(mono.Now(), -1)
		// During it.
		for range 50 {
			go func() {
				time.Sleep(200 * time.Microsecond)
				e.Wake()
			}()
			e.Wait(mono.Now(), -1)
		}
		if s := e.Stats(); s.Wakes == 0 || s.Wakes > 51 {
			t.Errorf("%s: %d wake-ups, want at most 51", name, s.Wakes)
		}
		// And not after it, once the last one, which a wait may outrun, is over.
		time.Sleep(5 * time.Millisecond)
		e.Wait(mono.Now(), 0)
		start := time.Now()
		e.Wait(mono.Now(), 5*mono.Millisecond)
		if took := time.Since(start); took < 5*time.Millisecond {
			t.Errorf("%s: a wait ended after %v for no reason", name, took)
		}
	}
}

func TestWakesAreNeverLost(t *testing.T) {
	for _, e := range waiters(t) {
		done := make(chan struct{})
		const rounds = 2000
		turn := make(chan struct{}, 1)
		go func() {
			defer close(done)
			for range rounds {
				<-turn
				e.Wake()
			}
		}()
		for range rounds {
			turn <- struct{}{}
			e.Wait(mono.Now(), -1) // hangs if the wake-up is lost
		}
		<-done
	}
}

func TestWaitEndsWhenADatagramArrives(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	client := testClient(t, at(server, "127.0.0.1"))
	var in ReadBatch
	defer in.Free()
	for range 50 {
		written := make(chan struct{})
		go func() {
			defer close(written)
			time.Sleep(100 * time.Microsecond)
			client.Write(&WriteBatch{Outs: []Out{{Data: []byte("x")}}})
		}()
		server.Wait(mono.Now(), -1)
		<-written
		if n := server.Read(&in); n != 1 {
			t.Fatalf("%d datagrams after the wait", n)
		}
	}
	// After a wait that saw nothing one Read is spared, not two.
	server.Wait(mono.Now(), mono.Millisecond)
	calls := server.Stats().ReadCalls
	server.Read(&in)
	if server.Stats().ReadCalls != calls {
		t.Error("a read asked the kernel what the wait had just told")
	}
	send(t, client, Out{Data: []byte("x")})
	if n := server.Read(&in); n != 1 {
		t.Fatal("a datagram was overlooked")
	}
}
