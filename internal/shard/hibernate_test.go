package shard

import (
	"context"
	"math/rand/v2"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
)

const testHibernate = 2 * mono.Second

// sleepy makes a server whose connections hibernate, and a client that stays awake.
func sleepy(t *testing.T) *world {
	return newWorld(t, 1, func(c *Config) { c.Hibernate = testHibernate })
}

// asleep connects, exchanges some messages, and waits until the server's end hibernates.
func asleep(t *testing.T, w *world) (client, server Ref) {
	t.Helper()
	client = w.connect()
	server = w.sapp.opened[len(w.sapp.opened)-1]
	for range 5 {
		w.client.Send(client, &Outbound{Payload: make([]byte, 64), Reliable: true})
		w.server.Send(server, &Outbound{Payload: make([]byte, 64), Reliable: true})
		w.run(20 * mono.Millisecond)
	}
	w.run(2 * testHibernate)
	if !hibernates(w, server) {
		t.Fatalf("the connection does not hibernate: %+v", w.server.at(server.Slot&slotMask))
	}
	return client, server
}

// hibernates reports whether a connection of the server does.
func hibernates(w *world, r Ref) bool {
	slot := r.Slot & slotMask
	return w.server.at(slot) == nil && w.server.slots.at(slot).record != 0
}

func TestAnIdleConnectionHibernatesAndWakes(t *testing.T) {
	w := sleepy(t)
	client, server := asleep(t, w)
	if _, _, conn := w.server.recordOf(server.Slot & slotMask); len(conn) == 0 || w.server.hibernating != 1 || w.server.live != 1 {
		t.Fatalf("%d bytes of it, %d hibernate, %d live", len(conn), w.server.hibernating, w.server.live)
	}
	got := w.sapp.messages
	for name, wake := range map[string]func(){
		"a packet":  func() { w.client.Send(client, &Outbound{Payload: []byte("wake up"), Reliable: true}) },
		"a message": func() { w.server.Send(server, &Outbound{Payload: []byte("to the client"), Reliable: true}) },
		"a ping":    func() { w.server.Ping(server) },
		"a look":    func() { w.server.Do(func(mono.Time) { _, _, _ = w.server.ConnStats(context.Background(), server) }) },
	} {
		before := w.server.counters.Wakes
		wake()
		w.run(10 * mono.Millisecond)
		if hibernates(w, server) || w.server.counters.Wakes != before+1 {
			t.Errorf("%s: it sleeps on", name)
		}
		w.run(2 * testHibernate)
		if !hibernates(w, server) {
			t.Errorf("%s: it does not hibernate again", name)
		}
	}
	if w.sapp.messages != got+1 || w.capp.messages != 6 {
		t.Errorf("%d and %d messages arrived", w.sapp.messages-got, w.capp.messages-5)
	}
	if p := w.server.counters.FailedPackets + w.server.counters.WakesShed; p != 0 {
		t.Errorf("%d packets were not taken", p)
	}
	w.over()
	if w.server.hibernating != 0 || w.server.records.InUse() != 0 {
		t.Errorf("%d hibernate, %d records are left", w.server.hibernating, w.server.records.InUse())
	}
}

func TestAnIdleConnectionIsSmall(t *testing.T) {
	w := sleepy(t)
	_, server := asleep(t, w)
	b, keys, conn := w.server.recordOf(server.Slot & slotMask)
	const beside = 128 + 24 + 64 + 8 // slot, timer, connection IDs, table
	if n := len(w.server.records.Bytes(w.server.slots.at(server.Slot & slotMask).record)); n+beside > 1024 {
		t.Errorf("a record of %d bytes (keys %d, connection %d) takes %d, with all beside it %d", len(b), len(keys), len(conn), n, n+beside)
	}
}

func TestOnlyAnAuthenticPacketWakes(t *testing.T) {
	w := sleepy(t)
	client, server := asleep(t, w)
	var packet []byte
	w.drop = func(_, to udp.Addr, b []byte) bool {
		if to == serverAddr {
			packet = append([]byte(nil), b...)
			return true
		}
		return false
	}
	w.client.Send(client, &Outbound{Payload: []byte("lost"), Reliable: true})
	w.run(mono.Millisecond)
	w.drop = nil
	forge := func() {
		b := append([]byte(nil), packet...)
		b[len(b)-1] ^= 1
		w.server.datagram(w.now, &udp.Datagram{Data: b, Remote: serverAddr})
	}
	forge()
	if c := &w.server.counters; !hibernates(w, server) || c.FailedPackets != 1 {
		t.Fatalf("after a forged packet it hibernates: %v, %d failed", hibernates(w, server), c.FailedPackets)
	}
	for range 20_000 {
		forge()
	}
	if c := &w.server.counters; c.FailedPackets != 1000 || c.WakesShed != 19_001 {
		t.Errorf("%d forged packets were tried at once and %d were not, the bucket holds 1,000", c.FailedPackets, c.WakesShed)
	}
	w.run(mono.Second) // the client repeats what was lost
	if hibernates(w, server) || w.sapp.messages != 6 {
		t.Errorf("it hibernates: %v, %d messages came", hibernates(w, server), w.sapp.messages)
	}
	w.run(2 * testHibernate)
	if !hibernates(w, server) {
		t.Fatal("it does not hibernate again")
	}
	w.server.datagram(w.now, &udp.Datagram{Data: packet, Remote: serverAddr})
	if c := &w.server.counters; !hibernates(w, server) || c.DuplicatePackets != 1 {
		t.Errorf("an old packet: it hibernates: %v, %d duplicates", hibernates(w, server), c.DuplicatePackets)
	}
	w.over()
}

func TestAHibernatingConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(w *world, client, server Ref){
		"by its application": func(w *world, _, server Ref) { w.server.Close(server, true, 3, "enough") },
		"by its peer":        func(w *world, client, _ Ref) { w.client.Close(client, true, 3, "enough") },
		"with its endpoint":  func(w *world, _, _ Ref) { w.server.Drain(3, func() {}) },
		"in silence": func(w *world, _, _ Ref) {
			w.drop = func(udp.Addr, udp.Addr, []byte) bool { return true }
			w.run(2 * mono.Minute)
		},
	} {
		w := sleepy(t)
		client, server := asleep(t, w)
		end(w, client, server)
		w.run(2 * mono.Second)
		if len(w.sapp.closed) != 1 || w.server.live != 0 || w.server.hibernating != 0 || w.server.records.InUse() != 0 {
			t.Errorf("%s: closed %+v, %d live, %d hibernate", name, w.sapp.closed, w.server.live, w.server.hibernating)
		}
		w.drop = nil
		w.over()
	}
}

func TestWhatIsNotIdleStaysAwake(t *testing.T) {
	w := sleepy(t)
	client := w.connect()
	server := w.sapp.opened[0]
	for range 20 { // a message now and then
		w.run(testHibernate / 2)
		w.client.Send(client, &Outbound{Payload: []byte("x"), Reliable: true})
	}
	if n := w.server.counters.Hibernations; n != 0 {
		t.Errorf("it has hibernated %d times between messages", n)
	}
	w.drop = func(from, _ udp.Addr, _ []byte) bool { return from == serverAddr } // nothing is acknowledged
	w.server.Send(server, &Outbound{Payload: []byte("x"), Reliable: true})
	w.run(10 * mono.Second)
	if n := w.server.counters.Hibernations; n != 0 {
		t.Error("it hibernates with a message in flight")
	}
	w.drop = nil
	w.over()
}

// TestRefsNameTheHibernating: who asks for all connections gets those too, and wakes none.
func TestRefsNameTheHibernating(t *testing.T) {
	w := sleepy(t)
	_, server := asleep(t, w)
	n := 0
	for r, app := range w.server.Refs() {
		if n++; r != server || app != App(w.sapp) {
			t.Errorf("%+v", r)
		}
	}
	if n != 1 || !hibernates(w, server) {
		t.Errorf("%d connections, hibernates: %v", n, hibernates(w, server))
	}
	w.over()
}

// TestHibernationIsNotSeen: in random histories with idle times, everything sent arrives once and in order, whether ends hibernate or not.
func TestHibernationIsNotSeen(t *testing.T) {
	hibernations, wakes := uint64(0), uint64(0)
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, 1+int(seed%2), func(c *Config) { c.Hibernate = 600 * mono.Millisecond })
		loss := rng.Float64() * 0.2
		w.drop = func(udp.Addr, udp.Addr, []byte) bool { return rng.Float64() < loss }
		type end struct{ sent, got byte }
		var up, down end
		w.sapp.message = func(_ *Shard, _ Ref, ev *proto.Event) bool {
			if up.got++; ev.Payload[0] != up.got {
				t.Fatalf("seed %d: message %d of the client came as number %d", seed, ev.Payload[0], up.got)
			}
			return true
		}
		w.capp.message = func(_ *Shard, _ Ref, ev *proto.Event) bool {
			if down.got++; ev.Payload[0] != down.got {
				t.Fatalf("seed %d: message %d of the server came as number %d", seed, ev.Payload[0], down.got)
			}
			return true
		}
		client := w.connect()
		server := w.sapp.opened[0]
		owner := w.shards[server.Slot>>slotBits]
		for range 30 {
			for range rng.IntN(3) {
				up.sent++
				w.client.Send(client, &Outbound{Payload: append([]byte{up.sent}, make([]byte, rng.IntN(3000))...), Reliable: true})
			}
			for range rng.IntN(3) {
				down.sent++
				owner.Send(server, &Outbound{Payload: append([]byte{down.sent}, make([]byte, rng.IntN(3000))...), Reliable: true})
			}
			w.run(mono.Duration(rng.Int64N(int64(3 * mono.Second))))
		}
		loss = 0
		w.run(10 * mono.Second)
		if up.got != up.sent || down.got != down.sent {
			t.Errorf("seed %d: %d of %d and %d of %d messages came", seed, up.got, up.sent, down.got, down.sent)
		}
		hibernations, wakes = hibernations+owner.counters.Hibernations, wakes+owner.counters.Wakes
		w.drop = nil
		w.over()
	}
	if hibernations < 200 || wakes < 200 {
		t.Errorf("only %d hibernations and %d wakes", hibernations, wakes)
	}
}

func BenchmarkHibernateAndWake(b *testing.B) {
	w := newWorld(b, 1, func(c *Config) { c.Hibernate = testHibernate })
	w.connect()
	w.run(mono.Second)
	server := w.sapp.opened[0]
	slot := server.Slot & slotMask
	b.ReportAllocs()
	for b.Loop() {
		p := w.server.awake(slot)
		w.server.undirty(slot, p)
		p.keys.Evict()
		if !w.server.hibernate(w.now, slot, p) {
			b.Fatal("it does not hibernate")
		}
	}
}
