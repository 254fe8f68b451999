package shard

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
)

// quietWorld is a world whose server echoes; got counts what came back.
func quietWorld(t *testing.T, adjust func(*Config)) (w *world, got *int) {
	w, got = newWorld(t, 1, adjust), new(int)
	w.sapp.message = func(s *Shard, r Ref, ev *proto.Event) bool {
		s.Send(r, &Outbound{Payload: ev.Payload, Channel: ev.Channel, Reliable: true})
		return true
	}
	w.capp.message = func(*Shard, Ref, *proto.Event) bool {
		*got++
		return true
	}
	return w, got
}

func TestIdleConnectionLetsGoOfItsCiphers(t *testing.T) {
	w, got := quietWorld(t, nil)
	r := w.connect()
	w.send(w.client, r, "one")
	w.run(coldAfter / 2)
	evicted := &w.server.counters.KeysEvicted
	if *got != 1 || *evicted != 0 {
		t.Fatalf("%d echoes, %d evictions of a busy connection", *got, *evicted)
	}
	w.run(coldAfter)
	if *evicted != 1 {
		t.Fatalf("%d evictions after some silence", *evicted)
	}
	w.run(10 * mono.Second)
	if *evicted != 1 {
		t.Errorf("%d evictions of one connection that stayed silent", *evicted)
	}
	w.send(w.client, r, "two")
	w.run(coldAfter / 2)
	if *got != 2 {
		t.Fatal("what was sent after the silence did not come back")
	}
	w.run(10 * mono.Second)
	if *evicted != 2 {
		t.Errorf("%d evictions after two silences", *evicted)
	}
	w.over()
}

func TestQuietShardGivesMemoryBack(t *testing.T) {
	dropped := 0
	w, got := quietWorld(t, func(c *Config) {
		c.Drop = func(b []byte) {
			clear(b)
			dropped += len(b)
		}
	})
	r := w.connect()
	for range 100 {
		w.send(w.client, r, "keeps the shard from resting")
		w.run(restAfter / 2)
	}
	if w.server.counters.Rests != 0 || dropped != 0 {
		t.Fatalf("a busy shard rested %d times and gave %d bytes back", w.server.counters.Rests, dropped)
	}
	w.run(10 * restAfter)
	if w.server.counters.Rests != 1 || dropped < slabBytes {
		t.Errorf("a quiet shard rested %d times and gave %d bytes back", w.server.counters.Rests, dropped)
	}
	w.send(w.client, r, "the memory is there again when it is needed")
	w.run(restAfter / 2)
	if *got != 101 {
		t.Errorf("%d of 101 messages came back", *got)
	}
	w.over()
}

func TestQuietShardsNeedNoWakeUps(t *testing.T) {
	w, _ := quietWorld(t, nil)
	for range 20 {
		w.connect()
	}
	w.run(5 * mono.Second)
	before := w.server.counters.Cycles
	w.run(20 * mono.Second)
	if n := w.server.counters.Cycles - before; n > 2 {
		t.Errorf("%d cycles of a server in 20 s in which nothing happened", n)
	}
	w.over()
}

func TestOneCycleSendsItsShareAndThenReceives(t *testing.T) {
	w, _ := quietWorld(t, nil)
	const conns = 2*cycleTrains + 10
	for range conns {
		w.connect()
	}
	w.run(mono.Second)
	before := w.capp.messages
	for _, r := range w.sapp.opened {
		w.send(w.server, r, "to everybody at once")
	}
	for sent := 0; ; {
		trains := w.server.counters.Trains
		next := w.server.Step(w.now)
		n := int(w.server.counters.Trains - trains)
		if sent += n; n > cycleTrains+trainsPerTurn {
			t.Fatalf("one cycle sent %d trains, its share is %d", n, cycleTrains)
		}
		if next > w.now {
			if sent < conns {
				t.Fatalf("the shard rests after %d of %d trains", sent, conns)
			}
			break
		}
	}
	w.run(mono.Second)
	if n := w.capp.messages - before; n != conns {
		t.Errorf("%d of %d messages arrived", n, conns)
	}
	w.over()
}
