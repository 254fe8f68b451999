package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
)

// Questions and answers begin with eight bytes that say which belong together. Their order does not matter.
const (
	channel = godwit.UnorderedChannel
	header  = 8
)

// caller asks questions on one connection.
type caller struct {
	conn    godwit.Conn
	last    atomic.Uint64
	mu      sync.Mutex
	waiting map[uint64]chan []byte
}

// dial connects a caller to a server.
func dial(ctx context.Context, addr string) (*caller, error) {
	cl := &caller{waiting: make(map[uint64]chan []byte)}
	c, err := godwit.Dial(ctx, addr, &godwit.Config{Handler: godwit.Handler{Message: cl.answer}})
	cl.conn = c
	return cl, err
}

// answer hands an answer to whom it is for, if he still waits.
func (cl *caller) answer(_ godwit.Conn, m godwit.Message) {
	if len(m.Payload) < header {
		return
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	id := binary.LittleEndian.Uint64(m.Payload)
	if ch := cl.waiting[id]; ch != nil {
		delete(cl.waiting, id)
		ch <- bytes.Clone(m.Payload[header:]) // there is room for one; a copy, because the payload is borrowed
	}
}

// call asks a question and waits for the answer until ctx ends.
func (cl *caller) call(ctx context.Context, question []byte) ([]byte, error) {
	id, ch := cl.last.Add(1), make(chan []byte, 1)
	cl.mu.Lock()
	cl.waiting[id] = ch
	cl.mu.Unlock()
	defer func() {
		cl.mu.Lock()
		delete(cl.waiting, id)
		cl.mu.Unlock()
	}()
	m := godwit.Message{Channel: channel, Payload: append(binary.LittleEndian.AppendUint64(nil, id), question...)}
	if deadline, ok := ctx.Deadline(); ok {
		m.TTL = max(time.Until(deadline), 1) // nobody needs it later
	}
	if err := cl.conn.SendWait(ctx, m); err != nil {
		return nil, err
	}
	select {
	case answer := <-ch:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-cl.conn.Done():
		return nil, cl.conn.Err()
	}
}
