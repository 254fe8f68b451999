package peer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/bench/internal/room"
)

// The ways in which an application may use the library, as those of the echo servers.
const (
	wayHandler   = "handler"   // on the shard; an authority ticks by Handler.Tick
	wayGoroutine = "goroutine" // another goroutine relays what the handler retains, or ticks
	wayBlocking  = "blocking"  // a goroutine for each connection receives; another one ticks
)

// channelOf is the channel that carries a kind. In a relay the newest state of each
// member is sure to arrive; an authority's ticks and its members' inputs
// replace one another so soon that nobody repeats them.
func channelOf(app *room.App, k room.Kind) godwit.Channel {
	switch {
	case k != room.State:
		return godwit.OrderedChannel
	case app.Relay():
		return godwit.LatestChannel
	}
	return godwit.SequencedChannel
}

// hall is the server of a room over godwit. One goroutine uses it, or mu guards it.
type hall struct {
	app      room.App
	everyone *godwit.Group

	mu      sync.Mutex
	members map[godwit.Conn]*hallMember
	tick    uint64
	buf     []byte
}

type hallMember struct {
	number uint32
	inputs uint64
}

// message takes one message: a hello, what is to be relayed, or an input.
func (h *hall) message(c godwit.Conn, m godwit.Message) {
	var head room.Header
	if !head.Parse(m.Payload) {
		return
	}
	switch {
	case head.Kind == room.Hello:
		h.join(c, m.Payload, &head)
	case h.app.Relay():
		_, err := h.everyone.SendExcept(c, godwit.Message{Channel: m.Channel, Key: uint64(head.Member), Payload: m.Payload})
		if err != nil && head.Kind == room.Reliable {
			_ = c.CloseWithError(1, "the room is too slow: "+err.Error())
		}
	default:
		h.mu.Lock()
		if o := h.members[c]; o != nil {
			o.inputs++
		}
		h.mu.Unlock()
	}
}

func (h *hall) join(c godwit.Conn, hello []byte, head *room.Header) {
	h.mu.Lock()
	h.members[c] = &hallMember{number: head.Member}
	h.mu.Unlock()
	err := c.Send(godwit.OrderedChannel, hello)
	if err == nil && h.app.Relay() {
		err = h.everyone.Add(c)
	}
	if err != nil {
		_ = c.CloseWithError(1, "hello: "+err.Error())
	}
}

func (h *hall) leave(c godwit.Conn) {
	h.mu.Lock()
	delete(h.members, c)
	h.mu.Unlock()
}

// next is one tick of an authority. A state that finds no room is made up for by the next.
func (h *hall) next() {
	now := room.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tick++
	for c, m := range h.members {
		head := room.Header{Kind: room.State, Member: m.number, Seq: h.tick, Time: now, Inputs: m.inputs}
		h.buf = head.Append(h.buf[:0], h.app.State)
		_ = c.Send(godwit.SequencedChannel, h.buf)
	}
}

func (h *hall) ticks(ctx context.Context) {
	each := time.NewTicker(h.app.Tick)
	defer each.Stop()
	for {
		select {
		case <-each.C:
			h.next()
		case <-ctx.Done():
			return
		}
	}
}

