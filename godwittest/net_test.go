package godwittest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

var echo = godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, m.Payload) }}

func TestEchoOverAPerfectLink(t *testing.T) {
	godwittest.Run(t, 1, godwittest.Link{}, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(&godwit.Config{Handler: echo})
		c := n.Dial(server, nil)
		for i := range 100 {
			want := fmt.Sprint("message ", i)
			if err := c.Send(0, []byte(want)); err != nil {
				t.Fatal(err)
			}
			m, err := c.Receive(context.Background(), nil)
			if err != nil || string(m.Payload) != want {
				t.Fatalf("got %q, %v", m.Payload, err)
			}
		}
	})
}

var badLink = godwittest.Link{
	Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1, Reorder: 0.05, ReorderDelay: 30 * time.Millisecond,
	Duplicate: 0.05, Corrupt: 0.02,
}

func TestOrderedMessagesSurviveABadLink(t *testing.T) {
	for seed := range uint64(20) {
		godwittest.Run(t, seed, badLink, func(t testing.TB, n *godwittest.Net) {
			server := n.Listen(&godwit.Config{Handler: echo})
			c := n.Dial(server, nil)
			const count = 300
			for i := range count {
				payload := append(fmt.Append(nil, i, " "), bytes.Repeat([]byte{'x'}, i*17%3000)...)
				if err := c.SendWait(context.Background(), godwit.Message{Payload: payload}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range count {
				m, err := c.Receive(context.Background(), nil)
				if err != nil {
					t.Fatalf("seed %d, message %d: %v", seed, i, err)
				}
				if want := fmt.Append(nil, i, " "); !bytes.HasPrefix(m.Payload, want) || len(m.Payload) != len(want)+i*17%3000 {
					t.Fatalf("seed %d: message %d is %.20q of %d bytes", seed, i, m.Payload, len(m.Payload))
				}
			}
		})
	}
}

func TestConnectionSurvivesBlackoutAndRebinding(t *testing.T) {
	godwittest.Run(t, 7, godwittest.Link{Delay: 15 * time.Millisecond}, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(&godwit.Config{Handler: echo})
		c := n.Dial(server, nil)
		exchange := func(what string) {
			if err := c.Send(0, []byte(what)); err != nil {
				t.Fatal(what, err)
			}
			m, err := c.Receive(context.Background(), nil)
			if err != nil || string(m.Payload) != what {
				t.Fatal(what, string(m.Payload), err)
			}
		}
		exchange("before")
		n.Blackout(5 * time.Second)
		exchange("during the blackout")
		if n.Now() < 5*time.Second {
			t.Errorf("a message crossed the blackout at %v", n.Now())
		}
		n.Sleep(time.Second)
		n.Rebind(c)
		exchange("behind the NAT's new port")
		n.Move(c)
		exchange("from another network")
	})
}

func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) (steps uint64, at time.Duration, text string) {
		godwittest.Run(t, seed, badLink, func(t testing.TB, n *godwittest.Net) {
			server := n.Listen(&godwit.Config{Handler: echo})
			c := n.Dial(server, nil)
			for i := range 200 {
				_ = c.SendMessage(godwit.Message{Channel: godwit.Channel(i % 5), Key: uint64(i % 7), Payload: make([]byte, i*13%2500)})
			}
			n.Sleep(3 * time.Second)
			st := server.Stats()
			st.Uptime = 0
			steps, at, text = n.Steps(), n.Now(), fmt.Sprintf("%+v", st)
		})
		return steps, at, text
	}
	s1, t1, x1 := run(5)
	s2, t2, x2 := run(5)
	if s1 != s2 || t1 != t2 || x1 != x2 {
		t.Errorf("two runs of one seed differ: %d and %d steps\n%s\n%s", s1, s2, x1, x2)
	}
	if s3, _, x3 := run(6); s3 == s1 && x3 == x1 {
		t.Error("another seed ran the same way")
	}
}

func TestDialFailsInVirtualTime(t *testing.T) {
	godwittest.Run(t, 3, godwittest.Link{Loss: 1}, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(&godwit.Config{Handler: echo})
		_, err := n.TryDial(server, nil)
		var failed *godwit.HandshakeError
		if !errors.As(err, &failed) || !failed.Timeout() || n.Now() < 9*time.Second {
			t.Fatalf("got %v at %v", err, n.Now())
		}
	})
}

func TestRealTLSRunsToo(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	godwittest.RunOptions(t, 3, godwittest.Link{Delay: time.Millisecond}, godwittest.Options{TLS: true}, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(&godwit.Config{Handler: echo})
		c := n.Dial(server, &godwit.Config{Pins: []godwit.Pin{server.Identity()}})
		_ = c.Send(0, []byte("hello"))
		if m, err := c.Receive(context.Background(), nil); err != nil || string(m.Payload) != "hello" {
			t.Fatal(err)
		}
	})
}

