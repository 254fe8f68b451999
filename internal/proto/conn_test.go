package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func TestHandshakeThenMessagesBothWays(t *testing.T) {
	p := newPair(t, 1, nil)
	p.connect()
	p.client.say(0, "hello")
	p.server.say(0, "welcome")
	p.run(mono.Second)
	p.server.expect("hello")
	p.client.expect("welcome")
	if !p.client.c.HandshakeOver() || !p.server.c.HandshakeOver() {
		t.Error("the rest of the handshake is still held a second later")
	}
	if p.client.c.bytesInFlight != 0 || p.server.c.bytesInFlight != 0 {
		t.Errorf("in flight at rest: %d and %d", p.client.c.bytesInFlight, p.server.c.bytesInFlight)
	}
}

func TestHandshakeSurvivesTheLossOfEachDatagram(t *testing.T) {
	for lost := range 14 {
		p := newPair(t, 2, nil)
		n := 0
		p.link.drop = func(*side, *datagram) bool { n++; return n == lost+1 }
		p.connect()
		p.client.say(0, "x")
		p.run(3 * mono.Second)
		p.server.expect("x")
	}
}

func TestHandshakeSurvivesHeavyLoss(t *testing.T) {
	for seed := range uint64(30) {
		p := newPair(t, seed, nil)
		p.link.loss, p.link.jitter = 0.3, 10*mono.Millisecond
		for _, s := range []*side{p.client, p.server} {
			s.c.SetHandshakeDeadline(p.now.Add(100 * mono.Second))
		}
		p.until(100*mono.Second, "handshake", func() bool { return p.client.c.Confirmed() && p.server.c.Confirmed() })
	}
}

func TestServerSendsAtMostThreeTimesBeforeValidation(t *testing.T) {
	p := newPair(t, 3, nil)
	p.link.drop = func(from *side, _ *datagram) bool { return from == p.server } // the client never answers
	p.run(8 * mono.Second)
	if p.server.bytes > 3*p.client.bytes {
		t.Errorf("sent %d bytes to an address that sent %d", p.server.bytes, p.client.bytes)
	}
	if p.server.bytes == 0 {
		t.Error("the server said nothing at all")
	}
}

func TestManyMessagesSurviveLossInOrder(t *testing.T) {
	for seed := range uint64(20) {
		p := newPair(t, seed, nil)
		p.connect()
		p.link.loss, p.link.jitter, p.link.duplicate = 0.1, 8*mono.Millisecond, 0.05
		var want []string
		for i := range 600 {
			m := text(i, 20+i%400)
			want = append(want, m)
			if r := p.client.say(0, m); r != SendOK {
				t.Fatalf("send %d: %d", i, r)
			}
			if i%20 == 0 {
				p.run(mono.Millisecond)
			}
		}
		p.until(60*mono.Second, "everything delivered", func() bool { return len(p.server.messages) >= len(want) })
		p.run(5 * mono.Second)
		p.server.expect(want...)
		if p.client.c.bytesInFlight != 0 || p.client.c.app.sent.packets.len() > 8 {
			t.Errorf("seed %d: %d bytes in flight, %d packets in the log at rest", seed, p.client.c.bytesInFlight, p.client.c.app.sent.packets.len())
		}
	}
}

func TestLargeMessageIsFragmented(t *testing.T) {
	p := newPair(t, 4, nil)
	p.connect()
	p.link.loss = 0.02
	m := text(1, 200_000)
	p.client.say(0, m)
	p.until(30*mono.Second, "the message", func() bool { return len(p.server.messages) == 1 })
	p.server.expect(m)
}

func TestSameSeedSameBytes(t *testing.T) {
	run := func() uint64 {
		p := newPair(t, 7, nil)
		p.connect()
		p.link.loss, p.link.jitter = 0.1, 5*mono.Millisecond
		for i := range 100 {
			p.client.say(uint16(i%5), text(i, 100))
			p.server.say(uint16(i%5), text(i, 300))
			p.run(mono.Millisecond)
		}
		p.run(10 * mono.Second)
		return p.trace
	}
	if a, b := run(), run(); a != b {
		t.Errorf("two runs of one seed differ: %x, %x", a, b)
	}
}

func TestIdleTimeoutEndsBothEnds(t *testing.T) {
	p := newPair(t, 5, nil)
	p.connect()
	p.run(61 * mono.Second)
	for _, s := range []*side{p.client, p.server} {
		if s.closed == nil || s.closed.Code != CodeIdleTimeout {
			t.Errorf("%s: %+v", s.name, s.closed)
		}
	}
}

func TestKeepAliveHoldsAnIdleConnection(t *testing.T) {
	p := newPair(t, 5, func(c *Config) { c.KeepAlive = 20 * mono.Second })
	p.connect()
	p.run(300 * mono.Second)
	if p.client.closed != nil || p.server.closed != nil {
		t.Error("closed in spite of keep-alive")
	}
}