// hold serves a room until ctx ends.
func hold(ctx context.Context, cfg *godwit.Config, way string, app room.App, ready func(netip.AddrPort, string)) error {
	h := &hall{app: app, members: make(map[godwit.Conn]*hallMember)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	switch {
	case way == wayBlocking:
	case way == wayGoroutine && app.Relay():
		cfg.Handler.Message = h.another(ctx)
	default:
		cfg.Handler.Message = h.message
	}
	if way != wayBlocking {
		cfg.Handler.Close = func(c godwit.Conn, _ error) { h.leave(c) }
	}
	if !app.Relay() {
		cfg.TickInterval = app.Tick
		if way == wayHandler {
			cfg.Handler.Tick = func(*godwit.Shard, time.Time) { h.next() }
		} else {
			go h.ticks(ctx)
		}
	}
	h.mu.Lock() // who says hello waits until there is a group
	e, err := godwit.Listen(listen.String(), cfg)
	if err == nil {
		h.everyone = e.NewGroup()
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if way == wayBlocking {
		go h.accept(e)
	}
	ready(e.Addr(), e.Identity().String())
	<-ctx.Done()
	return e.Close()
}

// another returns a handler that leaves all to another goroutine.
func (h *hall) another(ctx context.Context) func(godwit.Conn, godwit.Message) {
	type work struct {
		c godwit.Conn
		m *godwit.Retained
	}
	todo := make(chan work, mostRetained)
	go func() {
		for {
			select {
			case w := <-todo:
				h.message(w.c, w.m.Message)
				w.m.Release()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(c godwit.Conn, m godwit.Message) { todo <- work{c, m.Retain()} }
}

func (h *hall) accept(e *godwit.Endpoint) {
	for {
		c, err := e.Accept(context.Background()) // ends with the endpoint
		if err != nil {
			return
		}
		go func() {
			defer h.leave(c)
			for m, err := c.Receive(context.Background(), nil); err == nil; m, err = c.Receive(context.Background(), m.Payload) {
				h.message(c, m)
			}
		}()
	}
}

// godwitMembers is the members' end over godwit. All connections share one shard,
// whose goroutine makes the load.
type godwitMembers struct {
	addr  string
	app   *room.App
	cfg   godwit.Config
	conns []godwit.Conn

	m     atomic.Pointer[room.Members] // while the load lasts
	due   int64                        // when it wants its next turn; the shard's
	ended chan error
}

// The interval of the shard's ticks divides the time between two sends, so that
// ticks fall on the times at which they are due.
const (
	longestTick  = 10 * time.Millisecond
	shortestTick = 20 * time.Microsecond
)

func newGodwitMembers(cfg *godwit.Config, l *room.Load, addr netip.AddrPort) *godwitMembers {
	t := &godwitMembers{addr: addr.String(), app: &l.App, cfg: *cfg, ended: make(chan error, 1)}
	gap := time.Duration(float64(time.Second) / l.Rate / float64(l.Members))
	parts := max((gap+longestTick-1)/longestTick, 1)
	t.cfg.TickInterval = max(gap/parts, shortestTick)
	t.cfg.Handler = godwit.Handler{
		Open: func(godwit.Conn) error { return nil },
		Tick: func(*godwit.Shard, time.Time) {
			if m := t.m.Load(); m != nil {
				t.turn(m)
			}
		},
		Message: t.message,
		Close: func(c godwit.Conn, err error) {
			t.end(fmt.Errorf("member %d: %w", c.Tag(), err))
		},
	}
	return t
}

func (t *godwitMembers) Connect(ctx context.Context, members int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.conns = make([]godwit.Conn, members)
	var next atomic.Int64
	var dialing sync.WaitGroup
	for range min(dialsAtOnce, members) {
		dialing.Go(func() {
			for k := int(next.Add(1)) - 1; k < members && ctx.Err() == nil; k = int(next.Add(1)) - 1 {
				c, err := godwit.Dial(ctx, t.addr, &t.cfg)
				if err != nil {
					cancel(fmt.Errorf("member %d: %w", k, err))
					return
				}
				c.SetTag(uint64(k))
				t.conns[k] = c
			}
		})
	}
	dialing.Wait()
	return context.Cause(ctx)
}

func (t *godwitMembers) Drive(ctx context.Context, m *room.Members) error {
	t.m.Store(m)
	select {
	case err := <-t.ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// turn runs on the shard.
func (t *godwitMembers) turn(m *room.Members) {
	wait, done := m.Turn()
	t.due = room.Now() + int64(wait)
	if done {
		t.end(nil)
	}
}

func (t *godwitMembers) message(c godwit.Conn, p godwit.Message) {
	m := t.m.Load()
	if m == nil {
		return
	}
	m.Arrived()
	m.Message(int(c.Tag()), p.Payload)
	if room.Now() >= t.due {
		t.turn(m)
	}
}

// end takes the load out of use, once.
func (t *godwitMembers) end(err error) {
	if t.m.Swap(nil) != nil {
		t.ended <- err
	}
}

func (t *godwitMembers) Send(member int, kind room.Kind, p []byte) bool {
	err := t.conns[member].Send(channelOf(t.app, kind), p)
	if err != nil && !errors.Is(err, godwit.ErrWouldBlock) {
		t.end(fmt.Errorf("member %d: %w", member, err))
	}
	return err == nil
}

func (t *godwitMembers) Close() {
	t.m.Store(nil)
	for _, c := range t.conns {
		_ = c.CloseWithError(0, "the run is over")
	}
	limit := time.NewTimer(closeTime)
	defer limit.Stop()
	for _, c := range t.conns {
		select {
		case <-c.Done():
		case <-limit.C:
			return
		}
	}
}

// closeTime bounds the wait for connections to end.
const closeTime = 2 * time.Second
