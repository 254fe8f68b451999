package godwit_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
)

// storm calls everything that may be called at any time, from many goroutines, on connections that come and go. It is the long form of
// T9 with GODWIT_STORM=60m.
type storm struct {
	t      *testing.T
	server *godwit.Endpoint
	mu     sync.Mutex
	conns  []godwit.Conn // of both ends; some are gone
	calls  atomic.Int64
}

func (s *storm) add(c godwit.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= 64 {
		s.conns[rand.IntN(len(s.conns))] = c
		return
	}
	s.conns = append(s.conns, c)
}

func (s *storm) pick() godwit.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		return godwit.Conn{}
	}
	return s.conns[rand.IntN(len(s.conns))]
}

// expect fails on an error that no method documents.
func (s *storm) expect(what string, err error) {
	var large *godwit.TooLargeError
	var failed *godwit.HandshakeError
	switch {
	case err == nil, err == godwit.ErrWouldBlock, errors.Is(err, net.ErrClosed), errors.As(err, &large), errors.As(err, &failed),
		err == context.DeadlineExceeded, errors.Is(err, godwit.ErrBusy):
	default:
		s.t.Errorf("%s: %v", what, err)
	}
}

func (s *storm) call() {
	s.calls.Add(1)
	c := s.pick()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(5000))*time.Microsecond)
	defer cancel()
	size := rand.IntN(200)
	if rand.IntN(20) == 0 {
		size = rand.IntN(100_000)
	}
	ch := godwit.Channel(rand.IntN(6))
	switch rand.IntN(24) {
	case 0:
		s.expect("close", c.Close())
	case 1:
		s.expect("close with error", c.CloseWithError(rand.Uint64N(100), "storm"))
	case 2, 3:
		_, err := c.Stats()
		s.expect("stats", err)
	case 4:
		c.SetTag(c.Tag() + 1)
	case 5:
		_, _, _, _ = c.RemoteAddr(), c.State(), c.ID(), c.String()
		c.Ping()
	case 6:
		select {
		case <-c.Done():
			if c.Err() == nil && c != (godwit.Conn{}) {
				s.t.Error("done without an error")
			}
		default:
		}
	case 7:
		_ = s.server.Stats()
	case 8, 9:
		n, err := godwit.Dial(context.Background(), s.server.Addr().String(), &godwit.Config{SendBuffer: 64 << 10})
		s.expect("dial", err)
		if err == nil {
			s.add(n)
		}
	case 10:
		n, err := s.server.Accept(ctx)
		s.expect("accept", err)
		if err == nil {
			s.add(n)
		}
	case 11, 12:
		_, err := c.Receive(ctx, nil)
		s.expect("receive", err)
	case 13, 14:
		s.expect("send wait", c.SendWait(ctx, godwit.Message{Channel: ch, Payload: make([]byte, size)}))
	case 15:
		s.expect("message", c.SendMessage(godwit.Message{Channel: ch, Key: rand.Uint64N(9), Tag: rand.Uint64N(9), TTL: time.Millisecond, Payload: make([]byte, size)}))
	default:
		s.expect("send", c.Send(ch, make([]byte, size)))
	}
}

func TestStormOfCalls(t *testing.T) {
	d := 3 * time.Second
	if long, err := time.ParseDuration(os.Getenv("GODWIT_STORM")); err == nil {
		d = long
	}
	if testing.Short() {
		d = time.Second
	}
	s := &storm{t: t, server: listen(t, godwit.Config{Shards: 2, MaxConnections: 200, IdleTimeout: 2 * time.Second, Linger: 500 * time.Millisecond})}
	stop := time.Now().Add(d)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				s.call()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(d + 30*time.Second):
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		t.Fatal("the watchdog: a call does not return")
	}
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.CloseWithError(0, "") // some are closed already
	}
	s.mu.Unlock()
	t.Logf("%d calls, %d connections", s.calls.Load(), s.server.Stats().Opened)
}
