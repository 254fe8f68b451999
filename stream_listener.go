package godwit

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// NetListener returns a listener whose connections are the streams that the peers of the endpoint open on any of their connections, such as
// an http.Server serves. While there is one, Conn.AcceptStream gets no new streams, and connections need not be accepted. Streams that peers opened before
// it was made stay with AcceptStream: a server calls NetListener right after Listen. Streams that wait for Accept are at most
// Tuning.AcceptBacklog; further ones are reset (Stats.StreamsRefused).
//
// Close ends waiting Accepts and resets the streams that nobody has accepted. It closes neither accepted streams nor the endpoint. Several
// listeners share the streams.
func (e *Endpoint) NetListener() net.Listener {
	q := &e.listening
	q.mu.Lock()
	q.backlog = e.limits.Tuning.AcceptBacklog
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	q.open++
	q.mu.Unlock()
	l := &streamListener{e: e}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// streamQueue is the streams that the listeners of an endpoint have yet to accept.
type streamQueue struct {
	mu      sync.Mutex
	open    int // listeners
	backlog int
	list    []*Stream
	changed chan struct{} // closed and replaced when a stream has come
	refused atomic.Uint64 // streams that found the backlog full
}

// offer takes a stream, and reports false if there is no listener.
func (q *streamQueue) offer(s *Stream) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == 0 {
		return false
	}
	if len(q.list) >= q.backlog {
		q.refused.Add(1)
		_ = s.Reset(0) // it is new
		return true
	}
	q.list = append(q.list, s)
	close(q.changed)
	q.changed = make(chan struct{})
	return true
}

// active reports whether there is a listener.
func (q *streamQueue) active() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open > 0
}

// take returns the oldest stream, or what to wait for.
func (q *streamQueue) take() (*Stream, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return nil, q.changed
	}
	s := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	return s, nil
}

// leave takes a listener away. The last one leaves no streams behind.
func (q *streamQueue) leave() {
	q.mu.Lock()
	var rest []*Stream
	if q.open--; q.open == 0 {
		rest, q.list = q.list, nil
	}
	q.mu.Unlock()
	for _, s := range rest {
		_ = s.Reset(0) // its connection may be gone
	}
}

type streamListener struct {
	e      *Endpoint
	ctx    context.Context //nolint:containedctx // it stands for the listener's life
	cancel context.CancelFunc
	once   sync.Once
}

// Accept waits for the next stream.
func (l *streamListener) Accept() (net.Conn, error) {
	for {
		if l.ctx.Err() != nil {
			return nil, net.ErrClosed
		}
		s, changed := l.e.listening.take()
		if s != nil {
			return s, nil
		}
		if sim := l.e.engine.sim; sim != nil {
			if err := sim.Wait(func() bool { return isClosed(changed) || isClosed(l.e.ended) || l.ctx.Err() != nil }); err != nil {
				return nil, err
			}
		} else if err := l.e.engine.mayWait(); err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-l.e.ended:
			return nil, errEndpointClosed
		case <-l.ctx.Done():
		}
	}
}

// Close ends the listener.
func (l *streamListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		l.cancel()
		l.e.listening.leave()
		err = nil
	})
	return err
}

// Addr returns the address that the endpoint listens at.
func (l *streamListener) Addr() net.Addr { return net.UDPAddrFromAddrPort(l.e.addr) }
