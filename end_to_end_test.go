package godwit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
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
