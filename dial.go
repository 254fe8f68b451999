package godwit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"godwit.example/godwit/internal/handshake"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// target is a server's address, taken apart.
type target struct {
	host string
	port uint16
	pins []Pin
	addr netip.AddrPort   // that is being tried
	more []netip.AddrPort // to be tried if it does not answer
}

// parseTarget reads host:port or godwit://host:port?pin=…; there may be several pins, the current one and the next.
func parseTarget(s string) (*target, error) {
	t := new(target)
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("godwit: address %q: %w", s, err)
		}
		if u.Scheme != "godwit" || u.User != nil || u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("godwit: address %q is not of the form godwit://host:port?pin=…", s)
		}
		for _, text := range u.Query()["pin"] {
			pin, err := ParsePin(text)
			if err != nil {
				return nil, err
			}
			t.pins = append(t.pins, pin)
		}
		s = u.Host
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return nil, fmt.Errorf("godwit: address %q: %w", s, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("godwit: address %q: %q is not a port", s, port)
	}
	t.host, t.port = host, uint16(n)
	if host == "" {
		t.host = "localhost"
	}
	return t, nil
}

// Several addresses of a host are tried one after the other, each but the last for a limited time.
const (
	maxAddresses   = 4
	addressTimeout = 2 * time.Second
)

// lookup finds the target's IP addresses, in the order of the resolver but for loopback: there IPv4 comes first, because most servers
// listen on 127.0.0.1.
func (t *target) lookup(ctx context.Context, network string) error {
	if ip, err := netip.ParseAddr(t.host); err == nil {
		if ip = ip.Unmap(); ip == netip.IPv4Unspecified() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // this host, as package net has it; answers come from there
		} else if ip == netip.IPv6Unspecified() {
			ip = netip.IPv6Loopback()
		}
		t.addr = netip.AddrPortFrom(ip.Unmap(), t.port)
		return nil
	}
	family := "ip" + strings.TrimPrefix(network, "udp")
	ips, err := net.DefaultResolver.LookupNetIP(ctx, family, t.host)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &HandshakeError{Stage: "resolve", Seen: err.Error(), Hint: "check the host name", Err: err}
	}
	for i, ip := range ips {
		ips[i] = ip.Unmap()
	}
	slices.SortStableFunc(ips, func(a, b netip.Addr) int {
		if a.IsLoopback() && b.IsLoopback() {
			return a.BitLen() - b.BitLen()
		}
		return 0
	})
	ips = slices.Compact(ips)
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		t.more = append(t.more, netip.AddrPortFrom(ip, t.port))
	}
	t.addr, t.more = t.more[0], t.more[1:]
	return nil
}

// Dial connects to a server at host:port or godwit://host:port?pin=…. The handshake is bounded by ctx and Config.HandshakeTimeout, 10 s by default. Dials
// with equal configuration share one goroutine and one epoll set; each connection has its own socket, on the portable engine its share of
// eight. Errors: *HandshakeError,
// ErrBusy, the context's, and those of the configuration.
func Dial(ctx context.Context, addr string, cfg *Config) (Conn, error) {
	l, err := resolve(cfg)
	if err != nil {
		return Conn{}, err
	}
	t, err := parseTarget(addr)
	if err != nil {
		return Conn{}, err
	}
	if err := t.lookup(ctx, l.Network); err != nil {
		return Conn{}, err
	}
	e := newEndpoint(l)
	e.dialed = true
	l.throttleOne()
	c, err := e.dialEach(ctx, l, t, func() (*shard.Shard, shard.App, error) {
		engine, err := clients.join(e)
		if err != nil {
			return nil, nil, err
		}
		return engine.engine.shards[0], dialedApp{app{e}, engine}, nil
	})
	e.mu.Lock()
	e.own = c
	e.mu.Unlock()
	return c, err
}

