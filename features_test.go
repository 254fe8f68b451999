package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
)

func exchange(t testing.TB, c godwit.Conn, text string) {
	t.Helper()
	if err := c.Send(godwit.OrderedChannel, []byte(text)); err != nil {
		t.Fatal(err)
	}
	m, err := c.Receive(deadline(t, 10*time.Second), nil)
	if err != nil || string(m.Payload) != text {
		t.Fatalf("sent %q, got %q, %v", text, m.Payload, err)
	}
}

func TestEndpointDialsFromItsOwnSockets(t *testing.T) {
	server := listen(t, godwit.Config{Handler: echo, Shards: 2})
	client := listen(t, godwit.Config{Shards: 2})
	for i := range 20 {
		c, err := client.Dial(deadline(t, 10*time.Second), server.Addr().String(), nil)
		if err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
		if c.Endpoint() != client {
			t.Fatal("the connection is another endpoint's")
		}
		exchange(t, c, fmt.Sprint("hello ", i))
		if i%2 == 0 {
			c.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a dialed connection was accepted: %v", err)
	}
}

func TestShardsShareTheConnections(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 4})
	for i := range 30 {
		exchange(t, dial(t, e, godwit.Config{}), fmt.Sprint(i))
	}
}

func TestAsyncKeepsTheOrderOfEachConnection(t *testing.T) {
	const conns, messages = 8, 200
	var mu sync.Mutex
	got := map[godwit.Conn][]string{}
	var opened, closed, at, most atomic.Int32
	done := make(chan struct{})
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Async(godwit.Handler{
		Open: func(godwit.Conn) error { opened.Add(1); return nil },
		Message: func(c godwit.Conn, m godwit.Message) {
			n := at.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(100 * time.Microsecond)
			mu.Lock()
			got[c] = append(got[c], string(m.Payload))
			mu.Unlock()
			at.Add(-1)
		},
		Close: func(c godwit.Conn, err error) {
			mu.Lock()
			n := len(got[c])
			mu.Unlock()
			if n != messages {
				t.Errorf("closed after %d of %d messages", n, messages)
			}
			if closed.Add(1) == conns {
				close(done)
			}
		},
	}, 4)})
	for range conns {
		c := dial(t, e, godwit.Config{})
		for i := range messages {
			if err := c.Send(0, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%d of %d are closed", closed.Load(), conns)
	}
	for _, list := range got {
		for i, s := range list {
			if s != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, s)
			}
		}
	}
	if opened.Load() != conns || most.Load() > 4 {
		t.Errorf("%d opened, up to %d at once", opened.Load(), most.Load())
	}
}

func TestPanicClosesOnlyItsConnection(t *testing.T) {
	values := make(chan any, 1)
	e := listen(t, godwit.Config{
		Shards: 1,
		Panic:  func(_ godwit.Conn, v any) { values <- v },
		Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
			if string(m.Payload) == "bomb" {
				panic("boom")
			}
			_ = c.Send(m.Channel, m.Payload)
		}},
	})
	good, bad := dial(t, e, godwit.Config{}), dial(t, e, godwit.Config{})
	_ = bad.Send(0, []byte("bomb"))
	if v := <-values; v != "boom" {
		t.Errorf("caught %v", v)
	}
	<-bad.Done()
	var closed *godwit.CloseError
	if !errors.As(bad.Err(), &closed) || !closed.Transport || closed.Code != 1 {
		t.Errorf("the client saw %v", bad.Err())
	}
	exchange(t, good, "still here")
	if n := e.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
}

func TestRetainedMessagesOutliveTheirHandler(t *testing.T) {
	got := make(chan *godwit.Retained, 100)
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{
		Message: func(_ godwit.Conn, m godwit.Message) { got <- m.Retain() },
	}})
	c := dial(t, e, godwit.Config{})
	for i := range 100 {
		_ = c.Send(0, []byte(strings.Repeat(fmt.Sprint(i, " "), i*i)))
	}
	for i := range 100 {
		m := <-got
		other := m.Share()
		m.Release()
		if string(other.Payload) != strings.Repeat(fmt.Sprint(i, " "), i*i) {
			t.Fatalf("message %d of %d bytes has changed", i, len(other.Payload))
		}
		other.Release()
	}
}

func TestStatsOfAConnectionFromAnywhere(t *testing.T) {
	fromHandler := make(chan godwit.ConnStats, 1)
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		st, err := c.Stats()
		if err != nil {
			t.Error(err)
		}
		fromHandler <- st
		_ = c.Send(m.Channel, m.Payload)
	}}})
	c := dial(t, e, godwit.Config{})
	exchange(t, c, "hello")
	if st := <-fromHandler; st.Window <= 0 || st.MaxDatagram < 1200 {
		t.Errorf("in the handler: %+v", st)
	}
	st, err := c.Stats()
	if err != nil || st.RTT <= 0 || st.MinRTT <= 0 || st.Window <= 0 {
		t.Errorf("outside: %+v, %v", st, err)
	}
}

func TestTickSeesTheConnectionsOfItsShard(t *testing.T) {
	var most atomic.Int64
	e := listen(t, godwit.Config{Shards: 1, TickInterval: 5 * time.Millisecond, Handler: godwit.Handler{
		Tick: func(s *godwit.Shard, now time.Time) {
			n := int64(0)
			for c := range s.Conns() {
				n++
				_ = c.Send(godwit.SequencedChannel, []byte("state"))
			}
			most.Store(max(most.Load(), n))
		},
	}})
	for range 3 {
		c := dial(t, e, godwit.Config{})
		m, err := c.Receive(deadline(t, 5*time.Second), nil)
		if err != nil || string(m.Payload) != "state" {
			t.Fatal(m, err)
		}
	}
	if n := most.Load(); n != 3 {
		t.Errorf("a tick saw %d connections", n)
	}
}

