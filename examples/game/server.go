package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"godwit.example/godwit"
)

// world is the state of the game. The lock is for the ways that have more than one goroutine; with Tick and a single shard everything happens
// on that shard's goroutine, and a server that is built so needs none.
type world struct {
	mu     sync.Mutex
	conns  map[godwit.Conn]bool
	inputs int
	state  [stateSize]byte

	// Measured once everybody is there.
	due         time.Time
	ticks, late int
	cpu         time.Duration
}

// serve plays until standard input ends, and prints what it measured.
func serve(ctx context.Context) error {
	w := &world{conns: make(map[godwit.Conn]bool)}
	cfg := &godwit.Config{Shards: 1, TickInterval: interval} // one world, one goroutine
	if *way != "blocking" {
		cfg.Handler = godwit.Handler{
			Open:    func(c godwit.Conn) error { w.join(c); return nil },
			Message: func(_ godwit.Conn, m godwit.Message) { w.input(m) },
			Close:   func(c godwit.Conn, _ error) { w.leave(c) },
		}
	}
	if *way == "tick" {
		cfg.Handler.Tick = func(_ *godwit.Shard, now time.Time) { w.tick(now) }
	}
	e, err := godwit.Listen("127.0.0.1:0", cfg)
	if err != nil {
		return err
	}
	switch *way {
	case "tick":
	case "goroutine":
		go w.loop()
	case "blocking":
		go w.loop()
		go w.accept(ctx, e)
	default:
		return fmt.Errorf("there is no way %q", *way)
	}
	fmt.Printf("godwit://%v?pin=%v\n", e.Addr(), e.Identity())
	_, _ = io.Copy(io.Discard, os.Stdin)
	w.mu.Lock()
	used := cpuTime() - w.cpu
	fmt.Printf("%d ticks, %d late; %.2f µs of server CPU a client-tick; %d inputs\n",
		w.ticks, w.late, used.Seconds()*1e6/float64(max(w.ticks*(*players), 1)), w.inputs)
	w.mu.Unlock()
	return e.Close()
}

// loop ticks on a goroutine of its own.
func (w *world) loop() {
	for now := range time.Tick(interval) {
		w.tick(now)
	}
}

// accept gives each player a goroutine.
func (w *world) accept(ctx context.Context, e *godwit.Endpoint) {
	for {
		c, err := e.Accept(ctx)
		if err != nil {
			return
		}
		w.join(c)
		go func() {
			defer w.leave(c)
			var buf []byte
			for {
				m, err := c.Receive(ctx, buf)
				if err != nil {
					return
				}
				w.input(m)
				buf = m.Payload
			}
		}()
	}
}

func (w *world) join(c godwit.Conn)     { w.mu.Lock(); w.conns[c] = true; w.mu.Unlock() }
func (w *world) leave(c godwit.Conn)    { w.mu.Lock(); delete(w.conns, c); w.mu.Unlock() }
func (w *world) input(_ godwit.Message) { w.mu.Lock(); w.inputs++; w.mu.Unlock() }

// tick advances the world and sends it to everybody. A tick is late if it comes more than a quarter of the interval after it was due.
func (w *world) tick(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	binary.LittleEndian.PutUint64(w.state[:], uint64(w.inputs))
	for c := range w.conns {
		_ = c.Send(godwit.SequencedChannel, w.state[:]) // the next state makes up for a lost one
	}
	if len(w.conns) < *players {
		return
	}
	if w.ticks++; w.ticks == 1 {
		w.due, w.cpu, w.inputs = now, cpuTime(), 0
	}
	for ; now.Sub(w.due) >= interval; w.due = w.due.Add(interval) {
		w.late++ // it never came
	}
	if now.Sub(w.due) > interval/4 {
		w.late++
	}
	w.due = w.due.Add(interval)
}
