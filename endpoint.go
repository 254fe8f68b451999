package godwit

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/wire"
)

// Endpoint is a server's end: its sockets and all connections on them. Its methods may be called by any goroutine. A connection of Dial has an
// endpoint of its own (Conn.Endpoint): Close and Shutdown of it end that connection and leave other dials alone, and it neither accepts nor dials.
type Endpoint struct {
	limits    *limits
	handler   Handler
	engine    *engine
	pin       Pin
	addr      netip.AddrPort
	accepts   chan Conn
	listening streamQueue // of NetListener
	dialed    bool        // made by Dial for its one connection
	own       Conn        // of a dialed endpoint: its connection, under mu

	life        context.Context // of a server: ends when Close begins
	die         context.CancelFunc
	authorizing atomic.Int64

	mu                       sync.Mutex
	state                    endpointState
	ended                    chan struct{} // closed when the endpoint is closed
	empty                    chan struct{} // closed when a draining endpoint has no connection left, at the latest when it is closed
	emptied                  sync.Once
	started                  time.Time
	opened                   mono.Time // the same moment by the endpoint's own clock
	summary                  warning   // the line a minute
	logged                   Stats     // at the last one
	panics                   atomic.Uint64
	unread                   atomic.Uint64 // unreliable messages that nobody received in time
	groupSends, groupRefused atomic.Uint64
	unasked                  atomic.Uint64 // clients turned away without a call of Config.Authorize

	inline  func(Conn, Message) // Handler.Message, if it runs on the shard
	workers *asyncWorkers       // of Async, or nil
}

type endpointState uint8

const (
	endpointOpen endpointState = iota
	endpointDraining
	endpointClosed
)

// Shard is what Handler.Tick is called for: one goroutine's share of an endpoint's connections.
type Shard struct {
	ep    *Endpoint
	index int
}

// Conns ranges over the open connections of the shard. It may be used in Handler.Tick only.
func (s *Shard) Conns() iter.Seq[Conn] {
	return func(yield func(Conn) bool) {
		for r, a := range s.ep.engine.shards[s.index].Refs() {
			if owner, ok := a.(interface{ conn(shard.Ref) Conn }); ok && !yield(owner.conn(r)) {
				return
			}
		}
	}
}

// Index returns the shard's number, counted from zero.
func (s *Shard) Index() int { return s.index }

// Endpoint returns the endpoint that the shard is part of.
func (s *Shard) Endpoint() *Endpoint { return s.ep }

// Listen opens a server at addr, such as ":4242" (every address, both families) or "127.0.0.1:0" (a port of the host's choice).
// Without certificates in cfg it uses the development identity, see Config.Identity. The caller closes the endpoint.
func Listen(addr string, cfg *Config) (*Endpoint, error) {
	l, err := resolve(cfg)
	if err != nil {
		return nil, err
	}
	at, err := resolveListen(addr, l.Network)
	if err != nil {
		return nil, err
	}
	tlsConfig, identity, err := serverTLS(l)
	if err != nil {
		return nil, err
	}
	sockets, err := listenSockets(at, l)
	if err != nil {
		return nil, err
	}
	e := newEndpoint(l)
	e.life, e.die = context.WithCancel(context.Background())
	if identity != nil {
		e.pin = Pin(identity.Pin())
	}
	e.addr = sockets[0].LocalAddr().AddrPort()
	if e.handler.Open == nil && e.handler.Message == nil && e.workers == nil {
		e.accepts = make(chan Conn, l.Tuning.AcceptBacklog)
	}
	ids := newIDs(l, identity, e.addr, len(sockets))
	workers := newWorkers(l, l.Tuning.HalfOpen)
	e.engine = newEngine(l, sockets, func(c *shard.Config) {
		c.App, c.IDs, c.Workers = app{e}, ids, workers
		c.HalfOpen, c.AlwaysRetry = l.Tuning.HalfOpen, l.Tuning.AlwaysRetry
		c.NewSession = serverSession(l, tlsConfig)
		if l.Authorize != nil {
			c.Authorize = e.authorize
		}
		e.tick(c)
		if l.Logger != nil && c.Clock != nil {
			c.Published = e.published
		}
	})
	e.summary.at = l.now()
	e.engine.run()
	e.log("listening", "addr", e.addr, "pin", e.pin, "shards", len(sockets))
	return e, nil
}

