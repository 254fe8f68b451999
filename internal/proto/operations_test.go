package proto

import (
	"flag"
	"math/rand/v2"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

var worlds = flag.Int("worlds", 120, "how many histories TestHistoriesKeepEveryPromise plays")

// operation takes one operation from the history and does it.
func (w *world) operation() {
	z := w.someone()
	s := z.s
	switch op := w.byte() & 63; {
	case op < 24:
		for range 1 + op/6 {
			z.post()
		}
	case op < 32:
		w.run(mono.Duration(w.byte()) * 100 * mono.Microsecond)
	case op < 35:
		w.run(mono.Duration(w.byte()) * 4 * mono.Millisecond)
	case op < 44:
		w.linkFault(op-35, w.byte())
	case op < 46:
		w.rebind(op == 45)
	case op == 46:
		w.now = w.now.Add(mono.Duration(w.byte()) * 40 * mono.Millisecond) // the process was stopped
	case op == 47:
		s.c.Ping(w.now)
	case op < 50:
		z.hold = !z.hold
	case op < 52:
		z.consume(int(w.byte()))
	case op == 52:
		if s.c.CanPack() {
			s.repack()
		}
	case op < 56:
		w.oddMoment(s, op-53)
	case op == 56:
		w.ending(s)
	default:
		if w.raw {
			w.forge(s)
		}
	}
}

// rebind has the client appear at another port, or another address. Before the handshake is confirmed the server does not
// follow it, and in plain mode it never follows it to another address: such a client would have to connect anew.
func (w *world) rebind(host bool) {
	if !w.server.c.Confirmed() || host && w.server.sh.Config.Plain {
		if !w.raw {
			return
		}
		w.honest = false
	}
	if host {
		w.client.addr[15]++
	} else {
		w.client.addr[17]++
	}
}

// linkFault changes what the link does to datagrams.
func (w *world) linkFault(which, value byte) {
	l := &w.link
	switch which {
	case 0, 1:
		l.loss = float64(value) / 512
	case 2:
		l.jitter = mono.Duration(value) * 200 * mono.Microsecond
	case 3:
		l.duplicate = float64(value) / 1024
	case 4:
		l.blackout = !l.blackout
	case 5:
		l.ce = value&1 != 0
	case 6:
		l.bleach = value&1 != 0
	case 7:
		l.mtu = 0
		if value&1 != 0 {
			l.mtu = 1200 + int(value)
		}
	case 8:
		n, at := 0, int(value&15)
		l.drop = func(*side, *datagram) bool { n++; return n == at } // one datagram of those to come
	}
}

// oddMoment has an answer arrive that belongs to another moment, or to nobody.
func (w *world) oddMoment(s *side, which byte) {
	var token [16]byte
	for i := range token {
		token[i] = w.byte() | 1
	}
	switch which {
	case 0:
		if s.c.IsStatelessReset(token[:]) {
			s.c.HandleStatelessReset(w.now)
		}
	case 1:
		s.c.HandleVersionNegotiation(w.now, []byte{0x67, 0x77, 0, 1})
	case 2:
		src, _ := wire.MakeConnID(token[:8])
		if s.c.complete || !s.c.client { // earlier the client would rightly follow it
			if s.c.HandleRetry(w.now, src, token[:]) {
				w.t.Fatalf("%s: a Retry was taken at an odd moment", s.name)
			}
		}
	}
	s.drain()
}

// ending ends the connection, seldom: what comes after it is short.
func (w *world) ending(s *side) {
	switch v := w.byte(); {
	case v < 32:
		s.c.Close(w.now, true, uint64(v), "done")
	case v < 64:
		s.c.Shutdown(w.now, uint64(v), "leaving")
	case v < 72 && w.raw:
		w.honest = false
		s.c.HandleStatelessReset(w.now)
	case v < 80 && w.raw:
		w.honest = false
		s.c.HandleVersionNegotiation(w.now, []byte{1, 2, 3, 4})
	}
	s.drain()
}

// forge gives a side a packet of arbitrary content, or part of one on its way.
func (w *world) forge(s *side) {
	kind, n := w.byte(), int(w.byte())
	level := wire.LevelOneRTT
	if kind&3 == 0 {
		level = wire.Level(kind>>2) % wire.NumLevels
	}
	sp := s.c.space(level)
	if sp == nil || !sp.canRead || s.peer.c.space(level) == nil {
		return
	}
	var payload []byte
	if kind&4 != 0 && len(w.flying) > 0 {
		d := &w.flying[int(kind>>3)%len(w.flying)].d
		payload = append(payload, d.packets[0].Payload...)
		payload = payload[:min(n*5, len(payload))]
	} else {
		n = min(n, len(w.b))
		payload = append(payload, w.b[:n]...)
		w.b = w.b[n:]
	}
	w.honest = false
	from := s.peer.addr
	if kind&0x80 != 0 {
		from[16] ^= kind
	}
	s.attackAt(level, from, payload)
}

// randomHistory makes a history of n bytes from a seed.
func randomHistory(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	if seed%3 == 0 {
		b[1] |= 128 // the handshake is part of the history
	} else {
		b[1] &^= 128
	}
	return b
}

// TestHistoriesKeepEveryPromise plays random histories of honest ends on bad links.
func TestHistoriesKeepEveryPromise(t *testing.T) {
	seed := uint64(0)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for ; seed < uint64(*worlds) && !t.Failed(); seed++ {
		w := newWorld(t, randomHistory(seed, 900))
		w.play()
		w.heal()
	}
}

// FuzzOperations plays arbitrary histories, with frames that no honest peer would send among them.
func FuzzOperations(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomHistory(seed, 300))
	}
	f.Fuzz(func(t *testing.T, history []byte) {
		if len(history) > 4096 {
			return
		}
		w := newWorld(t, history)
		w.raw = true
		w.play()
		w.heal()
	})
}
