package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
	"godwit.example/godwit/netem"
)

// Result is what one run of a workload over a peer measured.
type Result struct {
	Peer     string `json:"peer"`
	Workload string `json:"workload"`
	Round    int    `json:"round"` // of the comparison; peers of one round are comparable
	*load.Result

	// BytesPerSecond is what the receiving application counted, of payload.
	BytesPerSecond float64 `json:"bytes_per_second"`
	// ServerPerByte is the server's CPU time for a byte of payload, in nanoseconds.
	ServerPerByte *float64 `json:"server_ns_per_byte,omitempty"`
	Memory        *Memory  `json:"memory,omitempty"` // of the server, beside idle connections
	Wire          *Wire    `json:"wire,omitempty"`   // what crossed the cable, over a veth
	Failed        string   `json:"failed,omitempty"` // why there is no result

	Room *room.Figures `json:"room,omitempty"` // of a room
	// Network is what the bad network on the way did.
	Network *netem.Stats `json:"network,omitempty"`
}

// Options say where and how long.
type Options struct {
	ServerCPU, ClientCPU int
	Seed                 uint64        // of bad networks: the same one loses the same datagrams
	Duration, Warmup     time.Duration // of those workloads that do not set it
}

// limit is how long one run may take, beside its duration: 10,000 handshakes are slow over some peers.
const limit = 2 * time.Minute

// Run starts a peer's server, loads it from a process of its own, and stops it. A
// peer that fails has a Result that says why: the others go on.
func (o *Options) Run(ctx context.Context, p *peer.Peer, w *Workload) *Result {
	if w.Room != nil {
		return o.runRoom(ctx, p, w)
	}
	r := &Result{Peer: p.Name, Workload: w.Name}
	if p.MaxMessage > 0 && w.Load.Size > p.MaxMessage {
		r.Failed = fmt.Sprintf("messages of %d B do not fit: %s carries at most %d", w.Load.Size, p.Name, p.MaxMessage)
		return r
	}
	if w.Path != nil && p.TCP {
		r.Failed = "a bad network of datagrams carries no TCP"
		return r
	}
	cfg := w.Load
	if cfg.Duration == 0 {
		cfg.Duration, cfg.Warmup = o.Duration, o.Warmup
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration+cfg.Warmup+limit)
	defer cancel()
	e, err := o.open(ctx, p, w, r)
	if err != nil {
		r.Failed = err.Error()
		return r
	}
	defer e.close()
	if err := o.client(ctx, e, p, w, &cfg, r); err != nil {
		r.Result, r.Failed = nil, err.Error()
		if ctx.Err() != nil {
			r.Failed = fmt.Sprintf("it took more than %v: %v", limit, err)
		}
		return r
	}
	r.BytesPerSecond = r.MessagesPerSecond * float64(cfg.Size)
	if r.ServerPerMessage != nil {
		perByte := *r.ServerPerMessage * 1e3 / float64(cfg.Size)
		r.ServerPerByte = &perByte
	}
	return r
}

// settle is how long connections are idle before the server's memory is read.
const settle = 2 * time.Second

// client runs the client's process: it prints "finished" and waits, where memory
// is to be read, and its result.
func (o *Options) client(ctx context.Context, e *ends, p *peer.Peer, w *Workload, cfg *load.Config, r *Result) error {
	task, err := json.Marshal(Task{
		Peer: p.Name, Server: e.target, PID: e.server.PID(), Beside: e.beside, Memory: w.Memory, Connections: cfg.Connections, Size: cfg.Size, Rate: cfg.Rate,
		Outstanding: cfg.Outstanding, Receipts: cfg.Receipts, Unhurried: cfg.Unhurried, Duration: cfg.Duration, Warmup: cfg.Warmup,
	})
	if err != nil {
		return err
	}
	cmd, err := e.client.command(ctx, "client", string(task))
	if err != nil {
		return err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said limited
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return bound(err)
	}
	lines := json.NewDecoder(out)
	err = func() error {
		if w.Memory {
			var finished bool
			if err := lines.Decode(&finished); err != nil {
				return err
			}
			select {
			case <-time.After(settle):
			case <-ctx.Done():
				return ctx.Err()
			}
			m, err := MemoryOf(e.server.PID())
			if err != nil {
				return err
			}
			r.Memory = &m
		}
		_ = in.Close()
		return lines.Decode(&r.Result)
	}()
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if ended := cmd.Wait(); err == nil {
		err = ended
	}
	if err != nil {
		return errors.Join(err, errors.New(said.String()))
	}
	return nil
}

// Task is what the client's process is told, as its one argument.
type Task struct {
	Peer   string
	Server Banner
	PID    int   // of the server
	Beside []int // of what is on the way
	Memory bool

	Connections, Size, Outstanding int
	Rate                           float64
	Receipts, Unhurried            bool
	Duration, Warmup               time.Duration
}

// Client is the client's process.
func Client(ctx context.Context, task string, in io.Reader, out io.Writer) error {
	var t Task
	if err := json.Unmarshal([]byte(task), &t); err != nil {
		return err
	}
	p, err := peer.Named(t.Peer)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(t.Server.Listen)
	if err != nil {
		return err
	}
	cfg := load.Config{
		Connections: t.Connections, Size: t.Size, Rate: t.Rate, Outstanding: t.Outstanding, Receipts: t.Receipts, Unhurried: t.Unhurried,
		Duration: t.Duration, Warmup: t.Warmup, ServerPID: t.PID, Beside: t.Beside,
	}
	lines := json.NewEncoder(out)
	if t.Memory {
		cfg.Finished = func() {
			_ = lines.Encode(true)
			_, _ = io.Copy(io.Discard, in)
		}
	}
	result, err := p.Run(ctx, cfg, addr, t.Server.Secret)
	if err != nil {
		return err
	}
	return lines.Encode(result)
}

// limited keeps the beginning of what a process says.
type limited struct{ text []byte }

func (l *limited) Write(p []byte) (int, error) {
	const most = 4 << 10
	l.text = append(l.text, p[:min(len(p), most-len(l.text))]...)
	return len(p), nil
}

func (l *limited) String() string { return string(l.text) }

// String is a run in one line, for those who wait.
func (r *Result) String() string {
	head := fmt.Sprintf("%2d %-8s %-18s", r.Round+1, r.Workload, r.Peer)
	if r.Failed != "" {
		return head + " FAILED: " + firstLine(r.Failed)
	}
	list, _ := Named(r.Workload)
	for i := range list {
		for _, f := range list[i].Figures {
			if v := f.Of(r); v != nil {
				head += " " + f.Print(*v) + " " + f.Name + ","
			}
		}
	}
	head = strings.TrimSuffix(head, ",")
	for _, why := range r.Reasons {
		head += "; INVALID: " + why
	}
	return head
}
