package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
)

// crowd is the client: many connections, each of which echoes some messages and then falls silent.
type crowd struct {
	o     *options
	addr  string
	cfg   godwit.Config
	from  *godwit.Endpoint // shared: whose socket all use
	conns []godwit.Conn
}

const (
	dialsAtOnce = 16
	groupSize   = 100 // connections that have a message on its way at the same time
	dialTime    = 30 * time.Second
)

func newCrowd(addr, identity string, o *options) (*crowd, error) {
	c := &crowd{o: o, addr: addr, cfg: godwit.Config{Identity: identity, KeepAlive: -1, IdleTimeout: time.Hour, HandshakeTimeout: dialTime}}
	if !o.shared {
		return c, nil
	}
	own := c.cfg
	own.Shards = 1
	own.Handler.Open = func(godwit.Conn) error { return nil }
	var err error
	c.from, err = godwit.Listen("127.0.0.1:0", &own)
	return c, err
}

func (c *crowd) dial(ctx context.Context) (godwit.Conn, error) {
	if c.from != nil {
		return c.from.Dial(ctx, c.addr, &c.cfg)
	}
	return godwit.Dial(ctx, c.addr, &c.cfg)
}

// grow dials until there are n connections, has each new one echo its messages, and returns the handshakes a second.
func (c *crowd) grow(ctx context.Context, n int) (rate float64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	old := len(c.conns)
	c.conns = append(c.conns, make([]godwit.Conn, n-old)...)
	start := time.Now()
	var next atomic.Int64
	next.Store(int64(old))
	var dialing sync.WaitGroup
	for range dialsAtOnce {
		dialing.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				conn, err := c.dial(ctx)
				if err != nil {
					cancel(fmt.Errorf("connection %d: %w", i, err))
					return
				}
				c.conns[i] = conn
			}
		})
	}
	dialing.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	took := time.Since(start)
	rate = float64(n-old) / took.Seconds()
	for at := old; at < n; at += groupSize {
		if err := c.echo(ctx, at, min(at+groupSize, n)); err != nil {
			return 0, err
		}
	}
	return rate, nil
}

// echo sends one message after the other on the connections from the one number to the other and waits for each to come back.
func (c *crowd) echo(ctx context.Context, from, to int) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conns := c.conns[from:to]
	p := make([]byte, max(c.o.size, 8))
	var buf []byte
	for round := range c.o.messages {
		for i, conn := range conns {
			binary.BigEndian.PutUint64(p, uint64(from+i)<<16|uint64(round))
			if err := conn.Send(godwit.OrderedChannel, p); err != nil {
				return fmt.Errorf("connection %d: %w", from+i, err)
			}
		}
		for i, conn := range conns {
			m, err := conn.Receive(ctx, buf)
			if err != nil {
				return fmt.Errorf("connection %d: %w", from+i, err)
			}
			if len(m.Payload) != len(p) || binary.BigEndian.Uint64(m.Payload) != uint64(from+i)<<16|uint64(round) {
				return fmt.Errorf("connection %d: message %d came back as another one", from+i, round)
			}
			buf = m.Payload
		}
	}
	return nil
}

// close cuts all connections off.
func (c *crowd) close() {
	for _, conn := range c.conns {
		_ = conn.CloseWithError(0, "measured")
	}
	if c.from != nil {
		_ = c.from.Close()
	}
}
