package app

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"godwit.example/godwit"
)

func newEcho() App {
	e := &echo{late: map[godwit.Conn]*backlog{}}
	// A function value without a receiver, so that connection and message come and go in registers.
	message := func(c godwit.Conn, m godwit.Message) {
		if e.lagging.Load() != 0 && c.Tag() == backlogged || !send(c, m) {
			e.keep(c, m)
		}
	}
	return App{Handler: godwit.Handler{Message: message, Writable: e.writable, Close: e.closed}, Streams: EchoStreams}
}

// maxBacklog bounds what one connection may leave unread before the echo gives it up.
const maxBacklog = 8 << 20

// backlogged is the tag of a connection that has a backlog, so that others are answered without a lock.
const backlogged = 1

// echo returns each message on the channel it came on. A peer that sends faster than it reads gets a backlog, in order, until that is
// too long; then it is disconnected with a reason, because dropping silently would break the channel's promise.
type echo struct {
	lagging atomic.Int64 // how many connections have a backlog: most often nobody has to be asked for his tag
	mu      sync.Mutex
	late    map[godwit.Conn]*backlog
}

type backlog struct {
	messages []godwit.Message
	bytes    int
}

// send reports whether the message is settled: sent, or never to be. A message that cannot be returned at all, because it is larger than
// the client accepts, ends the connection with that reason.
func send(c godwit.Conn, m godwit.Message) bool {
	err := c.SendMessage(m)
	if err == nil {
		return true
	}
	if errors.Is(err, godwit.ErrWouldBlock) {
		return false
	}
	c.CloseWithError(closeCode, "the echo cannot answer: "+err.Error()) // nothing to do if it is gone already
	return true
}

// keep appends a copy to the connection's backlog. A connection's callbacks never run two at a time, so nothing overtakes it.
func (e *echo) keep(c godwit.Conn, m godwit.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.late[c]
	if b == nil {
		b = &backlog{}
		e.late[c] = b
		e.lagging.Add(1)
		c.SetTag(backlogged)
	}
	if b.bytes += cost(m); b.bytes > maxBacklog {
		c.CloseWithError(closeCode, "the echo's backlog is full: read faster than you write")
		return
	}
	m.Payload = slices.Clone(m.Payload)
	b.messages = append(b.messages, m)
}

// cost is what a message of the backlog is counted as: an empty one takes room too.
func cost(m godwit.Message) int { return len(m.Payload) + int(unsafe.Sizeof(m)) }

// writable sends from the backlog what there is room for now.
func (e *echo) writable(c godwit.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.late[c]
	if b == nil {
		return
	}
	for i, m := range b.messages {
		if !send(c, m) {
			b.messages = slices.Delete(b.messages, 0, i)
			return
		}
		b.bytes -= cost(m)
	}
	e.forget(c)
	c.SetTag(0)
}

func (e *echo) closed(c godwit.Conn, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.late[c] != nil {
		e.forget(c)
	}
}

// forget ends a connection's backlog.
func (e *echo) forget(c godwit.Conn) {
	delete(e.late, c)
	e.lagging.Add(-1)
}
