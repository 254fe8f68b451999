// Command game is an authoritative game server: 30 times a second each player says what he does, and the server tells each of them the state of
// the world. It can be driven in three ways, which differ in who calls whom. go run ./tools/game sends 60 players and compares them.
//
//	game [-way tick|goroutine|blocking]
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"godwit.example/godwit"
)

const interval = time.Second / 30

func main() {
	way := flag.String("way", "tick", "what drives the server: tick, goroutine or blocking")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *way); err != nil {
		fmt.Fprintln(os.Stderr, "game:", err)
		os.Exit(1)
	}
}

// world is the state of the game. The lock is for the ways that have more than one goroutine: with Tick and a single shard everything
// happens on that shard's goroutine, and a server that is built so needs none.
type world struct {
	mu      sync.Mutex
	players map[godwit.Conn]bool
	ticks   uint64
	inputs  uint64
	state   [1000]byte // ticks, time and inputs, 8 bytes each, and the rest of the world
}

func (w *world) join(c godwit.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.players[c] = true
}

func (w *world) leave(c godwit.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.players, c)
}

func (w *world) input(godwit.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inputs++
}

// tick advances the world and sends it to everybody. Nothing here waits: the next state makes up for one that is lost or finds no room.
func (w *world) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticks++
	state := binary.LittleEndian.AppendUint64(w.state[:0], w.ticks)
	state = binary.LittleEndian.AppendUint64(state, uint64(time.Now().UnixNano()))
	binary.LittleEndian.AppendUint64(state, w.inputs)
	for c := range w.players {
		_ = c.Send(godwit.SequencedChannel, w.state[:])
	}
}

// loop ticks on a goroutine of its own, for the ways without Handler.Tick.
func (w *world) loop() {
	for range time.Tick(interval) {
		w.tick()
	}
}

// play is the life of a player in the blocking way.
func (w *world) play(ctx context.Context, c godwit.Conn) {
	w.join(c)
	defer w.leave(c)
	for m, err := c.Receive(ctx, nil); err == nil; m, err = c.Receive(ctx, m.Payload) {
		w.input(m)
	}
}

// serve plays until ctx ends. There is one world, hence one shard.
func serve(ctx context.Context, way string) error {
	w := &world{players: make(map[godwit.Conn]bool)}
	cfg := &godwit.Config{Shards: 1, TickInterval: interval}
	if way != "blocking" {
		cfg.Handler.Open = func(c godwit.Conn) error { w.join(c); return nil }
		cfg.Handler.Message = func(_ godwit.Conn, m godwit.Message) { w.input(m) }
		cfg.Handler.Close = func(c godwit.Conn, _ error) { w.leave(c) }
	}
	if way == "tick" {
		cfg.Handler.Tick = func(*godwit.Shard, time.Time) { w.tick() }
	} else {
		go w.loop()
	}
	e, err := godwit.Listen("127.0.0.1:0", cfg)
	if err != nil {
		return err
	}
	fmt.Printf("godwit://%v?pin=%v\n", e.Addr(), e.Identity())
	for way == "blocking" {
		c, err := e.Accept(ctx)
		if err != nil {
			break
		}
		go w.play(ctx, c)
	}
	<-ctx.Done()
	return e.Close()
}