// newEndpoint returns an endpoint that has no engine yet.
func newEndpoint(l *limits) *Endpoint {
	if sim := l.Tuning.Simulation; sim != nil {
		sim.Once.Do(func() {
			sim.ShardOf = func(conn any) *shard.Shard { return conn.(Conn).shard() }
		})
	}
	e := &Endpoint{limits: l, handler: l.Handler, ended: make(chan struct{}), empty: make(chan struct{}), started: time.Now(), opened: l.now()}
	if l.Panic != nil {
		e.handler = e.guarded(l.Handler)
	}
	if e.handler.workers > 0 {
		e.workers = &asyncWorkers{limit: e.handler.workers}
	} else {
		e.inline = e.handler.Message
	}
	return e
}

// tick has Handler.Tick called by a shard.
func (e *Endpoint) tick(c *shard.Config) {
	if e.handler.Tick == nil {
		return
	}
	public := &Shard{ep: e, index: c.Index}
	c.TickEvery = e.limits.TickInterval
	first, started := e.opened, e.started
	c.Tick = func(_ *shard.Shard, now mono.Time) { e.handler.Tick(public, started.Add(now.Sub(first))) }
}

// log tells of the endpoint's life.
func (e *Endpoint) log(msg string, args ...any) {
	if e.limits.Logger != nil {
		e.limits.Logger.Info("godwit: "+msg, args...)
	}
}

// debug tells of one connection, to those who asked for it.
func (e *Endpoint) debug(msg string, c Conn, err error) {
	if l := e.limits.Logger; l != nil && l.Enabled(context.Background(), slog.LevelDebug) {
		l.Debug("godwit: "+msg, "connection", c, "error", err)
	}
}

// published runs on a shard whenever there are new figures. Once a minute, while anything goes on, they become a line of the log, which
// a goroutine of its own writes: the shard waits for no disk.
func (e *Endpoint) published(now mono.Time) {
	if _, ok := e.summary.due(now); ok {
		e.engine.running.Go(e.summarize)
	}
}

// summarize logs what has happened since the last time.
func (e *Endpoint) summarize() {
	st := e.Stats()
	e.mu.Lock()
	was := e.logged
	e.logged = st
	e.mu.Unlock()
	e.log("summary", "connections", st.Connections, "opened", st.Opened-was.Opened, "closed", st.Closed-was.Closed,
		"received", st.MessagesReceived-was.MessagesReceived, "sent", st.MessagesSent-was.MessagesSent,
		"repeated", st.MessagesRetransmitted-was.MessagesRetransmitted, "kernelDrops", st.KernelDrops-was.KernelDrops,
		"slowHandlers", st.SlowHandlers-was.SlowHandlers, "stalls", st.Stalls-was.Stalls)
}

// Serve listens at addr and serves h until ctx ends. Then it refuses new connections, delivers what was sent, for at most
// Config.Linger, closes, and returns nil.
func Serve(ctx context.Context, addr string, h Handler, cfg *Config) error {
	c := cfg.clone()
	c.Handler = h
	e, err := Listen(addr, c)
	if err != nil {
		return err
	}
	<-ctx.Done()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.limits.Linger+time.Second)
	defer cancel()
	_ = e.Shutdown(drain) // what is not delivered by then is cut off, as documented
	return nil
}

// Addr returns the address that the endpoint listens at. That of a dialed connection listens nowhere: its address is the zero AddrPort.
func (e *Endpoint) Addr() netip.AddrPort { return e.addr }

// Identity returns the pin of the endpoint's own public key: what a client needs to trust it. Dial takes it and Addr as one address:
// fmt.Sprintf("godwit://%v?pin=%v", e.Addr(), e.Identity()). It is zero if the key is chosen by TLS callbacks.
func (e *Endpoint) Identity() Pin { return e.pin }