// Dial connects to another server from the endpoint's own sockets: any number of connections share them. cfg says whom to trust (TLS, Pins,
// Identity); everything else is the endpoint's. The endpoint must come from Listen.
func (e *Endpoint) Dial(ctx context.Context, addr string, cfg *Config) (Conn, error) {
	t, err := parseTarget(addr)
	if err != nil {
		return Conn{}, err
	}
	if err := t.lookup(ctx, e.limits.Network); err != nil {
		return Conn{}, err
	}
	trust := *e.limits
	if cfg != nil {
		c := cfg.clone()
		trust.TLS, trust.Pins, trust.Identity, trust.KeyLog = c.TLS, c.Pins, c.Identity, c.KeyLog
	}
	if e.dialed {
		return Conn{}, errDialed
	}
	e.mu.Lock()
	open := e.state == endpointOpen
	e.mu.Unlock()
	if !open {
		return Conn{}, errEndpointClosed
	}
	return e.dialEach(ctx, &trust, t, func() (*shard.Shard, shard.App, error) {
		return e.engine.shards[0], outgoing{app{e}}, nil
	})
}

// throttleOne makes one limit of both: a dialed connection is all that its endpoint has, but its engine has others.
func (l *limits) throttleOne() {
	if total := l.MaxTotalSendRate; total > 0 && (l.MaxSendRate == 0 || total < l.MaxSendRate) {
		l.MaxSendRate = total
	}
	l.MaxTotalSendRate, l.proto.MaxSendRate = 0, l.MaxSendRate
}

// dialEach tries the target's addresses in turn until one answers.
func (e *Endpoint) dialEach(ctx context.Context, trust *limits, t *target, prepare func() (*shard.Shard, shard.App, error)) (Conn, error) {
	for {
		s, a, err := prepare()
		if err != nil {
			return Conn{}, err
		}
		if len(t.more) == 0 {
			return e.dialWith(ctx, trust, s, a, t)
		}
		try, cancel := context.WithTimeout(ctx, addressTimeout)
		c, err := e.dialWith(try, trust, s, a, t)
		cancel()
		var failed *HandshakeError
		answered := errors.As(err, &failed) && failed.Stage != "first answer" && failed.Stage != "socket"
		if err == nil || answered || ctx.Err() != nil {
			return c, err
		}
		t.addr, t.more = t.more[0], t.more[1:]
	}
}

// dialWith runs one dial and waits for its result.
func (e *Endpoint) dialWith(ctx context.Context, trust *limits, s *shard.Shard, a shard.App, t *target) (Conn, error) {
	cfg, err := clientTLS(trust, t)
	if err != nil {
		a.Freed(s, shard.Ref{})
		return Conn{}, err
	}
	var got struct {
		r   shard.Ref
		end *shard.Closed
	}
	done := make(chan struct{})
	d := &shard.Dial{
		App: a, Remote: wire.Addr(udp.AddrFrom(t.addr)),
		NewSession: clientSession(trust, cfg),
		Done: func(r shard.Ref, end *shard.Closed) {
			got.r, got.end = r, end
			close(done)
		},
	}
	if !s.Dial(d) {
		a.Freed(s, shard.Ref{})
		return Conn{}, errEndpointClosed
	}
	if err := e.engine.await(ctx, done); err != nil {
		s.Cancel(d)
		if err := e.engine.await(context.WithoutCancel(ctx), done); err != nil {
			return Conn{}, err
		}
	}
	if got.end == nil {
		return app{e}.conn(got.r), nil
	}
	if errors.Is(got.end.Err, shard.ErrCanceled) {
		return Conn{}, ctx.Err()
	}
	return Conn{}, dialError(got.end, t)
}

// dialError makes the error of a dial from how its connection ended.
func dialError(end *shard.Closed, t *target) error {
	h := &HandshakeError{Stage: "first answer", Err: end.Err}
	code := wire.ErrorCode(end.Code)
	var failed *handshake.Error
	switch {
	case errors.Is(end.Err, shard.ErrFull):
		return errFull
	case errors.As(end.Err, &failed):
		h.Stage, h.Seen, h.Hint = "tls", failed.Err.Error(), failed.Hint()
	case end.Err != nil:
		h.Stage, h.Seen = "socket", end.Err.Error()
	case end.Idle:
		h.time = true
		h.Seen = fmt.Sprintf("no answer from %v", t.addr)
		h.Hint = "is the server running, is UDP allowed to its port, does it use this port?"
	case end.Remote && end.Code == proto.CodeStatelessReset:
		h.Seen = "the server does not know this connection"
	case end.Remote && !end.App && code == wire.ServerBusy:
		return ErrBusy
	case end.Remote:
		if alert, ok := code.Alert(); ok {
			e := handshake.PeerAlert(alert, true)
			h.Stage, h.Seen, h.Hint, h.Err = "tls", e.Err.Error(), e.Hint(), e
			break
		}
		h.Stage = "parameters"
		h.Seen = fmt.Sprintf("the server closed with %v", code)
		if end.Reason != "" {
			h.Seen += ": " + end.Reason
		}
		h.Err = endError(end)
	default:
		h.Stage, h.Seen = "parameters", fmt.Sprintf("%v: %s", code, end.Reason)
		h.Err = endError(end)
	}
	return h
}