func TestOutcomesAreReported(t *testing.T) {
	outcomes := make(chan [2]uint64, 10)
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{Handler: godwit.Handler{
		Outcome: func(_ godwit.Conn, tag uint64, o godwit.Outcome) { outcomes <- [2]uint64{tag, uint64(o)} },
	}})
	if err := c.SendMessage(godwit.Message{Payload: []byte("x"), Tag: 7}); err != nil {
		t.Fatal(err)
	}
	if got := <-outcomes; got != [2]uint64{7, uint64(godwit.Delivered)} {
		t.Errorf("got %v", got)
	}
}

func TestTagsBelongToTheirConnection(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{
		Open:    func(c godwit.Conn) error { c.SetTag(c.Tag() + 5); return nil },
		Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, fmt.Append(nil, c.Tag())) },
	}})
	for range 3 {
		c := dial(t, e, godwit.Config{})
		_ = c.Send(0, nil)
		if m, err := c.Receive(deadline(t, 5*time.Second), nil); err != nil || string(m.Payload) != "5" {
			t.Fatal(string(m.Payload), err)
		}
		c.Close()
	}
}

func TestReportHasTheFigures(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{})
	exchange(t, c, "hello")
	time.Sleep(250 * time.Millisecond) // figures are published ten times a second
	var b strings.Builder
	if err := e.WriteReport(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "connections 1 (0 half open, 0 hibernating)") || !strings.Contains(b.String(), "sent 1 (") {
		t.Error(b.String())
	}
}

func TestBadConfigurationsAreNamed(t *testing.T) {
	for name, cfg := range map[string]godwit.Config{
		"Network":          {Network: "tcp"},
		"Shards":           {Shards: 33},
		"MaxMessageSize":   {MaxMessageSize: 17 << 20},
		"ReceiveBuffer":    {ReceiveBuffer: 1000},
		"HandshakeTimeout": {HandshakeTimeout: -1},
		"Channels":         {Channels: map[godwit.Channel]godwit.ChannelConfig{256: {}}},
		"Channels[3].Mode": {Channels: map[godwit.Channel]godwit.ChannelConfig{3: {Mode: 9}}},
		"Tuning.Spin":      {Tuning: godwit.Tuning{Spin: 2 * time.Millisecond}},
		"Tuning.Congest":   {Tuning: godwit.Tuning{Congestion: "vegas"}},
	} {
		if _, err := godwit.Listen("127.0.0.1:0", &cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, addr := range []string{"", "host", "host:0", "host:x", "http://host:1", "godwit://host:1/path", "godwit://host:1?pin=nonsense"} {
		if _, err := godwit.Dial(context.Background(), addr, nil); err == nil {
			t.Errorf("dialed %q", addr)
		}
	}
}

func TestEveryOpenHasItsClose(t *testing.T) {
	var opened, closed atomic.Int64
	e := listen(t, godwit.Config{Handler: godwit.Handler{
		Open:  func(godwit.Conn) error { opened.Add(1); return nil },
		Close: func(godwit.Conn, error) { closed.Add(1) },
	}})
	for i := range 50 {
		c := dial(t, e, godwit.Config{})
		time.Sleep(time.Duration(i%5) * 100 * time.Microsecond)
		c.CloseWithError(1, "not even a word") // the server may still be computing the handshake
	}
	waitFor(t, 5*time.Second, "every connection that was opened is closed, and nothing else", func() bool {
		return e.Stats().Closed == 50 && opened.Load() == closed.Load()
	})
	t.Logf("%d were opened, %d closed", opened.Load(), closed.Load())
}

func TestZeroConnIsHarmless(t *testing.T) {
	var c godwit.Conn
	if c.Send(0, nil) == nil || c.Close() == nil || c.Err() == nil || c.Tag() != 0 || c.State() != godwit.StateGone || c.RemoteAddr().IsValid() {
		t.Error("the zero Conn pretends to be one")
	}
	c.SetTag(1)
	c.Ping()
	<-c.Done()
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- godwit.Serve(ctx, "127.0.0.1:0", echo, nil) }()
	time.Sleep(20 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDialByNameAndByEitherFamily(t *testing.T) {
	e, err := godwit.Listen(":0", &godwit.Config{Handler: echo, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	hosts := []string{"localhost", "127.0.0.1", "", "0.0.0.0"}
	if ipv6() == nil {
		hosts = append(hosts, "[::1]", "[::]")
	}
	for _, host := range hosts {
		c, err := godwit.Dial(deadline(t, 10*time.Second), fmt.Sprintf("%s:%d", host, e.Addr().Port()), nil)
		if err != nil {
			t.Fatal(host, err)
		}
		exchange(t, c, "hello over "+host)
		c.Close()
	}
}

func TestWaitingInAHandlerIsAnError(t *testing.T) {
	errs := make(chan error, 4)
	var e *godwit.Endpoint
	ready := make(chan struct{})
	e = listen(t, godwit.Config{Shards: 1, SendBuffer: 1 << 10, Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		<-ready
		for range 3 {
			if err := c.SendWait(context.Background(), godwit.Message{Payload: make([]byte, 900)}); err != nil {
				errs <- err
				break
			}
		}
		errs <- e.Close()
		errs <- e.Shutdown(context.Background())
	}}})
	close(ready)
	c := dial(t, e, godwit.Config{})
	_ = c.Send(0, nil)
	for range 3 {
		select {
		case err := <-errs:
			if err == nil || !strings.Contains(err.Error(), "from a Handler") {
				t.Errorf("got %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a call in the handler waits for ever")
		}
	}
}