func TestCloseTellsCodeAndReason(t *testing.T) {
	p := newPair(t, 6, nil)
	p.connect()
	p.client.c.Close(p.now, true, 42, "enough")
	p.run(5 * mono.Second)
	e := p.server.closed
	if e == nil || !e.Remote || !e.App || e.Code != 42 || p.server.reason != "enough" {
		t.Fatalf("server saw %+v", e)
	}
	if p.client.c.State() != StateClosed || p.server.c.State() != StateClosed {
		t.Errorf("states %d and %d after three PTOs", p.client.c.State(), p.server.c.State())
	}
}

func TestCloseIsRepeatedWhenLost(t *testing.T) {
	p := newPair(t, 6, nil)
	p.connect()
	p.client.c.Close(p.now, true, 42, "enough")
	lost := false
	p.link.drop = func(from *side, _ *datagram) bool {
		drop := from == p.client && !lost
		lost = lost || drop
		return drop
	}
	p.server.say(0, "are you there?")
	p.run(mono.Second)
	if p.server.closed == nil || p.server.closed.Code != 42 {
		t.Fatal("the server did not learn of the close")
	}
}

func TestShutdownFlushesFirst(t *testing.T) {
	p := newPair(t, 8, nil)
	p.connect()
	p.link.loss = 0.2
	var want []string
	for i := range 50 {
		want = append(want, text(i, 500))
		p.client.say(0, want[i])
	}
	p.client.c.Shutdown(p.now, 7, "bye")
	if r := p.client.say(0, "late"); r != SendClosed {
		t.Errorf("a message after Shutdown: %d", r)
	}
	p.run(5 * mono.Second)
	p.server.expect(want...)
	if p.client.closed == nil {
		t.Error("not closed after the flush")
	}
}

func TestDeadPeerIsNoticedWhileDataWaits(t *testing.T) {
	p := newPair(t, 9, nil)
	p.connect()
	p.link.blackout = true
	p.client.say(0, "anyone?")
	p.run(40 * mono.Second)
	if p.client.closed == nil || p.client.closed.Code != CodeIdleTimeout {
		t.Fatalf("client: %+v", p.client.closed)
	}
}

func TestDeadPeerIsNoticedByWhoNeverComesToProbe(t *testing.T) {
	p := newPair(t, 9, nil)
	p.link.delay = 100 * mono.Millisecond // the probe timeout is longer than the time between two messages
	p.connect()
	p.link.blackout = true
	began, limit := p.now, p.client.sh.Config.DeadPeer*9/8+mono.Second
	for p.client.closed == nil && p.now.Sub(began) < 2*limit {
		p.client.say(0, "anyone?")
		p.run(50 * mono.Millisecond)
	}
	if took := p.now.Sub(began); took > limit || p.client.closed == nil || p.client.closed.Code != CodeIdleTimeout {
		t.Fatalf("after %v: %+v", took, p.client.closed)
	}
}

func TestABlackoutOfFiveSecondsIsSurvivedAndNoticedSoon(t *testing.T) {
	p := newPair(t, 10, nil)
	p.connect()
	p.link.blackout = true
	p.client.say(0, "through")
	p.run(5 * mono.Second)
	p.link.blackout = false
	healed := p.now
	p.until(mono.Second, "delivery", func() bool { return len(p.server.messages) == 1 })
	if d := p.now.Sub(healed); d > 300*mono.Millisecond {
		t.Errorf("delivered %v after the link came back", d)
	}
}

func TestAckOfAPacketNeverSentCloses(t *testing.T) {
	p := newPair(t, 11, nil)
	p.connect()
	inject(p.server, wire.AppendPing(mustAck(p.server.c.app.next+10)))
	if p.server.closed == nil || p.server.closed.Code != uint64(wire.ProtocolViolation) {
		t.Fatalf("%+v", p.server.closed)
	}
}

func TestAckOfASkippedNumberCloses(t *testing.T) {
	p := newPair(t, 12, nil)
	p.connect()
	p.link.blackout = true
	p.server.c.skipIn = 1
	p.server.say(0, "x")
	p.server.flush()
	inject(p.server, mustAck(p.server.c.app.next-2))
	if p.server.closed == nil || p.server.closed.Code != uint64(wire.ProtocolViolation) {
		t.Fatalf("%+v", p.server.closed)
	}
}

func mustAck(pn uint64) []byte {
	b, _ := wire.AppendAck(nil, []wire.AckRange{{Smallest: pn, Largest: pn}}, 0, nil, 100)
	return b
}

// inject gives a side a forged but authenticated 1-RTT packet.
func inject(s *side, payload []byte) {
	path := wire.Path{Remote: s.peer.addr, Local: s.addr}
	pn := uint64(max(s.c.app.recv.largest+1, 0))
	s.c.HandlePacket(s.p.now, &wire.Packet{Payload: payload, Number: pn, Level: wire.LevelOneRTT, Path: &path, Size: len(payload) + 30})
	s.drain()
}

