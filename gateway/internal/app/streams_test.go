package app

import (
	"bytes"
	"io"
	"testing"
	"time"

	"godwit.example/godwit"
)

// serveStreams starts the echo of streams and connects to it.
func serveStreams(t *testing.T) godwit.Conn {
	t.Helper()
	identity := t.TempDir()
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	l := server.NetListener()
	served := make(chan struct{})
	go func() {
		EchoStreams(l)
		close(served)
	}()
	c, err := godwit.Dial(t.Context(), server.Addr().String(), &godwit.Config{Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.CloseWithError(0, "")
		l.Close()
		<-served
		server.Close()
	})
	return c
}

func TestStreamsAreEchoedToTheirEnd(t *testing.T) {
	c := serveStreams(t)
	for range 300 { // more than are served at a time, one after another
		s, err := c.Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("echo "), 5000)
		go func() {
			if _, err := s.Write(want); err != nil {
				t.Error(err)
			}
			if err := s.(*godwit.Stream).CloseWrite(); err != nil {
				t.Error(err)
			}
		}()
		if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes of %d came back, %v", len(got), len(want), err)
		}
		s.Close()
	}
}

func TestAResetStreamIsResetByTheEcho(t *testing.T) {
	c := serveStreams(t)
	s, err := c.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := s.(*godwit.Stream).Reset(7); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if st, err := c.Stats(); err == nil && st.Streams == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the stream is not over: the echo has not let go")
}

func TestTheEchoEndsWithItsListener(t *testing.T) {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Identity: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l := server.NetListener()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	EchoStreams(l) // returns
}