// Accept waits for the next connection. It is for endpoints without Handler.Open and Handler.Message. Connections that come faster than they are
// accepted wait in a queue of Tuning.AcceptBacklog; beyond its end they are closed with the transport code SERVER_BUSY (0x6706), which their
// clients see as a *CloseError, since their handshake is complete by then. Errors: the context's, bare, and one that is net.ErrClosed when
// the endpoint is closed.
func (e *Endpoint) Accept(ctx context.Context) (Conn, error) {
	if e.accepts == nil {
		return Conn{}, errHandled
	}
	select {
	case <-e.ended:
		return Conn{}, errEndpointClosed
	default:
	}
	if sim := e.engine.sim; sim != nil {
		if err := sim.Wait(func() bool { return len(e.accepts) > 0 || isClosed(e.ended) || ctx.Err() != nil }); err != nil {
			return Conn{}, err
		}
	}
	if err := e.engine.mayWait(); err != nil {
		return Conn{}, err
	}
	select {
	case c := <-e.accepts:
		return c, nil
	case <-e.ended:
		return Conn{}, errEndpointClosed
	case <-ctx.Done():
		return Conn{}, ctx.Err()
	}
}

// Shutdown refuses new connections, closes the present ones in good order (Conn.Close), waits for them, and closes the endpoint. If ctx
// ends first, what is left is cut off and the context's error is returned. If another call of Shutdown or Close ends the endpoint meanwhile, it returns
// an error that is net.ErrClosed.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	if err := e.engine.mayWait(); err != nil {
		return err
	}
	e.mu.Lock()
	if e.state == endpointClosed {
		e.mu.Unlock()
		return errEndpointClosed
	}
	first := e.state == endpointOpen
	e.state = endpointDraining
	own := e.own
	e.mu.Unlock()
	if e.dialed {
		_ = own.Close() // it may be over
		return e.closeAfter(e.engine.await(ctx, own.Done()))
	}
	if first {
		e.drain()
	}
	return e.closeAfter(e.engine.await(ctx, e.empty))
}

// drain has all shards close their connections in good order.
func (e *Endpoint) drain() {
	e.log("draining", "addr", e.addr, "connections", e.Stats().Connections)
	var left atomic.Int64
	left.Store(int64(len(e.engine.shards)))
	for _, s := range e.engine.shards {
		s.Drain(uint64(wire.Shutdown), func() {
			if left.Add(-1) == 0 {
				e.leave()
			}
		})
	}
}

// leave lets all calls of Shutdown go on.
func (e *Endpoint) leave() { e.emptied.Do(func() { close(e.empty) }) }

