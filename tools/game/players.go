package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/load"
	"godwit.example/godwit/tools/internal/process"
)

// What travels between examples/game and its players.
const (
	interval  = time.Second / 30
	stateSize = 1000
	inputSize = 16
	settle    = 2 * time.Second // after the last player has come
)

// result is what one run measured.
type result struct {
	CPU         time.Duration // of the server
	Ticks, Late int
	Behind      []time.Duration // lateness of each tick that came
	Inputs      int             // that the server has seen
	States      int             // that the players have seen
	Noise       load.Noise
}

// cost is the server's CPU time of a tick of one player, in µs.
func (r *result) cost(players int) float64 {
	return r.CPU.Seconds() * 1e6 / float64(max(r.Ticks*players, 1))
}

// observer collects what the states say. Its functions run on one goroutine, but for the lock of who reads it in the end.
type observer struct {
	mu     sync.Mutex
	on     bool
	states int
	number uint64      // of the latest tick
	ticks  []time.Time // when the server began each
	inputs [2]uint64   // of the server, at the first tick and the last
}

// message reads a state: number of the tick, its time on the server, inputs so far.
func (o *observer) message(_ godwit.Conn, m godwit.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(m.Payload) != stateSize || !o.on {
		return
	}
	o.states++
	if n := binary.LittleEndian.Uint64(m.Payload); n > o.number {
		o.number = n
		o.ticks = append(o.ticks, time.Unix(0, int64(binary.LittleEndian.Uint64(m.Payload[8:]))))
		o.inputs[1] = binary.LittleEndian.Uint64(m.Payload[16:])
		if len(o.ticks) == 1 {
			o.inputs[0] = o.inputs[1]
		}
	}
}

// tick sends the inputs of all players.
func tick(s *godwit.Shard, now time.Time) {
	var input [inputSize]byte
	binary.LittleEndian.PutUint64(input[:], uint64(now.UnixNano()))
	for c := range s.Conns() {
		_ = c.Send(godwit.SequencedChannel, input[:]) // one that is lost is replaced by the next
	}
}

// play is the process of the players: it connects them, lets them play, and prints what was measured.
func play(ctx context.Context, o *options, out io.Writer) error {
	var obs observer
	// Dials with one Config share a goroutine, so that a single Tick serves all players.
	cfg := &godwit.Config{TickInterval: interval, Handler: godwit.Handler{Message: obs.message, Tick: tick}}
	for range o.players {
		c, err := godwit.Dial(ctx, o.play, cfg)
		if err != nil {
			return err
		}
		defer c.Close()
	}
	time.Sleep(settle)
	noise := load.StartNoise(0, o.pid)
	before, err := process.CPU(o.pid)
	if err != nil {
		return err
	}
	obs.mu.Lock()
	obs.on = true
	obs.mu.Unlock()
	time.Sleep(o.duration)
	after, err := process.CPU(o.pid)
	if err != nil {
		return err
	}
	r := result{CPU: after - before, Noise: noise()}
	obs.mu.Lock()
	defer obs.mu.Unlock()
	r.Ticks, r.States, r.Inputs = len(obs.ticks), obs.states, int(obs.inputs[1]-obs.inputs[0])
	r.Late, r.Behind = lateness(obs.ticks)
	return json.NewEncoder(out).Encode(r)
}

// tickOnly is the process that has a ticker and nothing else.
func tickOnly(ctx context.Context, o *options, out io.Writer) error {
	noise := load.StartNoise(0)
	var ticks []time.Time
	end := time.After(o.duration)
	for each := time.Tick(interval); ; {
		select {
		case <-each:
			ticks = append(ticks, time.Now())
			continue
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
		}
		r := result{Ticks: len(ticks), Noise: noise()}
		r.Late, r.Behind = lateness(ticks)
		return json.NewEncoder(out).Encode(r)
	}
}

// lateness counts ticks that never came, or came more than a quarter of the interval after they were due, and returns how far behind those
// were that came. They are due at equal intervals; the median of them says when.
func lateness(ticks []time.Time) (late int, behinds []time.Duration) {
	if len(ticks) == 0 {
		return 0, nil
	}
	var phases []time.Duration // within half an interval of that of the first tick
	for _, t := range ticks {
		since := t.Sub(ticks[0])
		phases = append(phases, since-(since+interval/2)/interval*interval)
	}
	slices.Sort(phases)
	due := ticks[0].Add(phases[len(phases)/2])
	for _, t := range ticks {
		behind := t.Sub(due)
		if behind < -interval/2 {
			continue // it makes up for one that was late
		}
		behinds = append(behinds, behind)
		for ; behind >= interval; behind -= interval {
			late++
			due = due.Add(interval)
		}
		if behind > interval/4 {
			late++
		}
		due = due.Add(interval)
	}
	return late, behinds
}
