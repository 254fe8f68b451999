package godwit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/shard"
)

// streamTable is what a connection's side knows about its streams: those that the application has, or has yet to accept.
type streamTable struct {
	c        Conn
	side     *side
	buffered atomic.Int64 // bytes that all streams have written and that are not acknowledged, 32 a write more

	mu      sync.Mutex
	streams map[uint64]*Stream
	accepts []*Stream     // opened by the peer, oldest first; the peer's limit of streams bounds it
	changed chan struct{} // closed and replaced when an opener or accepter is to look again
	opened  uint64        // streams of this end, ever
	first   uint64        // the number of the first one
	limit   uint64        // ... that the peer allows, if known
	known   bool
	asked   bool
	err     error // why the connection ended
}

// streams returns the connection's table of streams.
func (c Conn) streams() (*streamTable, error) {
	if c.ep == nil {
		return nil, errStale
	}
	side := c.ep.side(c)
	if side == nil {
		return nil, c.closedError()
	}
	return side.streamTable(c), nil
}

// streamTable returns the side's table, which it makes at the first call.
func (s *side) streamTable(c Conn) *streamTable {
	if t := s.streams.Load(); t != nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.streams.Load(); t != nil {
		return t
	}
	t := &streamTable{c: c, side: s, streams: map[uint64]*Stream{}, changed: make(chan struct{}), err: s.err}
	s.streams.Store(t)
	return t
}

// change wakes openers and accepters. The caller has the lock.
func (t *streamTable) change() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// open opens a stream as soon as the peer allows one more.
func (t *streamTable) open(ctx context.Context) (*Stream, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t.mu.Lock()
		switch {
		case t.err != nil:
			t.mu.Unlock()
			return nil, t.err
		case t.known && t.limit == 0:
			t.mu.Unlock()
			return nil, ErrNoStreams
		case t.opened < t.limit:
			id := t.first + 4*t.opened
			t.opened++
			s := newStream(t, id)
			t.streams[id] = s
			t.mu.Unlock()
			s.command(proto.StreamCommand{Ops: proto.StreamOpen})
			return s, nil
		}
		ask := !t.asked
		t.asked = true
		changed := t.changed
		t.mu.Unlock()
		if ask {
			t.c.shard().StreamLimit(t.c.ref())
		}
		if err := t.c.ep.engine.await(ctx, changed); err != nil {
			return nil, err
		}
	}
}

// accept takes the oldest stream that the peer has opened, or waits for one.
func (t *streamTable) accept(ctx context.Context) (*Stream, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t.mu.Lock()
		if len(t.accepts) > 0 {
			s := t.accepts[0]
			t.accepts = t.accepts[1:]
			t.mu.Unlock()
			return s, nil
		}
		err, changed := t.err, t.changed
		t.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if err := t.c.ep.engine.await(ctx, changed); err != nil {
			return nil, err
		}
	}
}

// event takes an event of the shard. Of data it reports whether they are dropped.
func (t *streamTable) event(ev *proto.Event) (done bool) {
	if ev.Kind == proto.EventStreamWritable {
		t.buffered.Add(-int64(ev.N))
	}
	t.mu.Lock()
	s := t.streams[ev.ID]
	switch ev.Kind {
	case proto.EventStreamOpen:
		s := newStream(t, ev.ID)
		t.streams[ev.ID] = s
		t.mu.Unlock()
		if !t.c.ep.listening.offer(s) {
			t.mu.Lock()
			t.accepts = append(t.accepts, s)
			t.change()
			t.mu.Unlock()
		}
		return false
	case proto.EventStreamLimit:
		t.limit, t.first, t.known = max(t.limit, ev.ID), ev.Key, true
		t.change()
		t.mu.Unlock()
		return false
	}
	t.mu.Unlock()
	if s == nil {
		return true
	}
	return s.event(ev)
}

// forget drops a stream that the application has closed.
func (t *streamTable) forget(s *Stream) {
	t.mu.Lock()
	delete(t.streams, s.id)
	t.mu.Unlock()
}

// end says that the connection is over.
func (t *streamTable) end(err error) {
	t.mu.Lock()
	t.err = err
	for _, s := range t.streams {
		s.end(err)
	}
	t.change()
	t.mu.Unlock()
}

// Stream takes an event about a stream.
func (e app) Stream(_ *shard.Shard, r shard.Ref, ev *proto.Event) (done bool) {
	return e.sides(r).obtain(r).streamTable(e.conn(r)).event(ev)
}

// deadline is a point in time that ends waiting.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	ended chan struct{} // closed when it has passed
	at    mono.Time     // in a simulation
}

func (d *deadline) init() { d.ended, d.at = make(chan struct{}), mono.Never }

// set sets or clears the deadline.
func (d *deadline) set(t *streamTable, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.ended // the timer has fired, and is about to say so
	}
	d.timer, d.at = nil, mono.Never
	over := isClosed(d.ended)
	if over {
		d.ended = make(chan struct{})
	}
	if at.IsZero() {
		return
	}
	left := time.Until(at)
	ended := d.ended
	switch {
	case left <= 0:
		close(ended)
	case t.c.ep.engine.sim != nil:
		d.at = t.c.ep.limits.now().Add(left)
	default:
		d.timer = time.AfterFunc(left, func() { close(ended) })
	}
}

// done returns a channel that is closed when the deadline passes, also if that is set or moved meanwhile.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// passed reports whether the deadline has passed.
func (d *deadline) passed(t *streamTable) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return isClosed(d.ended) || d.at != mono.Never && t.c.ep.limits.now() >= d.at
}
