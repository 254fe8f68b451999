package shard

import (
	"flag"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

var histories = flag.Int("histories", 100, "how many histories TestPackUnpackSameFutureWithKeys plays")

// repacked counts what happened around the packings of a history.
type repacked struct {
	records        int
	freshPhase     int // the record held the keys of two phases
	unacknowledged int // the own key update was not acknowledged yet
	peerUpdated    int // the peer began a new phase between pack and unpack
	moved          int // the client had a new address
}

// mayUpdate reports whether RFC 9001 §6.1 lets a peer begin another key phase.
func mayUpdate(p *peer) bool {
	start, ok := p.keys.PhaseStart()
	return p.conn.CanPack() && (!ok || start == 0 || p.conn.LargestAcked(levelApp) >= int64(start))
}

// repack sends one end of a connection, with its keys, through the packed form. between runs while it is packed.
func (w *world) repack(s *Shard, slot uint32, v *repacked, between func()) {
	p := s.at(slot)
	v.records++
	if p.keys.HasPrevious() {
		v.freshPhase++
	}
	if start, ok := p.keys.PhaseStart(); ok && start != 0 && p.conn.LargestAcked(levelApp) < int64(start) {
		v.unacknowledged++
	}
	record := p.keys.Append(nil, false)
	keys := len(record)
	record = p.conn.Pack(w.now, record)
	p.keys.Erase()
	between()
	if n := p.keys.Parse(record[:keys]); n != keys {
		w.t.Fatalf("%d of %d bytes of keys are read", n, keys)
	}
	if n := p.conn.Unpack(w.now, &s.shared, slot, record[keys:]); n != len(record)-keys {
		w.t.Fatalf("%d of %d bytes of the connection are read", n, len(record)-keys)
	}
}

// keyHistory plays a random history and returns the hash of every sealed datagram with its time. With pack set, ends go through their
// packed form at random moments.
func keyHistory(t *testing.T, seed uint64, pack bool, v *repacked) uint64 {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := newWorld(t, 1, nil)
	link := rand.New(rand.NewPCG(seed, 8))
	trace := fnv.New64a()
	loss := 0.0
	w.drop = func(from, to udp.Addr, b []byte) bool {
		_, _ = trace.Write(from[:])
		_, _ = trace.Write(b)
		_, _ = trace.Write([]byte{byte(w.now), byte(w.now >> 8), byte(w.now >> 16), byte(w.now >> 24)})
		return link.Float64() < loss
	}
	client := w.connect()
	server := w.sapp.opened[0]
	w.run(10 * mono.Millisecond)
	loss = rng.Float64() * 0.2
	ends := [2]struct {
		s *Shard
		r Ref
	}{{w.client, client}, {w.server, server}}
	port := uint16(1000)
	for range 10 + rng.IntN(20) {
		i := rng.IntN(2)
		own, other := ends[i], ends[1-i]
		slot, peerSlot := own.r.Slot&slotMask, other.r.Slot&slotMask
		for range rng.IntN(6) {
			own.s.Send(own.r, &Outbound{Payload: make([]byte, 1+rng.IntN(3000)), Channel: uint16(rng.IntN(5)), Reliable: true, Tag: rng.Uint64N(3)})
		}
		if rng.IntN(4) == 0 {
			port++
			if err := w.sockets[1].Rebind(w.client.at(client.Slot&slotMask).socket, udp.AddrFrom(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port))); err != nil {
				t.Fatal(err)
			}
		}
		w.run(mono.Duration(rng.Int64N(int64(3 * mono.Millisecond))))
		if p := own.s.at(slot); rng.IntN(3) == 0 && mayUpdate(p) {
			p.keys.Update()
		}
		w.run(mono.Duration(rng.Int64N(int64(mono.Millisecond))))
		update := rng.IntN(3) == 0 && mayUpdate(other.s.at(peerSlot))
		between := func() {
			if update {
				other.s.at(peerSlot).keys.Update()
			}
		}
		if chosen := rng.IntN(2) == 0; !pack || !chosen || !own.s.at(slot).conn.CanPack() {
			between()
			continue
		}
		if update {
			v.peerUpdated++
		}
		if port > 1000 {
			v.moved++
		}
		w.repack(own.s, slot, v, between)
	}
	loss = 0
	w.run(5 * mono.Second)
	if w.client.at(client.Slot&slotMask).conn.BytesInFlight() != 0 {
		t.Fatalf("history %d: the connection does not come to rest", seed)
	}
	sum := trace.Sum64()
	w.drop = nil
	w.over()
	return sum
}

func TestPackUnpackSameFutureWithKeys(t *testing.T) {
	var v repacked
	for seed := range uint64(*histories) {
		if keyHistory(t, seed, false, nil) != keyHistory(t, seed, true, &v) {
			t.Fatalf("history %d goes another way after unpacking", seed)
		}
	}
	t.Logf("%d histories: %+v", *histories, v)
	for name, n := range map[string]int{
		"it held the keys of two phases": v.freshPhase, "its key update was not acknowledged": v.unacknowledged,
		"its peer updated the keys between": v.peerUpdated, "the client had moved": v.moved,
	} {
		if n == 0 {
			t.Errorf("no history was packed while %s", name)
		}
	}
}
