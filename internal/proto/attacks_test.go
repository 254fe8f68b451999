package proto

import (
	"testing"
	"unsafe"

	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// The peer of these tests is authenticated and hostile: it holds the keys and says what it likes. What it says is mixed into an
// honest connection, so that a test can also show that the connection survives what it should survive.

// attack gives a side a packet that its peer might have sent: it takes the peer's next packet number.
func (s *side) attack(payload []byte) { s.attackFrom(s.peer.addr, payload) }

// attackFrom does so from any address.
func (s *side) attackFrom(from wire.Addr, payload []byte) {
	s.attackAt(wire.LevelOneRTT, from, payload)
}

func (s *side) attackAt(level wire.Level, from wire.Addr, payload []byte) {
	path := wire.Path{Remote: from, Local: s.addr}
	peer := s.peer.c.space(level)
	pk := wire.Packet{Payload: payload, Number: peer.next, Level: level, Path: &path, Size: len(payload) + 30}
	peer.push(sentPacket{time: s.p.now, state: packetLost}) // the peer itself wants nothing of it repeated
	s.seen(level, pk.Number)
	s.received += pk.Size
	s.c.HandleDatagram(s.p.now, &path, pk.Size)
	s.c.HandlePacket(s.p.now, &pk)
	s.drain()
}

// hostile returns a connected pair whose server is the victim of its client.
func hostile(t testing.TB, seed uint64, edit func(*Config)) (p *pair, victim *side) {
	p = newPair(t, seed, edit)
	p.connect()
	p.run(mono.Second)
	return p, p.server
}

// heap is how many bytes of the Go heap a connection holds, by the capacity of everything that it lets grow.
func (c *Conn) heap() int {
	n := 0
	add := func(count int, size uintptr) { n += count * int(size) }
	space := func(s *space) {
		add(len(s.sent.packets.buf), unsafe.Sizeof(sentPacket{}))
		add(len(s.sent.records.buf), unsafe.Sizeof(record{}))
		add(cap(s.recv.ranges), unsafe.Sizeof(wire.AckRange{}))
	}
	space(&c.app)
	if h := c.hs; h != nil {
		for i := range h.spaces {
			space(&h.spaces[i])
		}
		for i := range h.crypto {
			s := &h.crypto[i]
			add(cap(s.in)+cap(s.out), 1)
			add(cap(s.have)+cap(s.done)+cap(s.resend), unsafe.Sizeof(span{}))
		}
		add(len(h.token), 1)
	}
	add(cap(c.peer.spare), unsafe.Sizeof(peerID{}))
	add(cap(c.peer.retire)*2, 16)
	add(cap(c.ids.issued), unsafe.Sizeof(localID{}))
	m := &c.msgs
	for i := range m.chans {
		ch := &m.chans[i]
		add(len(ch.queue.buf), unsafe.Sizeof(queued{}))
		add(len(ch.extras.buf), unsafe.Sizeof(extra{}))
		add(len(ch.window.buf), unsafe.Sizeof(incoming{}))
		if ch.latest != nil {
			add(len(ch.latest.in.slots), unsafe.Sizeof(keySlot[uint64]{}))
			add(len(ch.latest.out.slots), unsafe.Sizeof(keySlot[outKey]{}))
		}
	}
	add(cap(m.chans), unsafe.Sizeof(channel{}))
	add(cap(m.levels), unsafe.Sizeof(level{}))
	add(cap(m.frags), unsafe.Sizeof(outFragments{}))
	add(cap(m.reasm), unsafe.Sizeof(reassembly{}))
	for i := range m.reasm {
		add(cap(m.reasm[i].have), unsafe.Sizeof(span{}))
	}
	if st := c.streams; st != nil {
		add(len(st.list), unsafe.Sizeof(stream{}))
		add(2*cap(st.list)+len(st.control.buf)+len(st.data.buf)+2*len(st.index), 8)
		for _, s := range st.list {
			add(len(s.queue.buf), unsafe.Sizeof(segment{}))
			add(cap(s.pieces), unsafe.Sizeof(piece{}))
			add(cap(s.acked)+cap(s.lost), unsafe.Sizeof(span{}))
		}
	}
	return n
}

// holds asserts that a connection keeps at most so many bytes of the heap and of the pool.
func (s *side) holds(heap, pool int) {
	s.p.t.Helper()
	if n := s.c.heap(); n > heap {
		s.p.t.Errorf("%s holds %d bytes of the heap, more than %d", s.name, n, heap)
	}
	if n := int(s.poolBytes()); n > pool {
		s.p.t.Errorf("%s holds %d bytes of the pool, more than %d", s.name, n, pool)
	}
}

// poolBytes is what the blocks in use take.
func (s *side) poolBytes() (n int64) {
	st := s.sh.Pool.Stats()
	for i := range st.Tiers {
		n += int64(st.Tiers[i].InUse * st.Tiers[i].Size)
	}
	for i := range s.c.msgs.reasm {
		if r := &s.c.msgs.reasm[i]; r.total > 65536 {
			n += int64(r.total) // large blocks have a size of their own
		}
	}
	return n
}

// refuses asserts that the connection was closed by this end with the code, and holds nothing any more.
func (s *side) refuses(code wire.ErrorCode) {
	s.p.t.Helper()
	if s.closed == nil || s.closed.Remote || s.closed.App || s.closed.Code != uint64(code) {
		s.p.t.Fatalf("%s: want close with %v, got %+v %q", s.name, code, s.closed, s.reason)
	}
	if s.c.State() != StateClosing {
		s.p.t.Errorf("%s: state %d after an error of the peer", s.name, s.c.State())
	}
	if n := s.sh.Pool.InUse(); n != 0 {
		s.p.t.Errorf("%s: %d blocks of the pool in use after the close", s.name, n)
	}
}

// survivor is a channel that the attacks leave alone.
const survivor = 77

// survives asserts that both ends still talk, as before the attack.
func (s *side) survives() {
	s.p.t.Helper()
	if s.closed != nil {
		s.p.t.Fatalf("%s: closed with %#x %q", s.name, s.closed.Code, s.reason)
	}
	for _, from := range []*side{s, s.peer} {
		to := from.peer
		from.say(survivor, "still here")
		s.p.until(5*mono.Second, "a message after the attack", func() bool {
			n := len(to.messages)
			return n > 0 && to.messages[n-1] == "still here"
		})
	}
}

func ack(ranges ...wire.AckRange) []byte {
	b, _ := wire.AppendAck(nil, ranges, 0, nil, 4000)
	return b
}

// TestOptimisticACKsMeetASkippedNumber: a receiver that acknowledges what it did not get, to be sent more than the path
// carries (CVE-2025-4820), acknowledges a number that was left out.
func TestOptimisticACKsMeetASkippedNumber(t *testing.T) {
	for seed := range uint64(20) {
		p, victim := hostile(t, seed, nil)
		p.link.drop = func(*side, *datagram) bool { return true } // nothing arrives at all
		floor := victim.c.app.next
		for i := 0; victim.closed == nil; i++ {
			if i == 100 {
				t.Fatalf("seed %d: believed %d packets that never arrived", seed, victim.c.app.next-floor)
			}
			for range 20 {
				victim.say(0, text(i, 1000))
			}
			victim.flush()
			victim.attack(ack(wire.AckRange{Smallest: floor, Largest: victim.c.app.next - 1}))
			p.now = p.now.Add(5 * mono.Millisecond)
		}
		victim.refuses(wire.ProtocolViolation)
	}
}

func TestACKOfUnsentClosesAtEachLevel(t *testing.T) {
	for level := range wire.Level(wire.NumLevels) {
		p := newPair(t, uint64(level), nil)
		if level == wire.LevelOneRTT {
			p.connect()
		} else {
			p.until(mono.Second, "keys", func() bool { s := p.server.c.space(level); return s != nil && s.canWrite && s.next > 0 })
		}
		s := p.server.c.space(level)
		p.server.attackAt(level, p.client.addr, ack(wire.AckRange{Smallest: s.next, Largest: s.next}))
		p.server.refuses(wire.ProtocolViolation)
		if level < wire.LevelOneRTT {
			p.run(mono.Second) // the close is sent at the level it arose at
			if p.client.closed == nil || p.client.closed.Code != uint64(wire.ProtocolViolation) {
				t.Errorf("%v: the client was not told: %+v", level, p.client.closed)
			}
		}
	}
}

func TestAThousandACKRangesClose(t *testing.T) {
	_, victim := hostile(t, 1, nil)
	frame := []byte{wire.FrameAck}
	for _, v := range []uint64{5000, 0, 999, 0} { // largest, delay, further ranges, first range
		frame = wire.AppendVarint(frame, v)
	}
	for range 999 {
		frame = append(frame, 0, 0)
	}
	victim.c.app.next = 6000
	victim.attack(frame)
	victim.refuses(wire.FrameEncodingError)
}

func TestSixtyFourACKRangesAreTaken(t *testing.T) {
	p, victim := hostile(t, 1, func(c *Config) { c.Congestion = uint8(congestion.Fixed) })
	p.link.blackout = true
	victim.c.skipIn = 10_000
	first := victim.c.app.next
	for i := range 130 {
		victim.say(0, text(i, 100))
		victim.flush()
	}
	var ranges []wire.AckRange
	for i := range uint64(64) {
		n := first + 128 - 2*i
		ranges = append(ranges, wire.AckRange{Smallest: n, Largest: n})
	}
	had := victim.c.msgs.buffered
	victim.attack(ack(ranges...))
	if n := (had - victim.c.msgs.buffered) / (100 + messageOverhead); victim.closed != nil || n != 64 {
		t.Errorf("closed %+v, %d messages of 64 acknowledged", victim.closed, n)
	}
}

func TestRepeatedACKsCostNothing(t *testing.T) {
	p, victim := hostile(t, 2, nil)
	for range 10 {
		victim.say(0, text(1, 500))
	}
	p.run(mono.Second)
	window := victim.c.cc.Window()
	for range 20_000 {
		victim.attack(ack(wire.AckRange{Smallest: 0, Largest: uint64(victim.c.app.largestAcked)}))
	}
	if victim.closed == nil && victim.c.cc.Window() != window {
		t.Errorf("the window grew from %d to %d without a new acknowledgment", window, victim.c.cc.Window())
	}
	victim.holds(20_000, 0)
	victim.survives()
}

func TestAckDelayLiesShrinkNoTimeout(t *testing.T) {
	p, victim := hostile(t, 3, nil)
	least := victim.c.rtt.Min
	victim.c.skipIn = 10_000
	for i := range 200 {
		victim.say(0, text(i, 100))
		victim.flush()
		p.now = p.now.Add(10 * mono.Millisecond)
		b, _ := wire.AppendAck(nil, []wire.AckRange{{Smallest: victim.c.app.next - 1, Largest: victim.c.app.next - 1}}, 1<<60, nil, 100)
		p.flying = nil
		victim.attack(b)
		if r := &victim.c.rtt; r.Smoothed < r.Min || r.Min > least || victim.c.rtt.PTO(0) < least {
			t.Fatalf("after %d lies: smoothed %v, minimum %v, PTO %v", i, r.Smoothed, r.Min, r.PTO(0))
		}
	}
	if victim.closed != nil {
		t.Errorf("closed: %q", victim.reason)
	}
}

// TestHugeRoundTripsKeepTimersFinite: a peer that answers seconds late, again and again, may make its own connection slow, but
// no timer may overflow, and the connection ends in finite time once the peer is gone.
func TestHugeRoundTripsKeepTimersFinite(t *testing.T) {
	p, victim := hostile(t, 4, nil)
	p.link.blackout = true
	for i := range 20 {
		victim.say(0, text(i, 100))
		victim.flush()
		p.now = p.now.Add(25 * mono.Second)
		victim.attack(ack(wire.AckRange{Smallest: victim.c.app.next - 1, Largest: victim.c.app.next - 1}))
		victim.flush()
		if at := victim.c.NextDeadline(); at <= p.now || at > p.now.Add(5*mono.Minute) {
			t.Fatalf("next deadline %v from now", at.Sub(p.now))
		}
	}
	start := p.now
	for victim.c.State() != StateClosed {
		if !p.step(start.Add(20 * mono.Minute)) {
			t.Fatalf("state %d after 20 minutes of silence", victim.c.State())
		}
	}
	victim.holds(40_000, 0)
}

func TestSpuriousCongestionMarksHaveAFloor(t *testing.T) {
	p, victim := hostile(t, 5, nil)
	victim.c.skipIn = 10_000
	p.link.drop = func(from *side, _ *datagram) bool { return from == victim }
	for i := range 300 {
		for range 3 {
			victim.say(0, text(i, 1000))
		}
		victim.flush()
		p.now = p.now.Add(10 * mono.Millisecond)
		b, _ := wire.AppendAck(nil, []wire.AckRange{{Smallest: victim.c.app.next - 1, Largest: victim.c.app.next - 1}}, 0,
			&wire.ECNCounts{CE: victim.c.ecn.sent}, 100)
		victim.attack(b)
		if victim.c.cc.Window() < victim.c.cc.MinWindow() {
			t.Fatalf("window %d, the least is %d", victim.c.cc.Window(), victim.c.cc.MinWindow())
		}
	}
	if victim.closed != nil {
		t.Fatalf("closed: %q", victim.reason)
	}
}

func TestMoreMarksThanPacketsTurnECNOff(t *testing.T) {
	for name, counts := range map[string]func(sent uint64) wire.ECNCounts{
		"more than were sent":   func(n uint64) wire.ECNCounts { return wire.ECNCounts{CE: n + 1000} },
		"the other codepoint":   func(n uint64) wire.ECNCounts { return wire.ECNCounts{ECT0: n, ECT1: 1} },
		"fewer than before":     func(uint64) wire.ECNCounts { return wire.ECNCounts{} },
		"counts that overflow":  func(uint64) wire.ECNCounts { return wire.ECNCounts{ECT0: wire.MaxVarint, CE: wire.MaxVarint} },
		"fewer than just acked": func(uint64) wire.ECNCounts { return wire.ECNCounts{ECT0: 1} },
	} {
		p, victim := hostile(t, 6, nil)
		for i := range 30 {
			victim.say(0, text(i, 1000))
		}
		p.run(mono.Second)
		if victim.c.ecn.state != ecnCapable {
			t.Fatalf("%s: state %d before the attack", name, victim.c.ecn.state)
		}
		victim.say(0, "one more")
		victim.flush()
		window := victim.c.cc.Window()
		c := counts(victim.c.ecn.sent)
		b, _ := wire.AppendAck(nil, []wire.AckRange{{Smallest: victim.c.app.next - 1, Largest: victim.c.app.next - 1}}, 0, &c, 100)
		p.now = p.now.Add(5 * mono.Millisecond)
		victim.attack(b)
		if victim.c.ecn.state != ecnOff || victim.c.cc.Window() < window {
			t.Errorf("%s: ECN state %d, window %d from %d", name, victim.c.ecn.state, victim.c.cc.Window(), window)
		}
		victim.survives()
	}
}

// TestAPeerThatNeverAcknowledgesCostsBoundedMemory: each of its packets asks for an ACK at once, and what was sent is
// remembered until it is acknowledged.
func TestAPeerThatNeverAcknowledgesCostsBoundedMemory(t *testing.T) {
	p, victim := hostile(t, 7, nil)
	p.link.drop = func(from *side, _ *datagram) bool { return from == victim }
	for range 300_000 {
		victim.attack([]byte{wire.FrameImmediateAck})
		victim.flush()
		p.now = p.now.Add(10 * mono.Microsecond)
	}
	victim.holds(1<<20, 0)
	p.link.drop = nil
	victim.survives()
}

// TestEveryFrameCutShortCloses: a varint or a length that ends beyond its packet (CVE-2026-31812), in each frame at each level
// and in both roles: it closes with a code, or what is left was a valid frame; it never panics.
func TestEveryFrameCutShortCloses(t *testing.T) {
	for typ := range byte(0x40) {
		if !wire.IsKnownFrame(typ) || typ == wire.FramePadding {
			continue
		}
		for level := range wire.Level(wire.NumLevels) {
			for _, client := range []bool{true, false} {
				whole := sample(typ, client)
				for n := 1; n < len(whole); n++ {
					cutShort(t, whole[:n:n], level, client)
				}
				for n := 1; n < len(whole); n++ { // the longest varint, in the place of each byte, and cut short
					b := append(append([]byte(nil), whole[:n]...), 0xff, 0xff, 0xff)
					cutShort(t, b, level, client)
				}
			}
		}
	}
}

// cutShort gives one end of a pair in the middle of its handshake, or connected, a packet that is a broken frame.
func cutShort(t *testing.T, b []byte, level wire.Level, client bool) {
	p := newPair(t, 1, nil)
	if level == wire.LevelOneRTT {
		p.connect()
	} else {
		p.run(7 * mono.Millisecond)
	}
	victim := p.server
	if client {
		victim = p.client
	}
	s := victim.c.space(level)
	if s == nil {
		return
	}
	victim.attackAt(level, victim.peer.addr, b)
	victim.flush()
	p.flying = nil
	if e := victim.closed; e != nil && !e.Remote {
		switch code := wire.ErrorCode(e.Code); code {
		case wire.FrameEncodingError, wire.ProtocolViolation, wire.ReassemblyError, wire.CryptoBufferExceeded,
			wire.FlowControlError, wire.MessageTooLarge, wire.MessageLimit, wire.ConnectionIDLimitError,
			wire.StreamLimitError, wire.StreamStateError, wire.FinalSizeError:
		default:
			t.Fatalf("% x at %v: closed with %v", b, level, code)
		}
	}
}

func TestFramesOfTomorrowClose(t *testing.T) {
	for typ := 0x40; typ < 0x100; typ++ {
		_, victim := hostile(t, 9, nil)
		victim.attack(append([]byte{byte(typ)}, make([]byte, 20)...))
		victim.refuses(wire.FrameEncodingError)
	}
}
