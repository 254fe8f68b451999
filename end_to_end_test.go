package godwit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit.example/godwit"
)

func TestMain(m *testing.M) {
	// Tests share one development identity, in a directory of their own.
	dir, err := os.MkdirTemp("", "godwit")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	goleak.VerifyTestMain(patient{m}, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// patient gives the last closing connections the time they take.
type patient struct{ *testing.M }

func (p patient) Run() int {
	code := p.M.Run()
	for range 100 {
		if goleak.Find() == nil {
			break
		}
	}
	return code
}

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// listen starts a server on loopback that is closed at the end of the test.
func listen(t testing.TB, cfg godwit.Config) *godwit.Endpoint {
	t.Helper()
	e, err := godwit.Listen("127.0.0.1:0", &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func dial(t testing.TB, e *godwit.Endpoint, cfg godwit.Config) godwit.Conn {
	t.Helper()
	c, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var echo = godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, m.Payload) }}

func TestEchoOnTheOrderedChannel(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{})
	ctx := deadline(t, 10*time.Second)
	for i := range 100 {
		want := fmt.Sprintf("message %d", i)
		if err := c.Send(godwit.OrderedChannel, []byte(want)); err != nil {
			t.Fatal(err)
		}
		m, err := c.Receive(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Payload) != want || m.Channel != godwit.OrderedChannel {
			t.Fatalf("got %q on channel %d, want %q", m.Payload, m.Channel, want)
		}
	}
}

func TestEveryModeCarriesMessages(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	for ch := range godwit.Channel(6) {
		t.Run(fmt.Sprint("channel ", ch), func(t *testing.T) {
			c := dial(t, e, godwit.Config{})
			ctx := deadline(t, 10*time.Second)
			for i := range 50 {
				want := fmt.Sprintf("message %d", i)
				if err := c.SendMessage(godwit.Message{Channel: ch, Key: uint64(i % 3), Payload: []byte(want)}); err != nil {
					t.Fatal(err)
				}
				m, err := c.Receive(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				if string(m.Payload) != want || m.Channel != ch {
					t.Fatalf("got %q on channel %d, want %q", m.Payload, m.Channel, want)
				}
			}
		})
	}
}

func TestMessagesOfEverySizeArriveWhole(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1, MaxMessageSize: 4 << 20, SendBuffer: 16 << 20, ReceiveBuffer: 16 << 20})
	c := dial(t, e, godwit.Config{MaxMessageSize: 4 << 20, SendBuffer: 16 << 20, ReceiveBuffer: 16 << 20})
	ctx := deadline(t, 20*time.Second)
	for _, size := range []int{0, 1, 63, 64, 1000, 1199, 1200, 1400, 1452, 1500, 10_000, 65_535, 65_536, 100_000, 262_144, 1 << 20, 4 << 20} {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(i*7 + size)
		}
		if err := c.Send(0, p); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		m, err := c.Receive(ctx, nil)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(m.Payload, p) {
			t.Fatalf("%d bytes came back as %d other ones", size, len(m.Payload))
		}
	}
}

func TestTooLargeMessageIsRefusedWithTheLimit(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1, MaxMessageSize: 1000})
	c := dial(t, e, godwit.Config{})
	err := c.Send(0, make([]byte, 1001))
	var large *godwit.TooLargeError
	if !errors.As(err, &large) || large.Size != 1001 || large.Max != 1000 {
		t.Fatalf("got %v", err)
	}
	if err := c.Send(0, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
}

func TestCloseDeliversWhatWasSent(t *testing.T) {
	got := make(chan int, 1)
	n := 0
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{
		Message: func(godwit.Conn, godwit.Message) { n++ },
		Close:   func(_ godwit.Conn, err error) { got <- n },
	}})
	c := dial(t, e, godwit.Config{})
	for range 500 {
		if err := c.Send(0, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(0, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a send after Close returned %v", err)
	}
	select {
	case n := <-got:
		if n != 500 {
			t.Errorf("%d of 500 messages were delivered", n)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server's connection did not end")
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Err is %v", err)
	}
}

func TestPeerSeesTheCodeAndReason(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) { c.CloseWithError(42, "enough of "+string(m.Payload)) },
	}})
	c := dial(t, e, godwit.Config{})
	if err := c.Send(0, []byte("this")); err != nil {
		t.Fatal(err)
	}
	_, err := c.Receive(deadline(t, 10*time.Second), nil)
	var closed *godwit.CloseError
	if !errors.As(err, &closed) || closed.Code != 42 || closed.Reason != "enough of this" || !closed.Remote || closed.Transport {
		t.Fatalf("got %#v", err)
	}
	if !errors.Is(err, net.ErrClosed) || c.State() == godwit.StateOpen {
		t.Errorf("state is %v", c.State())
	}
}

