package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
)

const (
	dialTime   = 30 * time.Second
	answerTime = 10 * time.Second
	reportTime = time.Second
)

// held is what the client says of itself: each second while it dials, and as its last word to each command.
type held struct {
	Connections int  `json:"connections"`
	Resumed     int  `json:"resumed"` // handshakes
	Closed      int  `json:"closed"`  // connections that have ended
	Done        bool `json:"done"`

	Answered int     `json:"answered,omitempty"` // within a second
	MaxMS    float64 `json:"max_ms,omitempty"`
	MedianMS float64 `json:"median_ms,omitempty"`
}

// crowd is the client: connections that share the socket of one endpoint. Nothing is kept of one but its handle.
type crowd struct {
	from    *godwit.Endpoint
	target  string
	conns   []godwit.Conn
	resumed atomic.Int64
	closed  atomic.Int64

	mu      sync.Mutex
	sent    map[uint64]time.Time // by a connection's number: messages that were not answered yet
	unsent  int                  // that are still to be sent
	took    []time.Duration
	settled chan struct{} // closed when all were answered
}

// hold is the client process: it takes commands, one a line, and answers each with lines of JSON. It ends with its input.
func hold(ctx context.Context, o *options, in io.Reader, out io.Writer) error {
	c := new(crowd)
	cfg := &godwit.Config{
		Identity: o.identity, Shards: 1, KeepAlive: -1, IdleTimeout: 2 * time.Hour, HandshakeTimeout: dialTime, MaxConnections: 1 << 21,
		Handler: godwit.Handler{
			Open:    func(godwit.Conn) error { return nil },
			Message: c.message,
			Close:   func(godwit.Conn, error) { c.closed.Add(1) },
		},
	}
	var err error
	if c.from, err = godwit.Listen("127.0.0.1:0", cfg); err != nil {
		return err
	}
	// The endpoint has the server's identity, so its pin is the server's.
	c.target = fmt.Sprintf("godwit://%s?pin=%v", o.addr, c.from.Identity())
	say := json.NewEncoder(out)
	commands := bufio.NewScanner(in)
	for commands.Scan() {
		var verb string
		var n int
		if _, err := fmt.Sscan(commands.Text(), &verb, &n); err != nil {
			return fmt.Errorf("%q is not a command", commands.Text())
		}
		last := new(held)
		switch verb {
		case "grow":
			err = c.grow(ctx, n, o.dials, func(h *held) error { return say.Encode(h) })
		case "answer":
			err = c.answer(n, last)
		}
		if err != nil {
			return err
		}
		c.count(last)
		last.Done = true
		if err := say.Encode(last); err != nil {
			return err
		}
	}
	return commands.Err()
}

func (c *crowd) count(h *held) {
	h.Resumed, h.Closed = int(c.resumed.Load()), int(c.closed.Load())
	h.Connections = len(c.conns) - h.Closed
}

// grow dials until there are n connections.
func (c *crowd) grow(ctx context.Context, n, dials int, report func(*held) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]godwit.Conn, n)
	var next atomic.Int64
	next.Store(int64(copy(conns, c.conns)))
	var dialing sync.WaitGroup
	for range dials {
		dialing.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				conn, err := c.from.Dial(ctx, c.target, nil)
				if err != nil {
					cancel(fmt.Errorf("connection %d: %w", i, err))
					return
				}
				conn.SetTag(uint64(i))
				if conn.Identity().Resumed {
					c.resumed.Add(1)
				}
				conns[i] = conn
			}
		})
	}
	over := make(chan struct{})
	go func() {
		dialing.Wait()
		close(over)
	}()
	tick := time.NewTicker(reportTime)
	defer tick.Stop()
	for {
		select {
		case <-over:
			c.conns = conns
			return context.Cause(ctx)
		case <-tick.C:
			if err := report(&held{Connections: min(int(next.Load()), n), Resumed: int(c.resumed.Load()), Closed: int(c.closed.Load())}); err != nil {
				cancel(err)
			}
		}
	}
}

// answer sends a message on n connections picked at random, all at once, and notes how long each takes to come back.
func (c *crowd) answer(n int, h *held) error {
	picked := make(map[uint64]bool, n)
	for len(picked) < min(n, len(c.conns)) {
		picked[rand.Uint64N(uint64(len(c.conns)))] = true
	}
	settled := make(chan struct{})
	c.mu.Lock()
	c.sent, c.unsent, c.took, c.settled = make(map[uint64]time.Time, n), len(picked), nil, settled
	c.mu.Unlock()
	for i := range picked {
		c.mu.Lock()
		c.sent[i] = time.Now()
		c.unsent--
		c.mu.Unlock()
		if err := c.conns[i].Send(godwit.OrderedChannel, binary.BigEndian.AppendUint64(nil, i)); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	select {
	case <-settled:
	case <-time.After(answerTime):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for range c.sent {
		c.took = append(c.took, answerTime) // at least
	}
	c.sent = nil
	if len(c.took) == 0 {
		return errors.New("there is no connection")
	}
	slices.Sort(c.took)
	for _, d := range c.took {
		if d <= time.Second {
			h.Answered++
		}
	}
	h.MaxMS, h.MedianMS = milliseconds(c.took[len(c.took)-1]), milliseconds(c.took[len(c.took)/2])
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// message takes an answer. One that is not what its connection has sent counts for none.
func (c *crowd) message(conn godwit.Conn, m godwit.Message) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := conn.Tag(); len(m.Payload) == 8 && binary.BigEndian.Uint64(m.Payload) == i {
		if at, ok := c.sent[i]; ok {
			delete(c.sent, i)
			c.took = append(c.took, now.Sub(at))
		}
	}
	if c.settled != nil && c.unsent == 0 && len(c.sent) == 0 {
		close(c.settled)
		c.settled = nil
	}
}
