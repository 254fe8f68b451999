package godwit_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
)

// journal is a log that tests read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

// lines returns the lines that contain text.
func (j *journal) lines(text string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.buf.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func (j *journal) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: level}))
}

// TestSlowHandlerIsNamed sleeps in one function after the other. The first one is reported with its name and its connection, the others are
// counted: a kind of warning is written once a minute.
func TestSlowHandlerIsNamed(t *testing.T) {
	sleep := func() { time.Sleep(50 * time.Millisecond) }
	cases := []struct {
		name    string
		handler func(done chan<- godwit.Conn) godwit.Handler
	}{
		{"Message", func(done chan<- godwit.Conn) godwit.Handler {
			return godwit.Handler{Message: func(c godwit.Conn, _ godwit.Message) { sleep(); done <- c }}
		}},
		{"Open", func(done chan<- godwit.Conn) godwit.Handler {
			return godwit.Handler{Open: func(c godwit.Conn) error { sleep(); done <- c; return nil }}
		}},
		{"Tick", func(done chan<- godwit.Conn) godwit.Handler {
			return godwit.Handler{Tick: func(s *godwit.Shard, _ time.Time) {
				for c := range s.Conns() {
					sleep()
					select {
					case done <- c:
					default:
					}
				}
			}}
		}},
		{"Close", func(done chan<- godwit.Conn) godwit.Handler {
			return godwit.Handler{
				Message: func(c godwit.Conn, _ godwit.Message) { _ = c.CloseWithError(1, "enough") },
				Close:   func(c godwit.Conn, _ error) { sleep(); done <- c },
			}
		}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			var log journal
			done := make(chan godwit.Conn, 1)
			e := listen(t, godwit.Config{Shards: 1, Handler: test.handler(done), Logger: log.logger(slog.LevelWarn)})
			c := dial(t, e, godwit.Config{})
			_ = c.Send(0, []byte("x"))
			served := <-done
			if test.name == "Message" {
				_ = c.Send(0, []byte("again"))
				<-done
			}
			for end := time.Now().Add(10 * time.Second); e.Stats().SlowHandlers == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it is not counted")
				}
			}
			if err := e.Shutdown(deadline(t, 10*time.Second)); err != nil { // what is written is written
				t.Fatal(err)
			}
			lines := log.lines("a handler held up its shard")
			if len(lines) != 1 {
				t.Fatalf("%d warnings, want one:\n%s", len(lines), lines)
			}
			wanted := []string{"function=" + test.name + " ", "shard=0"}
			if test.name != "Tick" {
				wanted = append(wanted, "connection="+strings.Fields(strings.TrimPrefix(served.String(), "godwit.Conn("))[0]+" ")
			}
			for _, w := range wanted {
				if !strings.Contains(lines[0], w) {
					t.Errorf("%q is not in %s", w, lines[0])
				}
			}
		})
	}
}

func TestQuickHandlersAreNotReported(t *testing.T) {
	var log journal
	e := listen(t, godwit.Config{Shards: 1, Handler: echo, Logger: log.logger(slog.LevelWarn)})
	c := dial(t, e, godwit.Config{})
	for range 1000 {
		_ = c.Send(0, []byte("x"))
		if _, err := c.Receive(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range log.lines("held up") {
		if !strings.Contains(line, "took=1") { // over 10 ms a machine that is busy otherwise may take even so
			t.Error(line)
		}
	}
}

// TestLogTellsOfConnectionsThatEndAtOnce closes connections right after Dial: the server may learn of it before its own handshake is complete.
func TestLogTellsOfConnectionsThatEndAtOnce(t *testing.T) {
	const dials = 50
	var log, calling journal
	e := listen(t, godwit.Config{Shards: 1, Handler: echo, Logger: log.logger(slog.LevelDebug)})
	for range dials {
		c := dial(t, e, godwit.Config{Logger: calling.logger(slog.LevelDebug)})
		_ = c.CloseWithError(7, "good night")
		<-c.Done()
	}
	waitFor(t, 10*time.Second, "the server has heard of all of them", func() bool {
		return len(log.lines("connection closed")) == dials && e.Stats().Connections == 0
	})
	opened, closed := len(log.lines("connection opened")), len(log.lines(`connection closed"`))
	if early := len(log.lines("connection closed before it was open")); opened != closed || opened+early != dials {
		t.Errorf("the server says of %d connections that they opened, of %d that they closed, and of %d that they closed before", opened, closed, early)
	}
	if opened, closed := len(calling.lines("connection opened")), len(calling.lines("connection closed")); opened != dials || closed != dials {
		t.Errorf("the clients say of %d connections that they opened, and of %d that they closed", opened, closed)
	}
}

func TestLogTellsOfConnectionsOnlyWhenAsked(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		var log journal
		e := listen(t, godwit.Config{Shards: 1, Handler: echo, Logger: log.logger(level)})
		c := dial(t, e, godwit.Config{})
		_ = c.Send(0, []byte("here"))
		if _, err := c.Receive(context.Background(), nil); err != nil { // the server knows it too
			t.Fatal(err)
		}
		_ = c.CloseWithError(7, "good night")
		<-c.Done()
		if err := e.Shutdown(deadline(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		want := 0
		if level == slog.LevelDebug {
			want = 1
		}
		if n := len(log.lines("connection opened")); n != want {
			t.Errorf("at %v, %d lines of opening, want %d", level, n, want)
		}
		closed := log.lines("connection closed")
		if len(closed) != want || want == 1 && !strings.Contains(closed[0], "good night") {
			t.Errorf("at %v: %q", level, closed)
		}
		for _, life := range []string{"listening", "draining", "godwit: closed"} {
			if len(log.lines(life)) != 1 {
				t.Errorf("at %v there is no %q:\n%s", level, life, log.buf.String())
			}
		}
	}
}
