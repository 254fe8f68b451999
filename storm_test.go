package godwit_test

import (
	"context"
	"errors"
	"io"
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

// storm calls everything that may be called at any time, from many goroutines, on connections, streams and groups that come and go.
// GODWIT_STORM=20s makes it that long.
type storm struct {
	t      *testing.T
	server *godwit.Endpoint
	other  *godwit.Endpoint // that the server dials
	pool   *godwit.Pool
	calls  atomic.Int64

	mu      sync.Mutex
	conns   []godwit.Conn // of both ends; some are gone
	streams []*godwit.Stream
	group   *godwit.Group
}

// keep adds an item to a list that stays short, so that what is picked is often in use elsewhere.
func keep[T any](s *storm, list *[]T, item T) (gone T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*list) < 64 {
		*list = append(*list, item)
		return gone
	}
	i := rand.IntN(len(*list))
	gone, (*list)[i] = (*list)[i], item
	return gone
}

func pick[T any](s *storm, list *[]T) (item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*list) > 0 {
		item = (*list)[rand.IntN(len(*list))]
	}
	return item
}

// expect fails on an error that no method documents.
func (s *storm) expect(what string, err error) {
	var large *godwit.TooLargeError
	var failed *godwit.HandshakeError
	var stream *godwit.StreamError
	switch {
	case err == nil, err == godwit.ErrWouldBlock, errors.Is(err, net.ErrClosed), errors.As(err, &large), errors.As(err, &failed),
		err == context.DeadlineExceeded, errors.Is(err, godwit.ErrBusy), errors.As(err, &stream),
		err == io.EOF, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, godwit.ErrNoStreams):
	default:
		s.t.Errorf("%s: %v", what, err)
	}
}

func (s *storm) call() {
	s.calls.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(5000))*time.Microsecond)
	defer cancel()
	c := pick(s, &s.conns)
	switch rand.IntN(8) {
	case 0:
		s.life(ctx, c)
	case 1, 2:
		s.stream(ctx, c)
	case 3:
		s.groups(c)
	case 4:
		s.lease(c)
	case 5:
		s.look(c)
	default:
		s.message(ctx, c)
	}
}

// life begins and ends connections.
func (s *storm) life(ctx context.Context, c godwit.Conn) {
	var n godwit.Conn
	var err error
	cfg := &godwit.Config{SendBuffer: 64 << 10, Engine: s.server.Stats().Engine}
	switch rand.IntN(12) {
	case 0:
		s.expect("close", c.Close())
	case 1:
		s.expect("close with error", c.CloseWithError(rand.Uint64N(100), "storm"))
	case 2:
		if e := c.Endpoint(); e != nil && e != s.server && e != s.other {
			s.expect("shutdown", e.Shutdown(ctx))
		}
	case 3, 4:
		n, err = godwit.Dial(ctx, s.server.Addr().String(), cfg)
	case 5, 6, 7:
		n, err = godwit.Dial(context.Background(), s.server.Addr().String(), cfg)
	case 8:
		n, err = s.server.Dial(ctx, s.other.Addr().String(), nil)
	case 9:
		n, err = s.pool.Get(ctx, s.other.Addr().String())
	case 10:
		n, err = s.other.Accept(ctx)
	default:
		n, err = s.server.Accept(ctx)
	}
	s.expect("dial or accept", err)
	if err == nil && n != (godwit.Conn{}) {
		keep(s, &s.conns, n)
	}
}

// stream opens, uses and ends streams.
func (s *storm) stream(ctx context.Context, c godwit.Conn) {
	if kind := rand.IntN(10); kind < 2 {
		open := c.Stream
		if kind == 1 {
			open = c.AcceptStream
		}
		fresh, err := open(ctx)
		s.expect("stream", err)
		if err == nil {
			if old := keep(s, &s.streams, fresh.(*godwit.Stream)); old != nil {
				s.expect("close of a stream", old.Close())
			}
		}
		return
	}
	st := pick(s, &s.streams)
	if st == nil {
		return
	}
	by, _ := ctx.Deadline()
	buf := make([]byte, rand.IntN(50_000))
	var err error
	switch rand.IntN(12) {
	case 0:
		err = st.Close()
	case 1:
		err = st.Reset(rand.Uint64N(100))
	case 2:
		err = st.CloseWrite()
	case 3, 4, 5, 6:
		// Another goroutine may take the deadline away; a third one closes the stream in the end, if need be.
		if err = st.SetReadDeadline(by); err == nil {
			_, err = st.Read(buf)
		}
	case 7:
		err = st.SetDeadline(by.Add(time.Duration(rand.IntN(1000)) * time.Microsecond))
	default:
		if err = st.SetWriteDeadline(by); err == nil {
			_, err = st.Write(buf)
		}
	}
	s.expect("use of a stream", err)
}

