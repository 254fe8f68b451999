package app

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit.example/godwit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serveEcho starts the echo and connects to it. A size of 0 is the default.
func serveEcho(t *testing.T, sendBuffer, clientMax int) godwit.Conn {
	t.Helper()
	a, ok := New("echo")
	if !ok {
		t.Fatal("there is no echo")
	}
	identity := t.TempDir()
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: a.Handler, SendBuffer: sendBuffer, Linger: 100 * time.Millisecond, Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	c, err := godwit.Dial(t.Context(), server.Addr().String(), &godwit.Config{Identity: identity, ReceiveBuffer: 512 << 10, MaxMessageSize: clientMax})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	return c
}

func TestEchoKeepsOrderBehindASlowReader(t *testing.T) {
	c := serveEcho(t, 16<<10, 0)
	const messages, size = 2_000, 1_000
	sent := make(chan error, 1)
	go func() {
		p := make([]byte, size)
		for i := range messages {
			binary.BigEndian.PutUint64(p, uint64(i))
			if err := c.SendWait(t.Context(), godwit.Message{Payload: p, Channel: godwit.OrderedChannel}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	buf := make([]byte, 0, size)
	for i := range messages {
		m, err := c.Receive(t.Context(), buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(m.Payload); got != uint64(i) || len(m.Payload) != size {
			t.Fatalf("message %d of %d bytes came back as number %d", got, len(m.Payload), i)
		}
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestEchoGivesUpOnPeerThatNeverReads(t *testing.T) {
	c := serveEcho(t, 256<<10, 0)
	m := godwit.Message{Payload: make([]byte, 64<<10), Channel: godwit.OrderedChannel}
	var err error
	for range 4 * maxBacklog / len(m.Payload) {
		if err = c.SendWait(t.Context(), m); err != nil {
			break
		}
	}
	if err == nil { // the close may still be on its way
		select {
		case <-c.Done():
			err = c.Err()
		case <-time.After(10 * time.Second):
			t.Fatal("the echo keeps a connection whose peer never reads")
		}
	}
	var closed *godwit.CloseError
	if !errors.Is(err, net.ErrClosed) || !errors.As(err, &closed) || !closed.Remote || closed.Code != closeCode {
		t.Errorf("it ends with %v", err)
	}
}

func TestEchoSaysWhyItCannotAnswer(t *testing.T) {
	c := serveEcho(t, 0, 32<<10)
	if err := c.SendWait(t.Context(), godwit.Message{Payload: make([]byte, 64<<10)}); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	var closed *godwit.CloseError
	if err := c.Err(); !errors.As(err, &closed) || !closed.Remote || closed.Code != closeCode || closed.Reason == "" {
		t.Errorf("it ends with %v", err)
	}
}

func TestUnknownApplication(t *testing.T) {
	if _, ok := New("nonsense"); ok {
		t.Error("there is an application called nonsense")
	}
	for _, name := range Names() {
		if _, ok := New(name); !ok {
			t.Errorf("%s is listed and unknown", name)
		}
	}
}
