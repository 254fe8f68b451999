package godwit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
)

// The engines of internal/udp, by the names of Config.Engine.
const (
	engineLinux     = "linux"
	enginePortable  = "portable"
	engineSimulated = "simulated" // Stats only
)

// bestEngine is what the empty name stands for. Tests choose another.
var bestEngine = udp.Best

// resolveEngine fills in the name of the engine, or says why it cannot be.
func (l *limits) resolveEngine() error {
	switch name := l.Engine; {
	case l.Tuning.Simulation != nil:
		l.Engine = engineSimulated
	case name == "":
		l.Engine = bestEngine
	case name == enginePortable, name == udp.Best:
	case name == engineLinux:
		return badField("Engine", name, fmt.Sprintf("%q or empty on %s", enginePortable, runtime.GOOS))
	default:
		return badField("Engine", fmt.Sprintf("%q", name), fmt.Sprintf("%q, %q or empty", engineLinux, enginePortable))
	}
	return nil
}

// engine is what runs below an Endpoint: sockets, shards, and the goroutine of each shard.
type engine struct {
	shards  []*shard.Shard
	sockets []shard.Socket
	sim     *shard.Simulation // takes the place of goroutines; nil where they are real
	sides   []sideTable
	arenas  []arena
	running sync.WaitGroup
	slow    warning
	faults  warning
}

// seed draws 32 random bytes, from the simulation's seed if there is one.
func (l *limits) seed() (b [32]byte) {
	if sim := l.Tuning.Simulation; sim != nil {
		return sim.Seed()
	}
	_, _ = rand.Read(b[:]) // it cannot fail
	return b
}

// newEngine makes shards for the sockets; run starts them. complete fills in what differs between servers and clients.
func newEngine(l *limits, sockets []shard.Socket, complete func(*shard.Config)) *engine {
	l.impair(sockets)
	e := &engine{sockets: sockets, sides: make([]sideTable, len(sockets)), arenas: make([]arena, len(sockets))}
	e.sim = l.stepped()
	now := l.now()
	var throttle *shard.Throttle
	if l.MaxTotalSendRate > 0 {
		throttle = shard.NewThrottle(l.MaxTotalSendRate)
	}
	slots := (l.MaxConnections + len(sockets) - 1) / len(sockets)
	for i, socket := range sockets {
		cfg := shard.Config{
			Index: i, Socket: socket, Proto: &l.proto, Pages: e.arenas[i].pages, Drop: e.arenas[i].drop(), MaxSlots: slots,
			MailboxBytes: l.Tuning.MailboxBytes, PoolBytes: int64(l.Tuning.PoolBytes), CycleMessages: l.Tuning.CycleMessages, Seed: l.seed(),
			Spin: l.Tuning.Spin, Hibernate: l.Tuning.Hibernate, Throttle: throttle,
		}
		if e.sim == nil {
			cfg.Clock, cfg.Slow, cfg.Fault = l.clock(), e.slowHandler(l, i), e.fault(l)
		}
		complete(&cfg)
		e.sides[i].size = slots
		e.shards = append(e.shards, shard.New(now, cfg))
	}
	return e
}

// run starts the shards. Whatever their applications refer to is in place.
func (e *engine) run() {
	for _, s := range e.shards {
		s.SetPeers(e.shards)
		if e.sim != nil {
			e.sim.Start(s)
			continue
		}
		e.running.Go(s.Run)
	}
}

// stepped returns the simulation if everything runs on its goroutine, nil otherwise.
func (l *limits) stepped() *shard.Simulation {
	if sim := l.Tuning.Simulation; sim != nil && sim.Wait != nil {
		return sim
	}
	return nil
}

// clock returns what reads the clock.
func (l *limits) clock() func() mono.Time {
	if sim := l.Tuning.Simulation; sim != nil {
		return sim.Now
	}
	return mono.Now
}

// now reads the clock.
func (l *limits) now() mono.Time { return l.clock()() }

// warning is one kind of message that is logged at most once a minute, with how often it was held back.
type warning struct {
	mu         sync.Mutex
	at         mono.Time
	suppressed int
}

// due reports whether the message may be logged now, and how often it was held back before.
func (w *warning) due(now mono.Time) (suppressed int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at != 0 && now.Sub(w.at) < mono.Minute {
		w.suppressed++
		return 0, false
	}
	suppressed = w.suppressed
	w.at, w.suppressed = now, 0
	return suppressed, true
}

