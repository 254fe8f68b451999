package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"godwit.example/godwit/internal/mono"
)

// transport is a Transport, and what is known of it besides.
type transport interface {
	Transport
	// packets returns what the transport counted since it connected; ok is
	// false if it has no such counts.
	packets() (c packetCounts, ok bool)
	// remote is the server's address, once connected.
	remote() netip.Addr
}

// packetCounts are counts of the packets and messages that one side sent.
type packetCounts struct{ Packets, Lost, Messages, Repeated uint64 }

func (c *packetCounts) add(o *packetCounts) {
	c.Packets += o.Packets
	c.Lost += o.Lost
	c.Messages += o.Messages
	c.Repeated += o.Repeated
}

// since is what was counted after o was.
func (c *packetCounts) since(o *packetCounts) packetCounts {
	return packetCounts{Packets: c.Packets - o.Packets, Lost: c.Lost - o.Lost, Messages: c.Messages - o.Messages, Repeated: c.Repeated - o.Repeated}
}

// share returns one count as a share of another.
func share(part, whole uint64) *float64 {
	if whole == 0 {
		return nil
	}
	return ptr(float64(part) / float64(whole))
}

// worse is the higher of two shares; one that is not known does not count.
func worse(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// startDelay lets the last handshakes settle.
const startDelay = 50 * time.Millisecond

// Run generates the load that cfg describes and measures it, then the same with
// the references if they are asked for. An error means that there is no result: a
// connection did not come about, or broke. A reference that could not run has a
// Result that says so in its Reasons.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	c, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	r, clients, err := newRun(&c)
	if err != nil {
		return nil, err
	}
	result, err := r.measure(ctx, clients)
	if err != nil || !c.Reference {
		return result, err
	}
	result.Reference = map[string]*Result{}
	for _, name := range references {
		ref, err := runReference(ctx, &c, name)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			ref = &Result{Connections: c.Connections, Reasons: []string{err.Error()}}
		}
		result.Reference[name] = ref
	}
	return result, nil
}

// newRun prepares a load over the library.
func newRun(c *Config) (*run, *clients, error) {
	clients, err := newClients(c)
	if err != nil {
		return nil, nil, err
	}
	r := &run{cfg: c, name: "godwit", order: orderOf(c.mode()), lossy: !c.mode().Reliable(), handshake: true, server: c.server()}
	return r, clients, nil
}

// server returns how the server's figures are read; nil if they cannot be.
func (c *Config) server() readServer {
	switch {
	case c.ServerPID != 0:
		return func(context.Context) (f serverFigures, ok bool) {
			f.cpu, ok = processCPU(c.ServerPID)
			return f, ok
		}
	case c.Varz != "":
		return varz(c.Varz)
	}
	return nil
}

// run is one load over one transport.
type run struct {
	cfg    *Config
	name   string
	order  order
	lossy  bool
	server readServer

	handshake bool // connecting takes the server's part
}

// measure connects, loads and judges. It closes t.
func (r *run) measure(ctx context.Context, t transport) (*Result, error) {
	p, err := r.part(ctx, t, func() error { return nil })
	if err != nil {
		return nil, err
	}
	return merge(r.cfg, []*Part{p}), nil
}

// part connects, and loads when ready has returned. It closes t.
func (r *run) part(ctx context.Context, t transport, ready func() error) (*Part, error) {
	defer t.Close()
	c := r.cfg
	began := mono.Now()
	r.report("connecting", 0, 0)
	if err := t.Connect(ctx, c.Connections); err != nil {
		return nil, err
	}
	handshakes := float64(c.Connections) / mono.Now().Sub(began).Seconds()
	if err := ready(); err != nil {
		return nil, err
	}
	before, counted := t.packets()

	g := newGenerator(c, t, r.order, r.lossy)
	start := mono.Now().Add(startDelay)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan [2]sample, 1)
	go func() { watched <- r.watch(watching, g, start) }()
	err := t.Drive(ctx, &Load{g: g, cfg: c, start: start})
	if err != nil {
		stop()
	}
	samples := <-watched
	if err != nil {
		return nil, err
	}
	p := newPart(g)
	p.Local, p.Spent = c.local(t.remote()), spentBetween(&samples[0], &samples[1])
	if r.handshake {
		p.Handshakes = handshakes
	}
	if after, ok := t.packets(); ok && counted {
		p.Counted = true
		p.Packets = after.since(&before)
	}
	if c.Finished != nil {
		c.Finished()
	}
	return p, nil
}

// watch takes the samples at the two ends of the measurement and reports
// progress meanwhile. The first one is taken a little early, so that asking the
// server for its figures does not disturb it while it is being measured.
func (r *run) watch(ctx context.Context, g *generator, start mono.Time) (s [2]sample) {
	c := r.cfg
	from := start.Add(c.Warmup)
	end := from.Add(c.Duration)
	r.wait(ctx, start, from.Add(-startDelay/2))
	s[0] = takeSample(ctx, g, r.server, c.Beside)
	r.wait(ctx, start, end)
	s[1] = takeSample(ctx, g, r.server, c.Beside)
	return s
}

const reportEvery = 100 * time.Millisecond

// wait reports progress until the time comes or ctx ends.
func (r *run) wait(ctx context.Context, start, until mono.Time) {
	c := r.cfg
	for {
		now := mono.Now()
		r.report(r.name, now.Sub(start), c.Warmup+c.Duration)
		left := until.Sub(now)
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(left, reportEvery)):
		}
	}
}

func (r *run) report(what string, done, total time.Duration) {
	if f := r.cfg.Progress; f != nil {
		f(what, min(max(done, 0), total), total)
	}
}

// local reports whether the server runs on this machine, if need be in a network
// namespace of its own.
func (c *Config) local(remote netip.Addr) bool { return c.ServerPID != 0 || isLocal(remote) }

// isLocal reports whether an address is one of this machine's.
func isLocal(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if ip.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().WithZone("") == ip
	})
}

// errConnection is the error of a connection that did not come about or broke.
func errConnection(k int, err error) error { return fmt.Errorf("load: connection %d: %w", k, err) }