// clientEngines are the engines below the connections of Dial. One serves all dials of equal configuration, as long as there is any.
type clientEngines struct {
	mu   sync.Mutex
	list []*clientEngine
}

type clientEngine struct {
	*engine
	owner *clientEngines
	name  string // Config.Engine
	worse *Impair
	proto proto.Config
	tune  Tuning
	dscp  int
	tick  func(*Shard, time.Time) // of the dial that started the engine
	every time.Duration
	users int // dials and connections
}

// serves reports whether the engine does for a dial of these limits. Where there is a Tick, it must be the very same function at the
// same interval, as it is when one Config is dialed with repeatedly: the engine calls it once for all.
func (e *clientEngine) serves(l *limits) bool {
	return e.name == l.Engine && e.tune == l.Tuning && e.dscp == l.DSCP && reflect.DeepEqual(&e.proto, &l.proto) && reflect.DeepEqual(e.worse, l.Impair) && sameTick(e.tick, l.Handler.Tick) &&
		(e.tick == nil || e.every == l.TickInterval)
}

// sameTick reports whether two functions are one closure. Functions do not compare in Go, but the pointers to their closures do.
func sameTick(a, b func(*Shard, time.Time)) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}

var clients clientEngines

// join returns an engine for a dial, which leaves it when its connection is forgotten.
func (c *clientEngines) join(ep *Endpoint) (*clientEngine, error) {
	l := ep.limits
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.list {
		if e.serves(l) {
			e.users++
			ep.engine = e.engine
			return e, nil
		}
	}
	socket, err := clientSocket(l)
	if err != nil {
		return nil, err
	}
	e := &clientEngine{owner: c, name: l.Engine, worse: l.Impair, proto: l.proto, tune: l.Tuning, dscp: l.DSCP, tick: l.Handler.Tick, every: l.TickInterval, users: 1}
	e.engine = newEngine(l, []shard.Socket{socket}, func(c *shard.Config) {
		c.Workers = newWorkers(l, 0)
		if l.Engine == enginePortable {
			c.IDs = newIDs(l, nil, netip.AddrPort{}, 1) // its sockets are shared: connection IDs tell the connections apart
		}
		ep.tick(c)
	})
	ep.engine = e.engine
	e.run()
	c.list = append(c.list, e)
	return e, nil
}

// leave ends one use of the engine. The last one stops it, on a goroutine of its own: the caller may be the engine's shard.
func (e *clientEngine) leave() {
	c := e.owner
	c.mu.Lock()
	e.users--
	last := e.users == 0
	if last {
		for i := range c.list {
			if c.list[i] == e {
				c.list = append(c.list[:i], c.list[i+1:]...)
				break
			}
		}
	}
	c.mu.Unlock()
	switch {
	case !last:
	case e.sim != nil:
		e.sim.Later(func() { _ = e.stop() })
	default:
		go e.stop() //nolint:errcheck // closing a datagram socket cannot lose anything
	}
}

// outgoing is the app of a connection that an endpoint dialed: it does not wait for Accept.
type outgoing struct{ app }

// Open tells the handler, if it wants to know.
func (o outgoing) Open(s *shard.Shard, r shard.Ref) *shard.Refusal {
	if o.handler.Open == nil && o.workers == nil {
		o.sides(r).obtain(r)
		o.identify(s, r)
		o.debug("connection opened", o.conn(r), nil)
		return nil
	}
	return o.app.Open(s, r)
}

// dialedApp is the app of a connection that Dial made.
type dialedApp struct {
	app
	clients *clientEngine
}

// Freed gives up the connection's share of the engine.
func (d dialedApp) Freed(*shard.Shard, shard.Ref) { d.clients.leave() }
