package godwit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
)

// silent is an address at which nobody answers.
func silent(t *testing.T) string {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.LocalAddr().String()
}

// blockingPair returns both ends of a connection of a server without handlers.
func blockingPair(t *testing.T, cfg godwit.Config) (server *godwit.Endpoint, c, peer godwit.Conn) {
	t.Helper()
	server = listen(t, cfg)
	c = dial(t, server, godwit.Config{SendBuffer: 64 << 10})
	peer, err := server.Accept(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return server, c, peer
}

// wait is a call that does not return before its context ends.
type wait struct {
	name string
	call func(context.Context) error
	want error // instead of the context's; the call is one that takes no context
}

// stuck returns every call of the blocking API in a state in which it would wait for ever.
func stuck(t *testing.T) []wait {
	t.Helper()
	nobody := silent(t)
	server, c, peer := blockingPair(t, godwit.Config{MaxStreams: 1, Shards: 1})
	stream, err := c.Stream(deadline(t, 10*time.Second)) // the only one there may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	if _, err := peer.AcceptStream(deadline(t, 10*time.Second)); err != nil { // nobody reads it
		t.Fatal(err)
	}
	_, full, _ := blockingPair(t, godwit.Config{Shards: 1, MaxMessageSize: 1024, ReceiveBuffer: 16 << 10})
	more := godwit.Message{Payload: []byte("nobody takes these")}
	for sent := true; sent; time.Sleep(100 * time.Millisecond) { // what is acknowledged meanwhile makes room again
		for sent = false; full.SendMessage(more) == nil; {
			sent = true
		}
	}
	_, shared, _ := blockingPair(t, godwit.Config{Shards: 1})
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	others.Go(func() { _, _ = shared.Receive(ctx, nil) })
	t.Cleanup(func() { cancel(); others.Wait() })
	return []wait{
		{"Dial", func(ctx context.Context) error { _, err := godwit.Dial(ctx, nobody, nil); return err }, nil},
		{"Endpoint.Dial", func(ctx context.Context) error { _, err := server.Dial(ctx, nobody, nil); return err }, nil},
		{"Accept", func(ctx context.Context) error { _, err := server.Accept(ctx); return err }, nil},
		{"Receive", func(ctx context.Context) error { _, err := c.Receive(ctx, nil); return err }, nil},
		{"Receive beside another", func(ctx context.Context) error { _, err := shared.Receive(ctx, nil); return err }, nil},
		{"SendWait", func(ctx context.Context) error { return full.SendWait(ctx, more) }, nil},
		{"Stream", func(ctx context.Context) error { _, err := c.Stream(ctx); return err }, nil},
		{"AcceptStream", func(ctx context.Context) error { _, err := c.AcceptStream(ctx); return err }, nil},
		{"Pool.Get", func(ctx context.Context) error {
			pool := godwit.NewPool(nil)
			defer pool.Close() // it would go on dialing
			_, err := pool.Get(ctx, nobody)
			return err
		}, nil},
		{"Stream.Read", func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { _ = stream.SetReadDeadline(time.Unix(1, 0)) })()
			_, err := stream.Read(make([]byte, 1))
			_ = stream.SetReadDeadline(time.Time{})
			return err
		}, os.ErrDeadlineExceeded},
		{"Stream.Write", func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { _ = stream.SetWriteDeadline(time.Unix(1, 0)) })()
			_, err := io.Copy(stream, neverEnding{})
			_ = stream.SetWriteDeadline(time.Time{})
			return err
		}, os.ErrDeadlineExceeded},
		{"NetListener.Accept", func(ctx context.Context) error {
			l := server.NetListener()
			defer context.AfterFunc(ctx, func() { l.Close() })()
			_, err := l.Accept()
			return err
		}, net.ErrClosed},
	}
}

// neverEnding is a file without an end.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// promptly is how soon a call returns after its context has ended, on a machine that is busy with other tests too.
const promptly = 5 * time.Second