func TestRebindingMovesTheConnection(t *testing.T) {
	p := newPair(t, 13, nil)
	p.connect()
	p.client.addr[17]++ // another port
	p.client.say(0, "from elsewhere")
	p.run(mono.Second)
	p.server.say(0, "found you")
	p.run(mono.Second)
	p.client.expect("found you")
	if p.server.c.Path().Remote != p.client.addr || p.server.c.move != nil {
		t.Error("the server did not move, or keeps validating")
	}
}

func TestASpoofedSourceIsUndoneWhenTheOldPathAnswers(t *testing.T) {
	p := newPair(t, 14, nil)
	p.connect()
	real := p.client.addr
	spoofed := real
	spoofed[15] = 99
	p.client.say(0, "one")
	p.client.addr = spoofed // an attacker forwards the packet from another host ...
	p.client.flush()
	p.client.addr = real // ... where the client never is
	p.run(2 * mono.Second)
	if p.server.c.Path().Remote != real {
		t.Error("the connection stayed with the attacker")
	}
	p.server.say(0, "still here")
	p.run(2 * mono.Second)
	p.client.expect("still here")
}

func TestPathMTUIsFoundAndABlackHoleLeft(t *testing.T) {
	p := newPair(t, 15, nil)
	p.connect()
	p.run(mono.Second)
	if p.client.c.MaxDatagram() != 1452 {
		t.Fatalf("found %d bytes on a free path", p.client.c.MaxDatagram())
	}
	p.link.mtu = 1300
	m := text(3, 60_000)
	p.client.say(0, m)
	p.until(20*mono.Second, "the message", func() bool { return len(p.server.messages) == 1 })
	if n := p.client.c.MaxDatagram(); n > 1300 {
		t.Errorf("still sends %d bytes over a path of 1300", n)
	}
	p.link.mtu = 0
	for range 15 { // ten minutes and more
		p.client.say(0, "x")
		p.run(45 * mono.Second)
	}
	if n := p.client.c.MaxDatagram(); n != 1452 {
		t.Errorf("sends %d bytes over a path that has become wider", n)
	}
	if m := &p.client.c.mtu; m.retryAt != mono.Never {
		t.Error("a path that carries all is to be probed again")
	}
}

func TestECNIsValidatedAndBleachingNoticed(t *testing.T) {
	p := newPair(t, 16, nil)
	p.connect()
	for i := range 50 {
		p.client.say(0, text(i, 900))
	}
	p.run(mono.Second)
	if p.client.c.ecn.state != ecnCapable {
		t.Errorf("state %d on a path that keeps the marks", p.client.c.ecn.state)
	}
	q := newPair(t, 16, nil)
	q.link.bleach = true
	q.connect()
	for i := range 50 {
		q.client.say(0, text(i, 900))
	}
	q.run(mono.Second)
	if q.client.c.ecn.state != ecnOff {
		t.Errorf("state %d on a path that erases the marks", q.client.c.ecn.state)
	}
}

func TestCongestionMarksReduceTheWindow(t *testing.T) {
	p := newPair(t, 17, nil)
	p.connect()
	p.link.ce = true
	for i := range 100 {
		p.client.say(0, text(i, 1000))
	}
	before := p.client.c.cc.Window()
	p.run(mono.Second)
	if p.client.c.cc.Window() >= before {
		t.Errorf("window %d after CE marks, %d before", p.client.c.cc.Window(), before)
	}
}

func TestLocalIDIsReplacedWhenRetired(t *testing.T) {
	p := newPair(t, 18, nil)
	p.connect()
	old := p.server.c.ids.issued[0].id
	inject(p.server, wire.AppendRetireConnectionID(nil, 0))
	if p.server.closed != nil || len(p.server.c.ids.issued) != 1 || p.server.c.ids.issued[0].id == old {
		t.Fatalf("issued %+v, closed %+v", p.server.c.ids.issued, p.server.closed)
	}
	p.run(mono.Second)
	if len(p.client.c.peer.spare) != 1 {
		t.Errorf("the client holds %d spare IDs", len(p.client.c.peer.spare))
	}
}

func TestRetiredIDsAreBounded(t *testing.T) {
	p := newPair(t, 19, nil)
	p.connect()
	p.link.blackout = true
	id, _ := wire.MakeConnID([]byte("0123456789ab"))
	for i := uint64(1); i < 100 && p.client.closed == nil; i++ {
		inject(p.client, wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: i, RetirePriorTo: i, ID: id}))
	}
	if p.client.closed == nil || p.client.closed.Code != uint64(wire.ConnectionIDLimitError) {
		t.Fatalf("%+v", p.client.closed)
	}
}

func TestMismatchedChannelsFailTheHandshakeByName(t *testing.T) {
	p := newPair(t, 20, nil)
	p.server.sh.Config.Channels[7].Mode = Unreliable
	p.run(5 * mono.Second)
	if p.client.closed == nil || p.client.closed.Code != uint64(wire.ChannelMismatch) {
		t.Fatalf("client %+v", p.client.closed)
	}
	if p.client.reason != "channel 7 is configured differently at the two ends" {
		t.Errorf("reason %q", p.client.reason)
	}
}
