// Command idle measures what a server can hold: a million encrypted connections that do nothing, by default. It starts examples/echo as a
// process of its own on one CPU and a client on the other, opens the connections, looks at the server's memory, has a thousand of them
// answer a message, and compares live traffic beside them with the same traffic to a second, empty server, in turns.
//
// The connections are real: a TLS 1.3 handshake each, resumed by tickets after the first one, and keys of their own. They share one UDP
// socket of the client, as Endpoint.Dial has it. Keep-alive is off and the idle timeout an hour, so that idle connections are idle.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// The goals that -check asserts.
const (
	goalMemory  = 4_000_000_000 // bytes of RssAnon of the server
	goalAnswer  = 1000.0        // milliseconds
	goalRatio   = 2.0           // of p99 beside the connections to p99 without
	leastMemory = 4 << 30       // bytes that have to stay available on the machine
)

// options are the flags.
type options struct {
	conns, answers, dials, runs, attempts int
	duration, window, limit               time.Duration
	serverCPU, clientCPU                  int
	memory                                int64
	server, keep                          string
	json, check                           bool

	// Of the processes that the program starts of itself.
	hold, live bool
	addr       string
	identity   string
	pids       string
}

func (o *options) flags() {
	flag.IntVar(&o.conns, "connections", 1_000_000, "idle connections")
	flag.IntVar(&o.answers, "answers", 1000, "of those, picked at random, how many are sent a message in the end")
	flag.IntVar(&o.dials, "dials", 8, "dials at once; a server asks a ninth from one network for a Retry, which costs a round trip more")
	flag.IntVar(&o.runs, "runs", 5, "valid runs of live traffic, beside the connections and without")
	flag.IntVar(&o.attempts, "attempts", 2, "runs that are made at most, as a multiple of -runs, to have so many valid ones")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "length of a run of live traffic")
	flag.DurationVar(&o.window, "window", 10*time.Second, "how long the idle server's CPU time is measured")
	flag.DurationVar(&o.limit, "limit", 18*time.Minute, "time from the beginning after which no further run of live traffic begins")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU of the servers; -1 does not bind them")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU of the clients; -1 does not bind them")
	flag.Int64Var(&o.memory, "gomemlimit", 3_800_000_000, "GOMEMLIMIT of the servers in bytes, which bounds what the garbage of handshakes takes; 0 is none")
	flag.StringVar(&o.server, "server", "", "binary of the server, which takes its address as its only argument; empty builds examples/echo")
	flag.StringVar(&o.keep, "keep", "", "file that the result is written to, as JSON")
	flag.BoolVar(&o.json, "json", false, "print the JSON only")
	flag.BoolVar(&o.check, "check", false, "fail if a goal is missed")
	flag.BoolVar(&o.hold, "hold", false, "be the client that holds the connections; the program calls itself so")
	flag.BoolVar(&o.live, "live", false, "be the client of the live traffic; the program calls itself so")
	flag.StringVar(&o.addr, "addr", "", "with -hold and -live: the server's address")
	flag.StringVar(&o.identity, "identity", "", "with -hold and -live: directory of the server's identity")
	flag.StringVar(&o.pids, "pids", "", "with -live: processes that are not other programs, separated by commas")
	flag.Parse()
}

