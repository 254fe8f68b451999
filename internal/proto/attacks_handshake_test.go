package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func TestCRYPTOBeyondTheBufferClosesAtEachLevel(t *testing.T) {
	for level := range wire.Level(wire.NumLevels) {
		p := newPair(t, 1, nil)
		victim := p.client
		p.until(mono.Second, "keys", func() bool { s := victim.c.space(level); return s != nil && s.canRead })
		base := uint64(victim.c.hs.crypto[level].base)
		victim.attackAt(level, p.server.addr, wire.AppendCrypto(nil, base+maxCryptoBuffer-1, []byte{1}))
		if victim.closed != nil {
			t.Fatalf("%v: closed within the bound: %q", level, victim.reason)
		}
		if n := cap(victim.c.hs.crypto[level].in); n > 2*maxCryptoBuffer {
			t.Errorf("%v: the buffer took %d bytes", level, n)
		}
		victim.attackAt(level, p.server.addr, wire.AppendCrypto(nil, base+maxCryptoBuffer, []byte{1}))
		victim.refuses(wire.CryptoBufferExceeded)
		if victim.sh.Stats.CryptoOverflow != 1 {
			t.Errorf("%v: counted %d overflows", level, victim.sh.Stats.CryptoOverflow)
		}
	}
}

// TestAClientHelloThatNeverEndsCloses: what a server gathers before it knows who asks is bounded by the half-open entry's buffer,
// whatever length the message claims.
func TestAClientHelloThatNeverEndsCloses(t *testing.T) {
	p := newPair(t, 2, nil)
	victim := p.server
	hello := make([]byte, 1000)
	hello[0], hello[1] = 1, 0xff // 16 million bytes
	for i := uint64(0); victim.closed == nil && i < 100; i++ {
		victim.attackAt(wire.LevelInitial, p.client.addr, wire.AppendCrypto(nil, i*1000, hello))
		if n := victim.c.heap(); n > 10_000 {
			t.Fatalf("holds %d bytes after %d packets", n, i+1)
		}
	}
	victim.refuses(wire.CryptoBufferExceeded)
	if victim.got[wire.LevelInitial] != 0 {
		t.Error("an incomplete ClientHello went to the session")
	}
}

func TestCRYPTOInTooManyPiecesCloses(t *testing.T) {
	p := newPair(t, 3, nil)
	victim := p.server
	for i := range uint64(maxCryptoGaps) {
		victim.attackAt(wire.LevelInitial, p.client.addr, wire.AppendCrypto(nil, 10+4*i, []byte{1, 2}))
	}
	if victim.closed != nil {
		t.Fatalf("closed at the limit: %q", victim.reason)
	}
	victim.attackAt(wire.LevelInitial, p.client.addr, wire.AppendCrypto(nil, 1000, []byte{1, 2}))
	victim.refuses(wire.CryptoBufferExceeded)
}

func TestEmptyCRYPTOCostsNothing(t *testing.T) {
	p := newPair(t, 4, nil)
	victim := p.server
	before := victim.c.heap()
	for i := range uint64(20_000) {
		victim.attackAt(wire.LevelInitial, p.client.addr, wire.AppendCrypto(nil, i%4096, nil))
		p.now++
	}
	if n := victim.c.heap() - before; n > 4096 || victim.closed != nil {
		t.Errorf("%d bytes more, closed %+v", n, victim.closed)
	}
}

// TestEndlessCRYPTOInOrderIsNotKept: bytes of the 1-RTT level go to the session, and nowhere else.
func TestEndlessCRYPTOInOrderIsNotKept(t *testing.T) {
	p, _ := hostile(t, 5, nil)
	victim := p.client
	for _, hs := range []bool{true, false} {
		if !hs {
			victim.c.hs = nil
		}
		chunk := make([]byte, 1100)
		off := uint64(0)
		if hs && victim.c.hs != nil {
			off = uint64(victim.c.hs.crypto[wire.LevelOneRTT].base)
		}
		for range 10_000 {
			victim.attack(wire.AppendCrypto(nil, off, chunk))
			off += uint64(len(chunk))
			if victim.c.app.recv.unacked > 100 {
				victim.flush()
			}
		}
		victim.holds(200_000, 0)
	}
	victim.survives()
}

