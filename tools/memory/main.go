// Command memory measures what connections cost a server that does nothing else: it starts examples/echo as a process of its own, opens
// encrypted connections that each echo a few messages, and reads from /proc what the process holds and what it does while all are idle.
//
// The server gives no help and is not asked for anything: what counts is what the operating system says of it. Keep-alive is off and the
// idle timeout is an hour, so that idle connections are idle.
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
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// The goals that -check asserts.
const (
	goalConnections = 1_000
	goalRSS         = 10_000_000 // bytes of RssAnon at goalConnections
	goalCPU         = 0.1        // percent of a core, idle
)

// options are the flags.
type options struct {
	conns, idle, messages, size int
	settle, rest, window        time.Duration
	server                      string
	gomaxprocs                  int
	shared, json, check         bool
}

// report is what is printed.
type report struct {
	Start     process.Memory `json:"start"` // before the first connection
	Connected phase          `json:"connected"`
	Idle      *phase         `json:"idle,omitempty"`
	// BytesPerConnection is the growth of RssAnon between the two phases, a connection.
	BytesPerConnection *float64 `json:"bytes_per_connection,omitempty"`
	BytesHibernated    *float64 `json:"bytes_per_hibernated_connection,omitempty"`
	MessagesEach       int      `json:"messages_each"`
	MessageBytes       int      `json:"message_bytes"`
	KeepAlive          bool     `json:"keep_alive"` // always false
	Encrypted          bool     `json:"encrypted"`
	GOMAXPROCS         int      `json:"gomaxprocs,omitempty"` // of the server, if it was set
	OwnSockets         bool     `json:"own_sockets"`          // a UDP socket for each connection of the client
}

// phase is one number of connections.
type phase struct {
	Connections int            `json:"connections"`
	Handshakes  float64        `json:"handshakes_per_second"`
	ServerCPU   float64        `json:"server_us_per_connection"` // CPU time of a handshake and the echoes behind it
	Echoed      process.Memory `json:"echoed"`                   // right after the last echo
	Settled     process.Memory `json:"settled"`                  // after some silence
	Hibernated  process.Memory `json:"hibernated"`               // after so much that all connections hibernate
	WindowS     float64        `json:"window_s,omitempty"`
	CPUPercent  float64        `json:"cpu_percent_of_a_core,omitempty"` // over the window, which is silent too
}

