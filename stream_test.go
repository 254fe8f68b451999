package godwit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"godwit.example/godwit"
)

// streamConns are two ends of a connection over loopback.
func streamConns(t testing.TB, server, client *godwit.Config) (e *godwit.Endpoint, dialed, accepted godwit.Conn) {
	t.Helper()
	e, err := godwit.Listen("127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dialed, err = godwit.Dial(ctx, e.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = e.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e, dialed, accepted
}

func TestAStreamEndsInEachDirection(t *testing.T) {
	e, dialed, accepted := streamConns(t, nil, nil)
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() {
		c, err := accepted.AcceptStream(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if n, err := io.Copy(c, c); n != 4<<20 || err != nil {
			t.Errorf("echoed %d bytes, %v", n, err)
		}
	}()
	c, err := dialed.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := bytes.Repeat([]byte("godwit flies "), 4<<20/13+1)[:4<<20]
	go func() {
		if _, err := c.Write(want); err != nil {
			t.Error(err)
		}
		if err := c.(*godwit.Stream).CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write behind CloseWrite: %v", err)
	}
}

func TestStreamsBeyondTheBacklogAreReset(t *testing.T) {
	e, dialed, _ := streamConns(t, &godwit.Config{Tuning: godwit.Tuning{AcceptBacklog: 2}}, nil)
	defer e.Close()
	l := e.NetListener()
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var last net.Conn
	for range 3 {
		c, err := dialed.Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		last = c
	}
	if _, err := last.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream beyond the backlog: %v", err)
	}
	if n := e.Stats().StreamsRefused; n != 1 {
		t.Errorf("%d streams counted as refused", n)
	}
	for range 2 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Error(err)
		}
	}
}

func TestStatsCountStreams(t *testing.T) {
	own := &godwit.Config{IdleTimeout: time.Minute + time.Duration(rand.IntN(1e9))} // dials of equal configuration share an engine
	e, dialed, accepted := streamConns(t, nil, own)
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i := range 3 {
		c, err := dialed.Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := accepted.AcceptStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			continue // two stay open
		}
		if err := c.(*godwit.Stream).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("back")); err != nil {
			t.Fatal(err)
		}
		if err := s.(*godwit.Stream).Reset(9); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err == nil { // closed before it has come, the stream would count another reset
			t.Fatal("the reset did not come")
		}
		c.Close()
	}
	waitFor(t, 5*time.Second, "two streams are left, of which both ends have counted everything", func() bool {
		st, err := accepted.Stats()
		s, c := e.Stats(), dialed.Endpoint().Stats()
		return err == nil && st.Streams == 2 && s.StreamsAccepted == 3 && c.StreamsOpened == 3 && s.StreamsOpened == 0 &&
			s.StreamBytesReceived == 300_000 && c.StreamBytesSent == 300_000 && s.StreamsReset == 1 && c.StreamsReset == 1 && s.BytesReceived == 0
	})
}