// closeAfter closes the endpoint and returns the first error.
func (e *Endpoint) closeAfter(err error) error {
	if closeErr := e.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Close closes all connections at once, with the transport code SHUTDOWN, and the sockets. It waits until the shards have ended, so it
// must not be called from a Handler.
func (e *Endpoint) Close() error {
	if err := e.engine.mayWait(); err != nil {
		return err
	}
	e.mu.Lock()
	if e.state == endpointClosed {
		e.mu.Unlock()
		return errEndpointClosed
	}
	e.state = endpointClosed
	own := e.own
	e.mu.Unlock()
	if e.dialed { // other dials have the same engine
		if own.ep != nil {
			own.shard().Abort(own.ref(), uint64(wire.Shutdown), "")
		}
		err := e.engine.await(context.Background(), own.Done())
		close(e.ended)
		return err
	}
	e.die()
	for _, s := range e.engine.shards {
		s.CloseAll(uint64(wire.Shutdown), "")
	}
	err := e.engine.stop()
	close(e.ended)
	e.leave()
	e.log("closed", "addr", e.addr)
	return err
}

// side returns what goroutines wait on for a connection, nil if it is forgotten.
func (e *Endpoint) side(c Conn) *side {
	slot, table := c.slot(), c.sides()
	if s := table.get(c.ref()); s != nil {
		return s
	}
	if slot.State(c.gen()) == uint32(StateGone) {
		return nil
	}
	s := table.obtain(c.ref())
	if end, over := slot.End(c.gen()); over {
		s.end(endError(&end))
	}
	return s
}

// The methods below are shard.App: they run on the shards' goroutines.

type app struct{ *Endpoint }

func (e app) conn(r shard.Ref) Conn { return Conn{e.Endpoint, uint64(r.Gen)<<32 | uint64(r.Slot)} }

func (e app) sides(r shard.Ref) *sideTable { return &e.engine.sides[r.Slot>>slotBits] }

// Open hands a connection to the application.
func (e app) Open(s *shard.Shard, r shard.Ref) *shard.Refusal {
	c := e.conn(r)
	e.identify(s, r)
	e.debug("connection opened", c, nil)
	if e.dialed || e.accepts != nil {
		e.sides(r).obtain(r) // so that the reason of an early end is kept
	}
	switch {
	case e.workers != nil:
		e.hand(r, record{kind: recordOpen})
	case e.handler.Open != nil:
		if err := e.handler.Open(c); err != nil {
			return refusal(err)
		}
	case e.accepts != nil:
		select {
		case e.accepts <- c:
		default:
			if !e.listening.active() { // its streams are what is accepted
				return &shard.Refusal{Code: uint64(wire.ServerBusy)}
			}
		}
	}
	return nil
}

// refusal is what the peer sees of an error of Handler.Open.
func refusal(err error) *shard.Refusal {
	if e, ok := err.(*CloseError); ok { //nolint:errorlint // a wrapped one is not a choice of code
		return &shard.Refusal{Code: e.Code, Reason: e.Reason, App: true}
	}
	return &shard.Refusal{Code: uint64(wire.Policy), Reason: err.Error()}
}

// Message delivers a message to the handler, or keeps it for Receive.
func (e app) Message(_ *shard.Shard, r shard.Ref, ev *proto.Event) bool {
	if e.inline != nil {
		e.inline(e.conn(r), Message{Payload: ev.Payload, Channel: Channel(ev.Channel), Key: ev.Key})
		return true
	}
	limit := 0
	if !e.limits.reliable[ev.Channel] {
		limit = e.limits.Tuning.ReceiveBacklog // credit bounds the reliable ones
	}
	s := e.sides(r).obtain(r)
	if !s.put(record{channel: ev.Channel, key: ev.Key, payload: ev.Payload}, limit) {
		e.unread.Add(1)
		return true
	}
	if e.workers != nil {
		e.workers.schedule(e.conn(r), s)
	}
	return false
}

// hand gives a record to a worker of Async.
func (e app) hand(r shard.Ref, rec record) {
	s := e.sides(r).obtain(r)
	s.put(rec, 0)
	e.workers.schedule(e.conn(r), s)
}

func (e app) Gap(_ *shard.Shard, r shard.Ref, channel uint16, n int) {
	switch {
	case e.workers != nil:
		e.hand(r, record{kind: recordGap, channel: channel, key: uint64(n)})
	case e.handler.Gap != nil:
		e.handler.Gap(e.conn(r), Channel(channel), n)
	}
}

func (e app) Outcome(_ *shard.Shard, r shard.Ref, tag uint64, o proto.Outcome) {
	switch {
	case e.workers != nil:
		e.hand(r, record{kind: recordOutcome, key: tag, channel: uint16(o)})
	case e.handler.Outcome != nil:
		e.handler.Outcome(e.conn(r), tag, Outcome(o))
	}
}

func (e app) Writable(_ *shard.Shard, r shard.Ref) {
	if s := e.sides(r).get(r); s != nil {
		s.opened()
	}
	switch {
	case e.workers != nil:
		e.hand(r, record{kind: recordWritable})
	case e.handler.Writable != nil:
		e.handler.Writable(e.conn(r))
	}
}

func (e app) Closed(_ *shard.Shard, r shard.Ref, end *shard.Closed) {
	err := endError(end)
	switch {
	case end.Open:
		e.debug("connection closed", e.conn(r), err)
	case end.Remote:
		e.debug("connection closed before it was open", e.conn(r), err)
	}
	if e.workers != nil && end.Open {
		e.sides(r).obtain(r)
	}
	if s := e.sides(r).get(r); s != nil {
		s.end(err)
	}
	switch {
	case !end.Open:
	case e.workers != nil:
		e.hand(r, record{kind: recordClose})
	case e.handler.Close != nil:
		e.handler.Close(e.conn(r), err)
	}
}

func (e app) Freed(*shard.Shard, shard.Ref) {}
