package shard

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"runtime"
	"strconv"
	"sync"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
)

// ConnStats are the figures of one connection.
type ConnStats struct {
	State                      proto.State
	RTT, MinRTT, RTTVar        mono.Duration
	Window, InFlight, Datagram int       // bytes: congestion window, sent and not acknowledged, largest datagram
	Rate                       int64     // bytes a second that congestion control expects to get through; 0 = not known yet
	Queued                     int       // bytes that senders have reserved, 32 a message more than its payload
	Streams                    int       // that are not over, of both ends
	Heard                      mono.Time // when the peer's newest packet came
}

// ErrOtherShard is returned by ConnStats on the goroutine of another shard: two that waited for each other would wait for ever.
var ErrOtherShard = errors.New("shard: called on the goroutine of another shard")

// running holds the goroutines of all shards of the process.
var running sync.Map

// ConnStats returns the figures of a connection. It waits for the shard, unless it is called on the shard's own goroutine.
func (s *Shard) ConnStats(ctx context.Context, r Ref) (st ConnStats, ok bool, err error) {
	if s.cfg.Workers == nil || s.Calling() {
		st, ok = s.connStats(r)
		return st, ok, nil
	}
	if _, other := running.Load(Goroutine()); other {
		return st, false, ErrOtherShard
	}
	done := make(chan struct{})
	if !s.Do(func(mono.Time) {
		st, ok = s.connStats(r)
		close(done)
	}) {
		return st, false, nil
	}
	select {
	case <-done:
		return st, ok, nil
	case <-ctx.Done():
		return ConnStats{}, false, ctx.Err()
	}
}

func (s *Shard) connStats(r Ref) (st ConnStats, ok bool) {
	p := s.find(r.Slot, r.Gen)
	if p == nil {
		return st, false
	}
	rtt := p.conn.RTT()
	return ConnStats{
		State: p.conn.State(), RTT: rtt.Smoothed, MinRTT: rtt.Min, RTTVar: rtt.Var,
		Window: p.conn.Congestion().Window(), InFlight: p.conn.BytesInFlight(), Datagram: p.conn.MaxDatagram(),
		Rate:   p.conn.SuggestedRate(),
		Queued: int(s.slots.at(r.Slot).account.Load()&accountMask - p.ahead), Streams: p.conn.Streams(),
		Heard: p.conn.LastReceived(),
	}, true
}

// Calling reports whether the caller is on the goroutine of Run, that is inside a method of App: it must not wait for the shard.
func (s *Shard) Calling() bool { return s.goroutine.Load() == Goroutine() }

// Goroutine returns the number of the calling goroutine, from the text that a stack trace begins with. It takes a few microseconds. It is only used
// to recognise a call that would wait for itself, or for a simulation of another goroutine.
func Goroutine() uint64 {
	var b [64]byte
	text := bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine "))
	end := bytes.IndexByte(text, ' ')
	n, err := strconv.ParseUint(string(text[:max(end, 0)]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Refs ranges over the open connections and their applications. It belongs to the shard's goroutine.
func (s *Shard) Refs() iter.Seq2[Ref, App] {
	return func(yield func(Ref, App) bool) {
		for slot := range uint32(min(len(s.peers)*slotChunk, s.cfg.MaxSlots)) {
			shared := s.slots.at(slot)
			gen, _ := shared.state()
			app := s.cfg.App
			if p := s.at(slot); p != nil {
				app = p.app
				if !p.open || p.ended {
					continue
				}
			} else if shared.record == 0 {
				continue
			}
			if !yield(Ref{slot | s.index, gen}, app) {
				return
			}
		}
	}
}