func TestBlockingInAHandlerIsAnError(t *testing.T) {
	godwittest.Run(t, 3, godwittest.Link{}, func(t testing.TB, n *godwittest.Net) {
		var got error
		server := n.Listen(&godwit.Config{})
		c := n.Dial(server, nil)
		server2 := n.Listen(&godwit.Config{Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) {
			_, got = c.Receive(context.Background(), nil)
		}}})
		c2 := n.Dial(server2, nil)
		_ = c2.Send(0, nil)
		n.Sleep(time.Second)
		if got == nil {
			t.Error("no error")
		}
	})
}

// loser is a test that fails without anybody minding.
type loser struct {
	testing.TB
	failed bool
	log    []string
}

func (l *loser) Helper()      {}
func (l *loser) Failed() bool { return l.failed }
func (l *loser) Fatal(...any) {
	l.failed = true
	runtime.Goexit()
}

func (l *loser) Errorf(string, ...any)           { l.failed = true }
func (l *loser) Logf(format string, args ...any) { l.log = append(l.log, fmt.Sprintf(format, args...)) }

func TestSleepingInAHandlerEndsTheTest(t *testing.T) {
	ended := make(chan bool)
	go func() { // Fatal ends the goroutine
		l := &loser{}
		defer func() { ended <- l.failed }()
		godwittest.Run(l, 1, godwittest.Link{}, func(_ testing.TB, n *godwittest.Net) {
			server := n.Listen(&godwit.Config{Handler: godwit.Handler{Open: func(godwit.Conn) error {
				n.Sleep(time.Second)
				return nil
			}}})
			n.Dial(server, nil)
		})
	}()
	if !<-ended {
		t.Error("nothing was said about it")
	}
}

func TestFailuresNameTheirSeed(t *testing.T) {
	l := &loser{}
	run := func(seed uint64, f func(t testing.TB, n *godwittest.Net)) {
		godwittest.Run(l, seed, godwittest.Link{}, f)
	}
	run(41, func(testing.TB, *godwittest.Net) {})
	run(42, func(t testing.TB, n *godwittest.Net) {
		n.Sleep(3 * time.Second)
		t.Errorf("wrong")
	})
	run(43, func(testing.TB, *godwittest.Net) {})
	if len(l.log) != 1 || l.log[0] != "godwittest: it failed with seed 42, at 3s of virtual time" {
		t.Errorf("logged %q", l.log)
	}
}

func TestReportGoesByVirtualTime(t *testing.T) {
	godwittest.Run(t, 7, godwittest.Link{}, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(nil)
		c := n.Dial(server, nil)
		n.Sleep(time.Minute)
		for e, want := range map[*godwit.Endpoint]string{server: "godwit endpoint 10.1.0.1:4242, up 1m0s\n", c.Endpoint(): "godwit endpoint of dialed connections, up 1m0s\n"} {
			var b strings.Builder
			if err := e.WriteReport(&b); err != nil || !strings.HasPrefix(b.String(), want) {
				t.Errorf("%v, the report begins with %.80q, want %q", err, b.String(), want)
			}
		}
	})
}

// Waiting on a goroutine of its own is a mistake in Run, and the error says what to use.
func TestWaitingOnAnotherGoroutineNamesBubble(t *testing.T) {
	godwittest.Run(t, 8, godwittest.Link{}, func(t testing.TB, n *godwittest.Net) {
		c := n.Dial(n.Listen(nil), nil)
		receive := func() error { _, err := c.Receive(context.Background(), nil); return err }
		lost := make(chan error)
		go func() { lost <- receive() }()
		if err := <-lost; err == nil || !strings.Contains(err.Error(), "another goroutine than the one of Run: use Bubble") {
			t.Errorf("on another goroutine: %v", err)
		}
		if err := receive(); err == nil || strings.Contains(err.Error(), "Bubble") {
			t.Errorf("on its own: %v", err)
		}
	})
}

// A connection that Handler.Open refuses is there for its client until the refusal arrives, and Close is called for it.
func TestRefusedByOpen(t *testing.T) {
	godwittest.Run(t, 9, godwittest.Link{Delay: 10 * time.Millisecond}, func(t testing.TB, n *godwittest.Net) {
		var ends []error
		server := n.Listen(&godwit.Config{Handler: godwit.Handler{
			Open:  func(godwit.Conn) error { return errors.New("not you") },
			Close: func(_ godwit.Conn, err error) { ends = append(ends, err) },
		}})
		c := n.Dial(server, nil)
		_, err := c.Receive(context.Background(), nil)
		var closed *godwit.CloseError
		if !errors.As(err, &closed) || !closed.Transport || !closed.Remote || closed.Code != godwit.CodePolicy || closed.Reason != "not you" {
			t.Errorf("the client sees %v", err)
		}
		n.Until(func() bool { return len(ends) > 0 })
		n.Sleep(time.Minute)
		if len(ends) != 1 || !errors.As(ends[0], &closed) || closed.Remote || closed.Code != godwit.CodePolicy {
			t.Errorf("Close was called with %v", ends)
		}
	})
}
