package netem

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

// ErrClosed is returned by the methods of a proxy that is closed. It is net.ErrClosed.
var ErrClosed = fmt.Errorf("netem: proxy is closed: %w", net.ErrClosed)

// Proxy is a bad network between clients and one server. Its methods may be called by any goroutine; all but Addr wait for the proxy's own,
// which answers within a batch of datagrams, well below a millisecond.
type Proxy struct {
	addr   netip.AddrPort
	engine *udp.Engine

	mu    sync.Mutex
	calls []call // for the loop
	ended bool   // no more are taken
	final Stats  // those of the end

	called atomic.Bool // there are calls
	done   chan struct{}
	closed error // what closing the sockets gave; valid after done

	// What follows belongs to the loop.
	cfg      Config
	target   udp.Addr
	began    mono.Time
	closing  bool
	up, down way
	in       udp.ReadBatch
	store    store
	slots    []held
	spare    []uint32 // slots
	mostHeld int
	train    uint32
	dark     []impair.Blackout
	flows    flows
}

// call is a function that another goroutine waits for.
type call struct {
	f    func()
	done chan struct{}
}

// Listen opens a proxy, which runs until it is closed. An error names the field of cfg that is wrong, or is that of the socket.
func Listen(cfg Config) (*Proxy, error) {
	p, err := open(cfg)
	if err != nil {
		return nil, err
	}
	go p.run()
	return p, nil
}

// open does all but run the loop.
func open(cfg Config) (*Proxy, error) {
	listen, target, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	engine, err := udp.Open(udp.Config{
		Client: true, Bound: listen, ReadEntries: batch, MaxDatagram: maxDatagram,
		ReceiveBuffer: socketBuffer, SendBuffer: socketBuffer, DisableGSO: cfg.DisableOffload, DisableGRO: cfg.DisableOffload,
	})
	if err != nil {
		return nil, fmt.Errorf("netem: %w", err)
	}
	p := &Proxy{
		addr: engine.SocketAddr(front).AddrPort(), engine: engine, done: make(chan struct{}),
		cfg: cfg, target: udp.AddrFrom(target), began: mono.Now(),
		store: store{most: int(cfg.Buffer / chunkSize)}, mostHeld: int(cfg.Buffer / leastCharge),
	}
	p.flows.byClient = map[udp.Addr]uint32{}
	p.flows.check = mono.Never
	p.up.link, p.down.link = impair.New(impair.Config{}, seedOf(cfg.Seed, 0)), impair.New(impair.Config{}, seedOf(cfg.Seed, 1))
	p.configure()
	return p, nil
}

const (
	batch       = 64 // entries of one read, datagrams or trains of one write
	front       = 0  // the number of the socket that the clients see
	maxDatagram = 65507
	// leastCharge is what each datagram counts at least in Config.Buffer.
	leastCharge = 128
	// socketBuffer holds a few ten thousand small datagrams, for the times that the proxy does not run.
	socketBuffer = 4 << 20
)

// seedOf gives each direction luck of its own. Config.Impair with the same seed has that of Up for what its first shard sends.
func seedOf(seed uint64, direction byte) (key [32]byte) {
	for b := range 8 {
		key[b] = byte(seed >> (8 * b))
	}
	key[9] = direction
	return key
}

// configure gives the links what is to happen from now on.
func (p *Proxy) configure() {
	up, down := impair.Params(p.cfg.Up).Config(), impair.Params(p.cfg.Down).Config()
	up.Blackouts, down.Blackouts = p.dark, p.dark
	p.up.link.SetConfig(up)
	p.down.link.SetConfig(down)
}

// Addr is the address that clients send to.
func (p *Proxy) Addr() netip.AddrPort { return p.addr }

// Stats are the figures at the moment, or those of the end if the proxy is closed.
func (p *Proxy) Stats() Stats {
	var s Stats
	if p.do(func() { s = p.stats() }) != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.final
	}
	return s
}

// SetLinks changes both directions from the next datagram on; those under way arrive as it was decided. The error names the field that makes
// no sense, and then nothing changes; or it is ErrClosed.
func (p *Proxy) SetLinks(up, down Link) error {
	if err := checkLinks(up, down); err != nil {
		return err
	}
	return p.do(func() {
		p.cfg.Up, p.cfg.Down = up, down
		p.configure()
	})
}