// slowHandler returns what a shard calls for functions of the Handler that held it up.
func (e *engine) slowHandler(l *limits, index int) func(shard.SlowCall) {
	return func(c shard.SlowCall) {
		if l.Logger == nil {
			return
		}
		suppressed, ok := e.slow.due(mono.Now())
		if !ok {
			return
		}
		var connection any = fmt.Sprintf("%x", uint64(c.Ref.Gen)<<32|uint64(c.Ref.Slot)) // as Conn.String does
		switch {
		case c.Call == shard.CallTick:
			connection = "none"
		case c.Ref == shard.Ref{}:
			connection = "one of several"
		}
		l.Logger.Warn("godwit: a handler held up its shard",
			"function", c.Call, "took", c.Took, "connection", connection, "shard", index, "calls", c.Calls, "suppressed", suppressed)
	}
}

// fault returns what a shard calls when it had to drop a connection because of an error of its own.
func (e *engine) fault(l *limits) func(s *shard.Shard, value any, stack []byte) {
	return func(_ *shard.Shard, value any, stack []byte) {
		if l.Logger == nil {
			return
		}
		if suppressed, ok := e.faults.due(mono.Now()); ok {
			l.Logger.Error("godwit: BUG: a connection was dropped, please report this", "panic", value, "stack", string(stack), "suppressed", suppressed)
		}
	}
}

// stop ends the shards and closes the sockets.
func (e *engine) stop() error {
	for _, s := range e.shards {
		s.Stop()
		if e.sim != nil {
			e.sim.Stop(s)
		}
	}
	e.running.Wait()
	var errs []error
	for i, s := range e.shards {
		s.Release()
		e.arenas[i].free()
		errs = append(errs, e.sockets[i].Close())
	}
	return errors.Join(errs...)
}

// socketConfig is what all sockets of a configuration have in common.
func socketConfig(l *limits) udp.Config {
	return udp.Config{
		ReceiveBuffer: l.Tuning.SocketBuffer, SendBuffer: l.Tuning.SocketBuffer,
		DisableGSO: l.Tuning.NoGSO, DisableGRO: l.Tuning.NoGRO,
		MaxDatagram: max(l.Tuning.MaxDatagram+1, 2048), IPv6Only: l.Network == "udp6", DSCP: l.DSCP,
	}
}

// listenSockets opens a server's sockets: one a shard, or one in all where the host cannot steer.
func listenSockets(addr netip.AddrPort, l *limits) ([]shard.Socket, error) {
	if sim := l.Tuning.Simulation; sim != nil {
		return sim.Listen(addr, l.Shards)
	}
	cfg := socketConfig(l)
	cfg.Addr = addr
	if l.Engine == enginePortable {
		socket, err := udp.OpenPortable(cfg)
		if err != nil {
			return nil, fmt.Errorf("godwit: listen on %v: %w", addr, err)
		}
		return []shard.Socket{socket}, nil
	}
	sockets, err := udp.OpenGroup(cfg, l.Shards)
	if errors.Is(err, udp.ErrSteering) {
		sockets, err = udp.OpenGroup(cfg, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("godwit: listen on %v: %w", addr, err)
	}
	list := make([]shard.Socket, len(sockets))
	for i, s := range sockets {
		list[i] = s
	}
	return list, nil
}

// clientSocket opens the engine that connected sockets are added to.
func clientSocket(l *limits) (shard.Socket, error) {
	if sim := l.Tuning.Simulation; sim != nil {
		return sim.Client()
	}
	cfg := socketConfig(l)
	cfg.Client = true
	if l.Engine == enginePortable {
		cfg.Shared = true // each socket costs a goroutine, so no connection has one of its own
		socket, err := udp.OpenPortable(cfg)
		if err != nil {
			return nil, fmt.Errorf("godwit: %w", err)
		}
		return socket, nil
	}
	socket, err := udp.Open(cfg)
	if err != nil {
		return nil, fmt.Errorf("godwit: %w", err)
	}
	return socket, nil
}

// await waits until done is closed. A simulation lets its time pass instead.
func (e *engine) await(ctx context.Context, done <-chan struct{}) error {
	if e.sim != nil {
		return e.sim.Wait(func() bool { return isClosed(done) || ctx.Err() != nil })
	}
	if err := e.mayWait(); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayWait returns an error on the goroutine of one of the engine's shards: what is waited for would never happen.
func (e *engine) mayWait() error {
	for _, s := range e.shards {
		if s.Calling() {
			return errInHandler
		}
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// resolveListen turns the address of Listen into an IP address and port. An empty host is every address, of both families
// unless the network says otherwise.
func resolveListen(addr, network string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil && network == "udp" {
		return ap, nil
	}
	a, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("godwit: %w", err)
	}
	ap := a.AddrPort()
	ip := ap.Addr().Unmap()
	switch {
	case !ip.IsValid() && network == "udp4":
		ip = netip.IPv4Unspecified()
	case !ip.IsValid():
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, ap.Port()), nil
}