func main() {
	var o options
	o.flags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case o.hold:
		err = hold(ctx, &o, os.Stdin, os.Stdout)
	case o.live:
		err = runLive(ctx, &o, os.Stdout)
	default:
		err = idle(ctx, &o, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

// idle measures, prints and keeps.
func idle(ctx context.Context, o *options, out, progress io.Writer) error {
	r, err := measure(ctx, o, progress)
	if err != nil {
		return err
	}
	if !o.json {
		r.write(out)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err := out.Write(text); err != nil {
		return err
	}
	if o.keep != "" {
		if err := os.MkdirAll(filepath.Dir(o.keep), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(o.keep, text, 0o644); err != nil {
			return err
		}
	}
	switch {
	case r.Interrupted:
		return errors.New("interrupted: the live traffic was not measured to its end")
	case o.check:
		return r.goals()
	}
	return nil
}

// servers are the one that holds the connections and an empty one of the same program, for comparison.
type servers struct {
	full, empty *process.Echo
	client      *client
	began       time.Time
}

// measure does everything.
func measure(ctx context.Context, o *options, progress io.Writer) (*report, error) {
	dir, err := os.MkdirTemp("", "godwit-idle")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := servers{began: time.Now()}
	defer s.stop()
	if err := s.start(ctx, o, dir); err != nil {
		return nil, err
	}
	r := newReport(o)
	if r.Start, err = s.full.Memory(); err != nil {
		return nil, err
	}
	if err := s.grow(ctx, o, r, progress); err != nil {
		return nil, err
	}
	if err := s.rest(ctx, o, r, progress); err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "sending a message on %d of them\n", r.Asked)
	a, err := s.client.answer(r.Asked)
	if err != nil {
		return nil, err
	}
	r.Answered, r.AnswerMax, r.AnswerMedian = a.Answered, a.MaxMS, a.MedianMS
	if err := s.compare(ctx, o, r, progress); err != nil {
		if ctx.Err() == nil {
			return nil, err
		}
		r.Interrupted, r.Took = true, time.Since(s.began).Seconds() // the memory of a million connections is known by then, which took its time
		return r, nil
	}
	last, err := s.client.count()
	if err != nil {
		return nil, err
	}
	r.Closed = last.Closed
	if r.End, err = s.full.Memory(); err != nil {
		return nil, err
	}
	r.Took = time.Since(s.began).Seconds()
	return r, nil
}

// start builds and starts both servers and the client that holds the connections.
func (s *servers) start(ctx context.Context, o *options, dir string) error {
	binary, err := process.Program(ctx, dir, o.server, "godwit.example/godwit/examples/echo")
	if err != nil {
		return err
	}
	place := process.Place{CPU: o.serverCPU, Procs: 1, MemoryLimit: o.memory, State: filepath.Join(dir, "state")}
	if s.full, err = process.StartEcho(ctx, place, binary); err != nil {
		return err
	}
	if s.empty, err = process.StartEcho(ctx, place, binary); err != nil {
		return err
	}
	s.client, err = startClient(ctx, o, place.State, s.full)
	return err
}

func (s *servers) stop() {
	if s.client != nil {
		s.client.stop()
	}
	for _, e := range []*process.Echo{s.full, s.empty} {
		if e != nil {
			e.Stop()
		}
	}
}

// grow opens the connections, says how far it is, and notes what both processes take meanwhile.
func (s *servers) grow(ctx context.Context, o *options, r *report, progress io.Writer) error {
	before, err := s.used()
	if err != nil {
		return err
	}
	start := time.Now()
	shown := start
	h, err := s.client.grow(o.conns, func(h *held) error {
		m, err := s.look(r)
		if err != nil || time.Since(shown) < 5*time.Second {
			return err
		}
		shown = time.Now()
		fmt.Fprintf(progress, "%d of %d connections, %.0f handshakes/s; server %.0f MB, client %.0f MB\n",
			h.Connections, o.conns, float64(h.Connections)/time.Since(start).Seconds(), process.Mega(m.Anon), process.Mega(r.ClientPeak))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	after, err := s.used()
	if err != nil {
		return err
	}
	r.Connections, r.Resumed = h.Connections, h.Resumed
	r.HandshakesTook = time.Since(start).Seconds()
	r.Handshakes = float64(h.Connections) / r.HandshakesTook
	r.ServerMicros = float64((after[0] - before[0]).Microseconds()) / float64(h.Connections)
	r.ClientMicros = float64((after[1] - before[1]).Microseconds()) / float64(h.Connections)
	return nil
}

// used returns the CPU time of the server and of the client so far.
func (s *servers) used() (cpu [2]time.Duration, err error) {
	for i, pid := range []int{s.full.PID(), s.client.PID()} {
		if cpu[i], err = process.CPU(pid); err != nil {
			break
		}
	}
	return cpu, err
}

// look reads both processes' memory, and stops everything before the machine runs out of it.
func (s *servers) look(r *report) (m process.Memory, err error) {
	if m, err = s.full.Memory(); err != nil {
		return m, err
	}
	c, err := s.client.Memory()
	if err != nil {
		return m, err
	}
	r.Peak, r.ClientPeak = max(r.Peak, m.Anon), max(r.ClientPeak, c.Anon)
	if free, err := process.Available(); err == nil && free < leastMemory {
		return m, fmt.Errorf("only %.0f MB of this machine's memory are left, less than %.0f", process.Mega(free), process.Mega(leastMemory))
	}
	return m, nil
}

// The server has settled when its memory has not changed by more than a thousandth for so many seconds; it is given two minutes.
const (
	steadySeconds = 5
	mostSeconds   = 120
)

// rest waits until the server has settled, and measures it while nothing happens.
func (s *servers) rest(ctx context.Context, o *options, r *report, progress io.Writer) error {
	fmt.Fprintln(progress, "waiting for the server to settle")
	var last process.Memory
	steady := 0
	for range mostSeconds {
		if err := process.Wait(ctx, time.Second); err != nil {
			return err
		}
		m, err := s.look(r)
		if err != nil {
			return err
		}
		if change := m.Anon - last.Anon; max(change, -change)*1000 > m.Anon {
			steady = 0
		} else if steady++; steady == steadySeconds {
			break
		}
		last = m
	}
	before, err := process.CPU(s.full.PID())
	if err != nil {
		return err
	}
	start := time.Now()
	if err := process.Wait(ctx, o.window); err != nil {
		return err
	}
	after, err := process.CPU(s.full.PID())
	if err != nil {
		return err
	}
	r.WindowS = time.Since(start).Seconds()
	r.CPUPercent = 100 * (after - before).Seconds() / r.WindowS
	if r.Idle, err = s.full.Memory(); err != nil {
		return err
	}
	r.Anon = r.Idle.Anon
	r.BytesPerConnection = float64(r.Anon-r.Start.Anon) / float64(r.Connections)
	c, err := s.client.Memory()
	r.ClientBytes = float64(c.Anon) / float64(r.Connections)
	fmt.Fprintf(progress, "server: %v, %.0f B a connection, %.3f %% of a core; client %.0f B a connection\n", r.Idle, r.BytesPerConnection, r.CPUPercent, r.ClientBytes)
	return err
}

// goals returns an error that names the goals that were missed.
func (r *report) goals() error {
	var missed []error
	miss := func(format string, args ...any) { missed = append(missed, fmt.Errorf(format, args...)) }
	if r.Closed > 0 {
		miss("%d connections have ended", r.Closed)
	}
	if r.Anon > goalMemory {
		miss("RssAnon of the server is %.2f MB, the goal is %.0f", process.Mega(r.Anon), process.Mega(goalMemory))
	}
	if r.Answered < r.Asked || r.AnswerMax > goalAnswer {
		miss("%d of %d connections have answered within %.0f ms, the last one after %.1f", r.Answered, r.Asked, goalAnswer, r.AnswerMax)
	}
	switch {
	case r.Ratio == nil || !r.RatioValid:
		miss("there are too few valid runs of live traffic: %d", r.ValidRuns)
	case *r.Ratio > goalRatio:
		miss("p99 of live traffic is %.2f times that without the connections, the goal is %g", *r.Ratio, goalRatio)
	}
	return errors.Join(missed...)
}