func TestOpenMayRefuse(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{
		Open: func(godwit.Conn) error { return &godwit.CloseError{Code: 7, Reason: "full house"} },
	}})
	c, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), nil)
	if err == nil { // the refusal may arrive after the handshake is complete on this side
		<-c.Done()
		err = c.Err()
	}
	var closed *godwit.CloseError
	if !errors.As(err, &closed) || closed.Code != 7 || closed.Reason != "full house" {
		t.Fatalf("got %v", err)
	}
}

func TestWrongPinIsRefused(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	_, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), &godwit.Config{Pins: []godwit.Pin{{1, 2, 3}}})
	var failed *godwit.HandshakeError
	if !errors.As(err, &failed) || failed.Stage != "tls" || failed.Hint == "" {
		t.Fatalf("got %v", err)
	}
	url := fmt.Sprintf("godwit://%v?pin=%v", e.Addr(), e.Identity())
	c, err := godwit.Dial(deadline(t, 10*time.Second), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestDialingNobodyTimesOut(t *testing.T) {
	s, err := net.ListenPacket("udp", "127.0.0.1:0") // takes packets and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = godwit.Dial(context.Background(), s.LocalAddr().String(), &godwit.Config{HandshakeTimeout: 200 * time.Millisecond})
	var failed *godwit.HandshakeError
	if !errors.As(err, &failed) || !failed.Timeout() || failed.Stage != "first answer" {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err = godwit.Dial(ctx, s.LocalAddr().String(), nil); err != context.DeadlineExceeded {
		t.Fatalf("got %v", err)
	}
}

func TestSilenceEndsAConnection(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{IdleTimeout: 150 * time.Millisecond, KeepAlive: -1})
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("still there")
	}
	var idle *godwit.IdleTimeoutError
	var timeout net.Error
	if err := c.Err(); !errors.As(err, &idle) || !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestKeepAliveKeepsAConnection(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{IdleTimeout: 300 * time.Millisecond, KeepAlive: 50 * time.Millisecond})
	select {
	case <-c.Done():
		t.Fatal(c.Err())
	case <-time.After(time.Second):
	}
}