// groups changes who is in the group, and sends to it.
func (s *storm) groups(c godwit.Conn) {
	s.mu.Lock()
	g := s.group
	if rand.IntN(200) == 0 {
		s.group = s.server.NewGroup()
		defer g.Close()
	}
	s.mu.Unlock()
	m := godwit.Message{Channel: godwit.Channel(rand.IntN(6)), Key: rand.Uint64N(9), Tag: rand.Uint64N(2), Payload: make([]byte, rand.IntN(2000))}
	switch rand.IntN(6) {
	case 0, 1:
		if c.Endpoint() == s.server {
			s.expect("add", g.Add(c))
		}
	case 2:
		g.Remove(c)
	case 3:
		_, err := g.SendExcept(c, m)
		s.expect("send to a group", err)
	default:
		n, err := g.Send(m)
		s.expect("send to a group", err)
		if n < 0 || g.Len() < 0 {
			s.t.Error("a group has less than nobody")
		}
	}
}

// lease writes a message in place.
func (s *storm) lease(c godwit.Conn) {
	size := rand.IntN(70_000) >> rand.IntN(16)
	l, err := c.Lease(godwit.Channel(rand.IntN(6)), size)
	s.expect("lease", err)
	if err != nil {
		return
	}
	for i := range l.Bytes() {
		l.Bytes()[i] = byte(i)
	}
	l.Truncate(rand.IntN(size + 1))
	l.Tag = rand.Uint64N(2)
	if rand.IntN(3) > 0 {
		s.expect("commit", l.Commit())
	}
	l.Cancel() // of what was not committed
}

// look asks for what is known.
func (s *storm) look(c godwit.Conn) {
	switch rand.IntN(6) {
	case 0:
		_, err := c.Stats()
		s.expect("stats", err)
	case 1:
		c.SetTag(c.Tag() + 1)
	case 2:
		_, _, _, _ = c.RemoteAddr(), c.State(), c.ID(), c.String()
		c.Ping()
	case 3:
		select {
		case <-c.Done():
			if c.Err() == nil && c != (godwit.Conn{}) {
				s.t.Error("done without an error")
			}
		default:
		}
	case 4:
		c.Flush()
		_ = c.SuggestedRate()
	default:
		_, _ = s.server.Stats(), s.pool.Stats()
	}
}

// message sends and receives.
func (s *storm) message(ctx context.Context, c godwit.Conn) {
	size := rand.IntN(200)
	if rand.IntN(20) == 0 {
		size = rand.IntN(100_000)
	}
	m := godwit.Message{Channel: godwit.Channel(rand.IntN(6)), Payload: make([]byte, size)}
	switch rand.IntN(8) {
	case 0, 1:
		_, err := c.Receive(ctx, nil)
		s.expect("receive", err)
	case 2, 3:
		s.expect("send wait", c.SendWait(ctx, m))
	case 4:
		m.Key, m.Tag, m.TTL = rand.Uint64N(9), rand.Uint64N(9), time.Millisecond
		s.expect("message", c.SendMessage(m))
	default:
		s.expect("send", c.Send(m.Channel, m.Payload))
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
	cfg := godwit.Config{Shards: 2, MaxConnections: 200, MaxStreams: 4, IdleTimeout: 2 * time.Second, Linger: 500 * time.Millisecond}
	s := &storm{t: t, server: listen(t, cfg), other: listen(t, cfg), pool: godwit.NewPool(nil)}
	s.group = s.server.NewGroup()
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
	// Who reads or writes a stream whose deadline somebody else has taken away waits until it is closed.
	time.Sleep(time.Until(stop))
	s.mu.Lock()
	for _, st := range s.streams {
		_ = st.Close() // some are closed already
	}
	s.mu.Unlock()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		t.Fatal("the watchdog: a call does not return")
	}
	_ = s.pool.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.CloseWithError(0, "") // some are closed already
	}
	s.mu.Unlock()
	t.Logf("%s engine: %d calls, %d connections, %d messages in groups", s.server.Stats().Engine, s.calls.Load(), s.server.Stats().Opened, s.server.Stats().GroupDeliveries)
}