// TestATokenThatLeavesNoRoomIsRefused: the token of a Retry goes into each Initial, and everything else must fit beside it.
func TestATokenThatLeavesNoRoomIsRefused(t *testing.T) {
	src, _ := wire.MakeConnID([]byte("another-one!"))
	for n := 1; n < 3000; n += 7 {
		p := newPair(t, 6, nil)
		p.client.flush()
		p.flying = nil
		taken := p.client.c.HandleRetry(p.now, src, make([]byte, n))
		if taken != (n <= maxRetryToken) {
			t.Fatalf("a token of %d bytes: %v", n, taken)
		}
		p.client.flush()
		if taken && len(p.flying) == 0 {
			t.Fatalf("with a token of %d bytes nothing is sent", n)
		}
		p.client.c.localID, _ = wire.MakeConnID(make([]byte, wire.MaxConnIDLen))
		p.client.c.peer.current = p.client.c.localID
		p.client.c.InstallKeys(wire.LevelHandshake, true, 16)
		p.client.c.InstallKeys(wire.LevelOneRTT, true, 16)
		scatter(&p.client.c.app)
		p.client.c.Close(p.now, false, wire.MaxVarint, text(1, 256))
		p.client.flush()
		p.flying = nil
	}
}

func TestOnlyTheFirstAnswerMayBeARetry(t *testing.T) {
	src, _ := wire.MakeConnID([]byte("another-one!"))
	for _, when := range []string{"twice", "after a packet", "connected", "closing", "server"} {
		p := newPair(t, 7, nil)
		c := &p.client.c
		p.client.flush()
		switch when {
		case "twice":
			if !c.HandleRetry(p.now, src, []byte("token")) {
				t.Fatal("the first Retry was refused")
			}
		case "after a packet":
			p.until(mono.Second, "an answer", func() bool { return c.hs.havePeer })
		case "connected":
			p.connect()
		case "closing":
			c.Close(p.now, true, 1, "")
		case "server":
			c = &p.server.c
		}
		if c.HandleRetry(p.now, src, []byte("token")) {
			t.Errorf("%s: a Retry was taken", when)
		}
		p.flying = nil
	}
}

// TestNothingEndsAConnectionTwice: whatever arrives late, the application hears of the end once. (The pair fails a test that sees
// two.)
func TestNothingEndsAConnectionTwice(t *testing.T) {
	others := []byte{0x1a, 0x2a, 0x3a, 0x4a}
	for _, state := range []State{StateClosing, StateDraining, StateClosed} {
		p := newPair(t, 8, nil)
		p.client.flush()
		for _, s := range []*side{p.client, p.server} {
			s.c.Close(p.now, true, 1, "")
			s.drain()
			s.c.state = state
			s.c.HandleVersionNegotiation(p.now, others)
			s.c.HandleStatelessReset(p.now)
			s.c.HandshakeFailed(p.now, 40, "late")
			s.c.HandshakeComplete(p.now)
			s.c.SetPeerParams(p.now, s.peer.params())
			s.c.SetPeerParams(p.now, []byte{1})
			s.c.SendCrypto(wire.LevelInitial, []byte("late"))
			s.c.Shutdown(p.now, 2, "")
			s.c.Close(p.now, true, 3, "")
			s.c.Ping(p.now)
			s.c.HandleTimeout(p.now)
			s.drain()
			if s.c.State() != state || s.closed == nil || s.closed.Code != 1 {
				t.Errorf("%s: state %d became %d, %+v", s.name, state, s.c.State(), s.closed)
			}
		}
		p.flying = nil
	}
}

// TestASilentServerMeetsNoStorm: probes of a handshake that nobody answers double their distance.
func TestASilentServerMeetsNoStorm(t *testing.T) {
	p := newPair(t, 9, nil)
	p.link.blackout = true
	p.run(10 * mono.Second)
	if p.client.sent > 2+2*6 { // 300 ms, 600, 1200, 2400, 4800: five probes and the two datagrams of the ClientHello
		t.Errorf("%d datagrams in ten seconds of silence", p.client.sent)
	}
	if p.client.closed == nil || p.client.closed.Code != CodeHandshake {
		t.Errorf("%+v", p.client.closed)
	}
}