func TestFullBufferRefusesAndThenSaysWritable(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, ReceiveBuffer: 64 << 10, MaxMessageSize: 16 << 10}) // nobody takes the messages yet
	writable := make(chan struct{}, 10)
	c := dial(t, e, godwit.Config{SendBuffer: 32 << 10, Handler: godwit.Handler{
		Writable: func(godwit.Conn) { writable <- struct{}{} },
	}})
	// One channel may fill two thirds of the receiver's buffer. The sender is refused when its own is full, and told when half is free.
	const cost, window, buffer = 1032, (64 << 10) * 2 / 3, 32 << 10
	sent := 0
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := c.Send(0, make([]byte, 1000))
		if err == nil {
			sent++
			continue
		}
		if err != godwit.ErrWouldBlock {
			t.Fatal(err)
		}
		select {
		case <-writable:
			continue
		case <-time.After(300 * time.Millisecond):
		}
		if e.Stats().MessagesReceived == window/cost {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the receiver's window did not fill")
		}
	}
	if least, most := window/cost+buffer/2/cost, window/cost+buffer/cost; sent < least || sent > most {
		t.Errorf("%d messages went out, want %d to %d", sent, least, most)
	}
	server, err := e.Accept(deadline(t, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for range sent {
		if _, err := server.Receive(deadline(t, 5*time.Second), nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-writable:
	case <-time.After(5 * time.Second):
		t.Fatal("Writable was not called")
	}
	if err := c.Send(0, nil); err != nil {
		t.Error(err)
	}
}

func TestSendWaitWaits(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, ReceiveBuffer: 64 << 10, MaxMessageSize: 16 << 10})
	c := dial(t, e, godwit.Config{SendBuffer: 32 << 10})
	const n = 2000
	done := make(chan error, 1)
	go func() {
		for i := range n {
			m := godwit.Message{Payload: fmt.Appendf(nil, "%d", i)}
			m.Payload = append(m.Payload, make([]byte, 500)...)
			if err := c.SendWait(context.Background(), m); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	server, err := e.Accept(deadline(t, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t, 20*time.Second)
	var buf []byte
	for i := range n {
		m, err := server.Receive(ctx, buf)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(i); string(m.Payload[:len(want)]) != want {
			t.Fatalf("message %d is %q", i, m.Payload[:10])
		}
		buf = m.Payload
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPlainModeNeedsBothEnds(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1, Plain: true})
	c := dial(t, e, godwit.Config{Plain: true})
	if err := c.Send(0, []byte("in the clear")); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Receive(deadline(t, 5*time.Second), nil); err != nil || string(m.Payload) != "in the clear" {
		t.Fatal(m, err)
	}
	c2, err := godwit.Dial(deadline(t, 5*time.Second), e.Addr().String(), nil)
	if err == nil {
		<-c2.Done()
		t.Fatal("an encrypted client reached a plain server")
	}
	t.Log(err)
}

func TestChannelMismatchNamesTheChannel(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1, Channels: map[godwit.Channel]godwit.ChannelConfig{9: {Mode: godwit.Unreliable}}})
	_, err := godwit.Dial(deadline(t, 5*time.Second), e.Addr().String(), nil)
	if err == nil || !strings.Contains(err.Error(), "channel 9") {
		t.Fatalf("got %v", err)
	}
}

func TestShutdownDrains(t *testing.T) {
	e := listen(t, godwit.Config{Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		for range 200 {
			_ = c.Send(0, make([]byte, 1000))
		}
	}}, Shards: 2})
	c := dial(t, e, godwit.Config{})
	if err := c.Send(0, nil); err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t, 10*time.Second)
	if _, err := c.Receive(ctx, nil); err != nil { // the burst is on its way
		t.Fatal(err)
	}
	if err := e.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	n := 1
	for {
		_, err := c.Receive(ctx, nil)
		if err != nil {
			var closed *godwit.CloseError
			if !errors.As(err, &closed) || !closed.Remote {
				t.Errorf("ended with %v", err)
			}
			break
		}
		n++
	}
	if n != 200 {
		t.Errorf("%d of 200 messages survived the shutdown", n)
	}
	if _, err := e.Accept(ctx); err == nil {
		t.Error("a closed endpoint accepts")
	}
}

func TestThousandDials(t *testing.T) {
	const n = 1000
	var opened atomic.Int64
	e := listen(t, godwit.Config{Shards: 2, Handler: godwit.Handler{
		Open:    func(godwit.Conn) error { opened.Add(1); return nil },
		Message: echo.Message,
	}})
	before := runtime.NumGoroutine()
	ctx := deadline(t, 60*time.Second)
	conns := make([]godwit.Conn, n)
	var wg sync.WaitGroup
	errs := make(chan error, n)
	gate := make(chan struct{}, 64)
	for i := range n {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			c, err := godwit.Dial(ctx, e.Addr().String(), nil)
			if err != nil {
				errs <- err
				return
			}
			conns[i] = c
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatalf("%d failed, first: %v", len(errs)+1, err)
	default:
	}
	time.Sleep(50 * time.Millisecond)
	if extra := runtime.NumGoroutine() - before; extra > 20 {
		t.Errorf("%d goroutines for %d client connections", extra, n)
	}
	for i, c := range conns {
		if err := c.Send(0, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range conns {
		m, err := c.Receive(ctx, nil)
		if err != nil || string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("connection %d: %q, %v", i, m.Payload, err)
		}
		c.Close()
	}
	if got := opened.Load(); got != n {
		t.Errorf("%d connections were opened", got)
	}
}