func main() {
	var o options
	flag.IntVar(&o.conns, "conns", goalConnections, "connections whose memory is measured")
	flag.IntVar(&o.idle, "idle", 10_000, "connections whose idle CPU is measured, those of -conns among them; 0 leaves it out")
	flag.IntVar(&o.messages, "messages", 10, "messages that each connection echoes first")
	flag.IntVar(&o.size, "size", 64, "bytes a message")
	flag.DurationVar(&o.settle, "settle", 2*time.Second, "silence before memory is read for the second time")
	flag.DurationVar(&o.rest, "rest", 4*time.Second, "more silence, after which all connections hibernate, before it is read for the third time")
	flag.DurationVar(&o.window, "window", 10*time.Second, "time over which idle CPU is measured")
	flag.StringVar(&o.server, "server", "", "binary of the server, which takes its address as its only argument; empty builds examples/echo")
	flag.IntVar(&o.gomaxprocs, "gomaxprocs", 1, "GOMAXPROCS of the server, which is its number of shards; 0 leaves it to the server")
	flag.BoolVar(&o.shared, "shared", false, "all connections of the client share one socket, where the limit of open files is low")
	flag.BoolVar(&o.json, "json", false, "print the JSON line only")
	flag.BoolVar(&o.check, "check", false, "fail if a goal is missed")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := measure(ctx, &o)
	if err == nil {
		err = r.print(os.Stdout, &o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

// measure runs the server and both phases.
func measure(ctx context.Context, o *options) (*report, error) {
	dir, err := os.MkdirTemp("", "godwit-memory")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := startServer(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	r := &report{MessagesEach: o.messages, MessageBytes: o.size, Encrypted: true, GOMAXPROCS: o.gomaxprocs, OwnSockets: !o.shared}
	if r.Start, err = s.Memory(); err != nil {
		return nil, err
	}
	c, err := newCrowd(s.Addr, s.Identity, o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := r.Connected.run(ctx, s, c, o.conns, o); err != nil {
		return nil, err
	}
	if o.idle <= o.conns {
		return r, nil
	}
	r.Idle = new(phase)
	if err := r.Idle.run(ctx, s, c, o.idle, o); err != nil {
		return nil, err
	}
	if err := r.Idle.silence(ctx, s, o.window); err != nil {
		return nil, err
	}
	each := func(less, more process.Memory) *float64 {
		grown := float64(more.Anon-less.Anon) / float64(o.idle-o.conns)
		return &grown
	}
	r.BytesPerConnection, r.BytesHibernated = each(r.Connected.Settled, r.Idle.Settled), each(r.Connected.Hibernated, r.Idle.Hibernated)
	return r, nil
}

// run brings the crowd to n connections and reads the server's memory.
func (p *phase) run(ctx context.Context, s *process.Echo, c *crowd, n int, o *options) (err error) {
	p.Connections = n
	fresh := n - len(c.conns)
	before, err := process.CPU(s.PID())
	if err != nil {
		return err
	}
	if p.Handshakes, err = c.grow(ctx, n); err != nil {
		return err
	}
	after, err := process.CPU(s.PID())
	if err != nil {
		return err
	}
	p.ServerCPU = float64((after - before).Microseconds()) / float64(fresh)
	if p.Echoed, err = s.Memory(); err != nil {
		return err
	}
	if err := process.Wait(ctx, o.settle); err != nil {
		return err
	}
	if p.Settled, err = s.Memory(); err != nil {
		return err
	}
	if err := process.Wait(ctx, o.rest); err != nil {
		return err
	}
	p.Hibernated, err = s.Memory()
	return err
}

// silence measures the server's CPU while nothing happens.
func (p *phase) silence(ctx context.Context, s *process.Echo, window time.Duration) error {
	before, err := process.CPU(s.PID())
	if err != nil {
		return err
	}
	start := time.Now()
	if err := process.Wait(ctx, window); err != nil {
		return err
	}
	after, err := process.CPU(s.PID())
	if err != nil {
		return err
	}
	took := time.Since(start)
	p.WindowS, p.CPUPercent = took.Seconds(), 100*float64(after-before)/float64(took)
	return nil
}

// print writes the report for people and for programs, and says whether the goals are met.
func (r *report) print(w io.Writer, o *options) error {
	if !o.json {
		p := &r.Connected
		fmt.Fprintf(w, "%d connections, encrypted, each echoed %d messages of %d B: %v (%v before the first); %.0f handshakes/s, server CPU %.0f µs a connection\n",
			p.Connections, r.MessagesEach, r.MessageBytes, p.Settled, r.Start, p.Handshakes, p.ServerCPU)
		if p = r.Idle; p != nil {
			fmt.Fprintf(w, "%d connections, idle, keep-alive off: server CPU %.3f %% of a core over %.0f s; %v; %.0f B a connection, %.0f B once they hibernate\n",
				p.Connections, p.CPUPercent, p.WindowS, p.Settled, *r.BytesPerConnection, *r.BytesHibernated)
		}
	}
	if err := json.NewEncoder(w).Encode(r); err != nil || !o.check {
		return err
	}
	return r.goals()
}

// goals returns an error that names the goals that were missed.
func (r *report) goals() error {
	var missed []error
	if p := &r.Connected; p.Connections == goalConnections && p.Settled.Anon > goalRSS {
		missed = append(missed, fmt.Errorf("RssAnon is %.1f MB at %d connections, the goal is %.1f MB", process.Mega(p.Settled.Anon), p.Connections, process.Mega(goalRSS)))
	}
	if p := r.Idle; p != nil && p.CPUPercent > goalCPU {
		missed = append(missed, fmt.Errorf("%d idle connections cost %.3f %% of a core, the goal is %g %%", p.Connections, p.CPUPercent, goalCPU))
	}
	return errors.Join(missed...)
}
