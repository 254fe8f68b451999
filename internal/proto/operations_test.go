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
		} else if s.c.state == StateConnected && s.c.complete && !s.c.end.graceful {
			a := w.apps[0]
			if s == w.server {
				a = w.apps[1]
			}
			a.random(func(n int) int { return int(w.byte()) % n })
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
	if kind&0x7c == 0x7c && len(w.flying) > 0 {
		d := &w.flying[n%len(w.flying)].d
		payload = append(payload, d.packets[0].Payload...)
		payload = payload[:min(n*5, len(payload))]
	} else if kind&0x7c == 0x18 {
		n = min(n, len(w.b))
		payload = append(payload, w.b[:n]...)
		w.b = w.b[n:]
	} else {
		for range 1 + n%4 {
			payload = w.frame(payload, s)
		}
	}
	w.honest = false
	from := s.peer.addr
	if kind&0xe0 == 0xe0 {
		from[16] ^= kind
	}
	s.attackAt(level, from, payload)
}

// frame appends a well-formed frame whose values lie near those that the receiver's state makes interesting.
func (w *world) frame(b []byte, s *side) []byte {
	c := &s.c
	near := func(n uint64) uint64 { // within -2 … +5 of n, seldom far away
		v := w.byte()
		if v >= 254 {
			return wire.MaxVarint >> (w.byte() & 63)
		}
		return min(max(n+uint64(v>>5), 2)-2, wire.MaxVarint)
	}
	below := func(n uint64) uint64 { return n - min(n, near(4)) } // within -7 … 0, seldom 0
	ch := uint64(worldChannels[int(w.byte())%len(worldChannels)])
	next, counted := uint64(0), uint64(0)
	if r := c.msgs.existing(uint8(ch)); r != nil {
		next, counted = r.next, r.counted
	}
	keyed := ch == 2
	id, _ := wire.MakeConnID([]byte("forged-id"))
	switch w.byte() % 16 {
	case 0, 1:
		a := below(c.app.next)
		return append(b, ack(wire.AckRange{Smallest: a - min(a, uint64(w.byte()&15)), Largest: a})...)
	case 2, 3:
		return wire.AppendMessage(b, ch, near(next), uint64(w.byte()&3), keyed, text9(int(w.byte())))
	case 4, 5:
		total := 1 + uint64(w.byte())*4
		off := near(total/2) % total
		data := text9(int(w.byte()))[1:]
		return wire.AppendFragment(b, &wire.Fragment{
			Channel: ch, ID: near(next), Key: uint64(w.byte() & 3), Keyed: keyed, Offset: off, Total: total, Data: data[:min(uint64(len(data)), total-off)],
		})
	case 6:
		return wire.AppendSkip(b, ch, near(next), near(counted+32*uint64(w.byte())))
	case 7:
		return wire.AppendMaxChannel(wire.AppendMaxData(b, near(c.msgs.limit)), ch, near(1<<14))
	case 8:
		return wire.AppendChannelBlocked(wire.AppendBlocked(b, near(c.msgs.advertised)), ch, near(1<<14))
	case 9:
		seq := near(c.peer.seq + 1)
		return wire.AppendNewConnectionID(b, &wire.NewConnectionID{Seq: seq, RetirePriorTo: seq - min(seq, uint64(w.byte()&7)), ID: id})
	case 10:
		return wire.AppendRetireConnectionID(b, below(c.ids.next))
	case 11:
		return wire.AppendPathChallenge(b, uint64(w.byte()))
	case 12:
		v := uint64(w.byte())
		if m := c.move; m != nil {
			v = m.challenge[v&1]
		}
		return wire.AppendPathResponse(b, v)
	case 13:
		return wire.AppendAckFrequency(b, &wire.AckFrequency{Seq: near(c.ackAsk.peerNext), Threshold: uint64(w.byte())})
	case 14:
		return append(b, wire.FrameImmediateAck, 0, wire.FramePing)
	}
	if c.client {
		return append(b, wire.FrameHandshakeDone)
	}
	return wire.AppendCrypto(b, near(2000), text9(int(w.byte())))
}

// text9 makes 9 bytes and n more.
func text9(n int) []byte { return []byte(text(n, 9+n)) }

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
	for ; seed < uint64(*worlds); seed++ {
		w := newWorld(t, randomHistory(seed, 900))
		w.play()
		w.heal()
		if t.Failed() {
			return
		}
	}
}

// TestHistoriesWithAHostilePeer plays such histories with forged frames among them: the books must be right at any time, and
// memory must come back.
func TestHistoriesWithAHostilePeer(t *testing.T) {
	seed := uint64(0)
	defer func() {
		if r := recover(); r != nil || t.Failed() {
			t.Errorf("seed %d: %v", seed, r)
		}
	}()
	closed := map[uint64]int{}
	for ; seed < uint64(*worlds); seed++ {
		if t.Failed() {
			return
		}
		w := newWorld(t, randomHistory(seed, 900))
		w.raw = true
		w.play()
		for _, z := range w.citizens {
			if e := z.s.closed; e != nil && !e.Remote && !e.App {
				closed[e.Code]++
			}
		}
		w.heal()
	}
	for code, n := range closed {
		t.Logf("closed with %v: %d times", wire.ErrorCode(code), n)
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

// FuzzPacket gives arbitrary bytes, as the frames of an authentic packet, to either end at each level: in the middle of the
// handshake, or connected with messages on their way. What comes of it is a valid frame or a close with a code.
func FuzzPacket(f *testing.F) {
	for typ := range byte(0x40) {
		f.Add(typ, sample(typ, typ&1 == 0))
	}
	f.Fuzz(func(t *testing.T, where byte, payload []byte) {
		if len(payload) > 1400 {
			return
		}
		w := newWorld(t, []byte{1, where & 128, 0, 0})
		if where&128 == 0 {
			for range 6 {
				w.citizens[0].post()
				w.citizens[1].post()
				w.run(mono.Millisecond)
			}
		} else {
			w.run(mono.Duration(where>>2&15) * 2 * mono.Millisecond)
		}
		s := [2]*side{w.client, w.server}[where>>6&1]
		level := wire.Level(where&3) % wire.NumLevels
		sp := s.c.space(level)
		if sp == nil || s.peer.c.space(level) == nil {
			return
		}
		w.honest = false
		s.attackAt(level, s.peer.addr, payload)
		w.settle()
		w.books()
		if e := s.closed; e != nil && !e.Remote && e.Code == uint64(wire.NoError) {
			t.Fatalf("closed without a code: %+v", e)
		}
		if n := s.c.heap(); n > 2<<20 {
			t.Fatalf("one packet of %d bytes made the connection hold %d", len(payload), n)
		}
	})
}