// Blackout loses all that is received in both directions from now on, for the given time; zero or less ends one that lasts. What is under way
// still arrives. The error is ErrClosed.
func (p *Proxy) Blackout(d time.Duration) error {
	return p.do(func() {
		now := mono.Now()
		p.dark = nil
		if d > 0 {
			p.dark = []impair.Blackout{{From: now, To: now.Add(d)}}
		}
		p.configure()
	})
}

// Rebind gives each client another socket on the target's side, as a NAT does that has forgotten its mappings: the target sees the clients come
// from other ports, and what it sends to the old ones is lost. What is under way to the target leaves from the new port. It returns how many
// clients have changed; the error is that of the first for which no socket could be opened, which keeps its old one, or ErrClosed.
func (p *Proxy) Rebind() (n int, err error) {
	if closed := p.do(func() { n, err = p.rebind() }); closed != nil {
		return 0, closed
	}
	return n, err
}

// Close closes the sockets; what is under way is lost. Another Close waits for the first and returns what it does.
func (p *Proxy) Close() error {
	_ = p.do(func() { p.closing = true }) // ErrClosed: it is closed already
	<-p.done
	return p.closed
}

// do has the loop run f and waits for it.
func (p *Proxy) do(f func()) error {
	c := call{f, make(chan struct{})}
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return ErrClosed
	}
	p.calls = append(p.calls, c)
	p.called.Store(true)
	p.mu.Unlock()
	p.engine.Wake()
	<-c.done
	return nil
}

// answer runs what do left.
func (p *Proxy) answer() {
	if !p.called.Load() {
		return
	}
	p.mu.Lock()
	calls := p.calls
	p.calls = nil
	p.called.Store(false)
	p.mu.Unlock()
	for _, c := range calls {
		c.f()
		close(c.done)
	}
}

// run is the loop.
func (p *Proxy) run() {
	defer close(p.done)
	for !p.closing {
		p.turn()
		p.answer()
	}
	p.mu.Lock()
	p.final, p.ended = p.stats(), true
	p.mu.Unlock()
	p.answer()
	p.in.Free()
	p.closed = p.engine.Close()
}

// turn reads a batch, sends what is due and, if there is nothing more to do, waits until there is.
func (p *Proxy) turn() {
	p.engine.Read(&p.in)
	now := mono.Now()
	p.receive(now)
	blocked := p.send(&p.up, now)
	blocked = p.send(&p.down, now) || blocked
	if now >= p.flows.check {
		p.expire(now)
	}
	now = mono.Now()
	if p.in.More {
		p.engine.Wait(now, 0) // sees which other sockets have something; one that is never empty would starve them
		return
	}
	next := min(p.up.due.next(), p.down.due.next(), p.flows.check)
	if blocked {
		next = min(next, now.Add(blockedWait))
	}
	switch d := next.Sub(now); {
	case p.called.Load(): // the read above may have taken the wake-up of that call
	case next == mono.Never:
		p.engine.Wait(now, -1)
	case d > preciseBelow:
		p.engine.Wait(now, d-early)
	case d > 0:
		p.engine.Wait(now, d)
	}
}

const (
	// blockedWait is the pause before a full socket is tried again.
	blockedWait = 50 * mono.Microsecond
	// Long sleeps may end 50 µs late, short ones are precise (see udp.Engine.Wait): so the last part of a long one is slept for itself.
	preciseBelow = mono.Millisecond
	early        = 200 * mono.Microsecond
)

func (p *Proxy) stats() Stats {
	e := p.engine.Stats()
	return Stats{
		Uptime: mono.Now().Sub(p.began), Up: p.up.figures(), Down: p.down.figures(),
		Flows: len(p.flows.byClient), FlowsOpened: p.flows.opened, FlowsExpired: p.flows.expired, Rebinds: p.flows.rebinds,
		KernelDrops: e.KernelDrops, BufferHint: e.Hint, Unreachable: e.ICMPErrors,
	}
}