// TestAnUndecidedServerMeetsNoStorm: once a server has acknowledged the Finished, its client waits in silence for HANDSHAKE_DONE
// (RFC 9002 §6.2.2.1), and is told if that will never come.
func TestAnUndecidedServerMeetsNoStorm(t *testing.T) {
	p := newPair(t, 9, nil)
	p.server.asks = true
	p.run(mono.Second)
	p.client.say(0, "early")
	p.client.flush()
	p.run(8 * mono.Second)
	if p.client.c.State() != StateConnected || p.client.sent > 12 || p.server.sent > 12 {
		t.Errorf("state %d; %d datagrams and %d back in nine seconds", p.client.c.State(), p.client.sent, p.server.sent)
	}
	p.run(2 * mono.Second)
	if e := p.client.closed; e == nil || !e.Remote || e.App || e.Code != uint64(wire.ConnectionRefused) || p.client.reason != "handshake timeout" {
		t.Errorf("%+v, %q", e, p.client.reason)
	}
}

// TestALateDecisionLosesNothing: what the client sent while the server's application thought is delivered after all.
func TestALateDecisionLosesNothing(t *testing.T) {
	p := newPair(t, 9, nil)
	p.server.asks = true
	p.run(mono.Second)
	p.client.say(0, "early")
	p.client.flush()
	p.run(4 * mono.Second)
	p.server.asks = false
	p.server.session(wire.LevelHandshake, 0)
	p.server.flush()
	p.run(mono.Second)
	if len(p.server.messages) != 1 || p.server.messages[0] != "early" || !p.client.c.confirmed {
		t.Errorf("%q, confirmed: %v", p.server.messages, p.client.c.confirmed)
	}
}

// TestASilentPeerMeetsNoStorm: probes of a connection with data to deliver come every 200 ms for five seconds, then ever more
// rarely.
func TestASilentPeerMeetsNoStorm(t *testing.T) {
	p, victim := hostile(t, 10, nil)
	p.link.blackout = true
	for i := range 200 {
		victim.say(0, text(i, 1000))
	}
	victim.flush()
	sent, bytes := victim.sent, victim.bytes
	p.run(30 * mono.Second)
	if n := victim.sent - sent; n > 2*(25+8) {
		t.Errorf("%d datagrams into silence", n)
	}
	if n := victim.bytes - bytes; n > 2*(25+8)*1452 {
		t.Errorf("%d bytes into silence", n)
	}
}

// TestACloseFloodIsAnsweredEverMoreRarely: RFC 9000 §10.2.1.
func TestACloseFloodIsAnsweredEverMoreRarely(t *testing.T) {
	p, victim := hostile(t, 11, nil)
	victim.c.Close(p.now, true, 1, "")
	victim.flush()
	sent := victim.sent
	for range 10_000 {
		victim.attack([]byte{wire.FramePing})
		victim.flush()
	}
	if n := victim.sent - sent; n < 5 || n > 15 {
		t.Errorf("%d answers to 10,000 packets", n)
	}
	victim.holds(20_000, 0)
}

func TestCLOSEIsHeardAtEachLevel(t *testing.T) {
	for level := range wire.Level(wire.NumLevels) {
		p := newPair(t, 12, nil)
		victim := p.client
		p.until(mono.Second, "keys", func() bool { s := victim.c.space(level); return s != nil && s.canRead })
		victim.attackAt(level, p.server.addr, wire.AppendClose(nil, wire.ServerBusy, 0, []byte("later")))
		if e := victim.closed; e == nil || !e.Remote || e.Code != uint64(wire.ServerBusy) || victim.reason != "later" {
			t.Errorf("%v: %+v", level, e)
		}
		if victim.c.State() != StateDraining {
			t.Errorf("%v: state %d", level, victim.c.State())
		}
		sent := victim.sent
		p.flying = nil
		p.run(10 * mono.Second)
		if victim.sent != sent || victim.c.State() != StateClosed {
			t.Errorf("%v: a draining connection sent %d datagrams, state %d", level, victim.sent-sent, victim.c.State())
		}
	}
}