func TestEveryWaitEndsWithItsContext(t *testing.T) {
	calls := stuck(t)
	before := runtime.NumGoroutine()
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for _, w := range calls {
		t.Run(w.name, func(t *testing.T) {
			for i := range rounds {
				ctx, cancel := context.WithCancel(context.Background())
				var ended time.Time
				switch {
				case i%4 == 0 && w.want == nil:
					ended = time.Now()
					cancel() // at the first moment
				default:
					at := rand.N(20 * time.Millisecond)
					ended = time.Now().Add(at)
					time.AfterFunc(at, cancel)
				}
				err := w.call(ctx)
				took := time.Since(ended)
				if ctx.Err() == nil {
					t.Fatalf("it did not wait: %v", err)
				}
				if w.want == nil && err != context.Canceled || w.want != nil && !errors.Is(err, w.want) { //nolint:errorlint // it is promised bare
					t.Fatalf("error %v", err)
				}
				if took > promptly {
					t.Fatalf("it returned %v after its context had ended", took)
				}
			}
		})
	}
	// Engines of dials that were given up end a little later.
	waitFor(t, 10*time.Second, "no call left a goroutine behind", func() bool { return runtime.NumGoroutine() <= before })
}

// TestWaitsGoOnAfterCancel cancels each wait that has a success, lets what it waits for happen, and calls again: nothing was lost.
func TestWaitsGoOnAfterCancel(t *testing.T) {
	server, c, peer := blockingPair(t, godwit.Config{Shards: 1})
	for i := range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(rand.N(300*time.Microsecond), cancel)
		want := []byte{byte(i)}
		if err := peer.SendWait(context.Background(), godwit.Message{Payload: want}); err != nil {
			t.Fatal(err)
		}
		m, err := c.Receive(ctx, nil)
		if err != nil {
			if m, err = c.Receive(deadline(t, 10*time.Second), nil); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(m.Payload, want) {
			t.Fatalf("message %d after a cancelled Receive is %x", i, m.Payload)
		}
	}
	for range 50 {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(rand.N(300*time.Microsecond), cancel)
		s, err := c.Stream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got, err := peer.AcceptStream(ctx)
		if err != nil {
			if got, err = peer.AcceptStream(deadline(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if got.(*godwit.Stream).ID() != s.(*godwit.Stream).ID() {
			t.Fatal("a cancelled AcceptStream took a stream with it")
		}
		_, _ = s.Close(), got.Close()
	}
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(rand.N(300*time.Microsecond), cancel)
		want := dial(t, server, godwit.Config{})
		got, err := server.Accept(ctx)
		if err != nil {
			if got, err = server.Accept(deadline(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if _ = want.CloseWithError(7, ""); got.State() != godwit.StateOpen && got.Err() == nil {
			t.Fatal("a connection came that is not open")
		}
	}
}

// TestCancelledDialsLeaveNothing gives up dials to a server that answers, at any moment of the handshake.
func TestCancelledDialsLeaveNothing(t *testing.T) {
	server := listen(t, godwit.Config{Shards: 1, Handler: echo, IdleTimeout: 2 * time.Second, HandshakeTimeout: 2 * time.Second})
	before := runtime.NumGoroutine()
	dials := 200
	if testing.Short() {
		dials = 50
	}
	var done int
	for i := range dials {
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(rand.N(4*time.Millisecond<<(2*(i%2))), cancel)
		c, err := godwit.Dial(ctx, server.Addr().String(), nil)
		timer.Stop()
		cancel()
		switch {
		case err == nil:
			done++
			if err := c.CloseWithError(0, ""); err != nil {
				t.Error(err)
			}
		case err != context.Canceled: //nolint:errorlint // it is promised bare
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d dials were quicker than their end", done, dials)
	waitFor(t, 20*time.Second, "neither a connection nor a goroutine is left", func() bool {
		return server.Stats().Connections == 0 && runtime.NumGoroutine() <= before
	})
	if t.Failed() {
		t.Logf("%d connections of the server, %d goroutines after %d:", server.Stats().Connections, runtime.NumGoroutine(), before)
		_ = pprof.Lookup("goroutine").WriteTo(t.Output(), 1)
	}
}

// TestShutdownEndsWithItsContext shuts down an endpoint whose peer takes nothing, so that it would wait for Config.Linger.
func TestShutdownEndsWithItsContext(t *testing.T) {
	for i := range 6 {
		server, c, peer := blockingPair(t, godwit.Config{Shards: 2, Linger: time.Hour, SendBuffer: 1 << 20})
		for peer.Send(godwit.OrderedChannel, make([]byte, 1000)) == nil {
		}
		ctx, cancel := context.WithCancel(context.Background())
		if i%2 == 0 {
			cancel()
		} else {
			time.AfterFunc(rand.N(20*time.Millisecond), cancel)
		}
		began := time.Now()
		err := server.Shutdown(ctx)
		cancel()
		if took := time.Since(began); err != context.Canceled || took > promptly { //nolint:errorlint // it is promised bare
			t.Fatalf("%v after %v", err, took)
		}
		<-peer.Done()
		_ = c.CloseWithError(0, "") // the end of the server may have come already
	}
}

// TestShutdownsEndTogether has several calls of Shutdown wait for one endpoint: when one of them ends it, all return.
func TestShutdownsEndTogether(t *testing.T) {
	ends := []struct {
		name string
		end  func(server *godwit.Endpoint) error
	}{
		{"the last connection", nil},
		{"another Shutdown, cut off", func(server *godwit.Endpoint) error {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if err := server.Shutdown(ctx); err != context.DeadlineExceeded { //nolint:errorlint // it is promised bare
				return err
			}
			return nil
		}},
		{"Close", func(server *godwit.Endpoint) error { return server.Close() }},
	}
	for _, test := range ends {
		t.Run(test.name, func(t *testing.T) {
			server, c, peer := blockingPair(t, godwit.Config{Shards: 2, Linger: time.Hour})
			for peer.Send(godwit.OrderedChannel, make([]byte, 1000)) == nil {
			}
			done := make(chan error, 3)
			for range cap(done) {
				go func() { done <- server.Shutdown(context.Background()) }()
			}
			time.Sleep(20 * time.Millisecond)
			if test.end == nil {
				_ = c.CloseWithError(1, "enough")
			} else if err := test.end(server); err != nil {
				t.Errorf("%v", err)
			}
			var clean int
			for range cap(done) {
				select {
				case err := <-done:
					if err == nil {
						clean++
					} else if !errors.Is(err, net.ErrClosed) {
						t.Errorf("%v", err)
					}
				case <-time.After(promptly):
					t.Fatal("a Shutdown waits for ever")
				}
			}
			if want := test.end == nil; (clean > 0) != want {
				t.Errorf("%d of the calls closed the endpoint", clean)
			}
		})
	}
}

// TestRefusedWaitLeavesTheConnectionWhole calls Receive where it may not wait; who waits elsewhere still hears of the end.
func TestRefusedWaitLeavesTheConnectionWhole(t *testing.T) {
	asked := make(chan error, 1)
	var once sync.Once
	cfg := godwit.Config{TickInterval: 5 * time.Millisecond, Handler: godwit.Handler{Tick: func(s *godwit.Shard, _ time.Time) {
		for c := range s.Conns() {
			once.Do(func() { _, err := c.Receive(context.Background(), nil); asked <- err })
		}
	}}}
	server := listen(t, godwit.Config{Shards: 1, Handler: echo})
	c, err := godwit.Dial(deadline(t, 10*time.Second), server.Addr().String(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := c.Done()
	if err := <-asked; err == nil {
		t.Fatal("a handler waited")
	}
	exchange(t, c, "still there")
	_ = c.CloseWithError(1, "")
	select {
	case <-done:
	case <-time.After(promptly):
		t.Error("the end of the connection is not told")
	}
}
