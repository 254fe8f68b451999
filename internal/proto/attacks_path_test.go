package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// ledger counts the bytes that pass between a side and each address of the world.
type ledger struct {
	in, out map[wire.Addr]int
}

// audit keeps a ledger of what a side sends; what it is sent from elsewhere the test enters itself.
func (s *side) audit() *ledger {
	l := &ledger{in: map[wire.Addr]int{}, out: map[wire.Addr]int{}}
	s.p.link.drop = func(from *side, d *datagram) bool {
		if from == s {
			l.out[d.to] += d.size
		}
		return false
	}
	return l
}

// from attacks from an address and enters it.
func (l *ledger) from(s *side, addr wire.Addr, payload []byte) {
	l.in[addr] += len(payload) + 30
	s.attackFrom(addr, payload)
}

// elsewhere returns another address than the peer's.
func elsewhere(s *side, host, port byte) wire.Addr {
	a := s.peer.addr
	a[14], a[17] = host, port
	return a
}

func TestPathChallengeFloodIsAnsweredByTheNewestOnly(t *testing.T) {
	p, victim := hostile(t, 1, nil)
	var responses []uint64
	p.link.drop = func(from *side, d *datagram) bool {
		if from == victim {
			for _, f := range parseFrames(d.packets[0].Payload) {
				if f.typ == wire.FramePathResponse {
					data, _ := wire.ParsePathResponse(f.body)
					responses = append(responses, data)
				}
			}
		}
		return false
	}
	for i := range uint64(100_000) {
		victim.attack(wire.AppendPathChallenge(nil, i))
	}
	p.run(mono.Second)
	if len(responses) != 1 || responses[0] != 99_999 {
		t.Errorf("%d answers, the last %d", len(responses), responses[len(responses)-1])
	}
	victim.holds(20_000, 0)
	victim.survives()
}

// TestPathChallengesFromElsewhereCostNeitherMemoryNorTheWindow: answers to addresses that are not the path's pass the window,
// so the peer could fill the log of what was sent with them.
func TestPathChallengesFromElsewhereCostNeitherMemoryNorTheWindow(t *testing.T) {
	_, victim := hostile(t, 2, nil)
	l := victim.audit()
	for i := range uint64(100_000) {
		l.from(victim, elsewhere(victim, byte(i), byte(i>>8)), wire.AppendPathChallenge(nil, i))
		victim.flush()
	}
	for a, out := range l.out {
		if a != victim.peer.addr && out > 3*l.in[a] {
			t.Fatalf("%d bytes to an address that sent %d", out, l.in[a])
		}
	}
	victim.holds(1<<20, 0)
	if n, w := victim.c.app.sent.packets.len(), victim.c.cc.Window(); n > 2*w/minDatagram+pathSlack+1 {
		t.Errorf("%d packets in the log with a window of %d bytes", n, w)
	}
	victim.survives()
}

// TestMigrationPingPongAmplifiesNothing: a peer that appears elsewhere with every packet is sent three times what came from
// each address, and its own validated address gets no flood of challenges.
func TestMigrationPingPongAmplifiesNothing(t *testing.T) {
	p, victim := hostile(t, 3, nil)
	for range 100 {
		victim.say(0, text(1, 5000))
	}
	l := victim.audit()
	p.link.blackout = true
	home := 0
	for i := range 5000 {
		l.from(victim, elsewhere(victim, byte(i%7+1), byte(i%3)), []byte{wire.FramePing})
		p.link.blackout = false
		before := l.out[victim.peer.addr]
		victim.flush()
		p.link.blackout = true
		home += l.out[victim.peer.addr] - before
		p.flying = nil
		p.now = p.now.Add(100 * mono.Microsecond)
	}
	for a, out := range l.out {
		if a != victim.peer.addr && out > 3*l.in[a] {
			t.Fatalf("%d bytes to an address that sent %d", out, l.in[a])
		}
	}
	if most := minDatagram * int(500*mono.Millisecond/victim.c.rtt.PTO(0)+2); home > 4*most {
		t.Errorf("%d bytes of challenges to the validated address within half a second", home)
	}
	victim.holds(1<<20, 2<<20)
	p.link.blackout, p.link.drop = false, nil
	p.run(2 * mono.Second)
	victim.survives()
	if victim.c.path.Remote != victim.peer.addr || victim.c.move != nil {
		t.Error("the connection did not return to where its peer is")
	}
}

// TestABusySenderIsNoReflector: a packet with a forged source makes the server send there at once; a full queue must not turn
// into a flood of the one who never asked.
func TestABusySenderIsNoReflector(t *testing.T) {
	p, victim := hostile(t, 4, nil)
	for i := range 400 {
		victim.say(0, text(i, 2000))
	}
	l := victim.audit()
	target := elsewhere(victim, 77, 7)
	l.from(victim, target, []byte{wire.FramePing})
	p.run(3 * mono.Second)
	if l.out[target] > 3*l.in[target] {
		t.Errorf("%d bytes to an address that sent %d", l.out[target], l.in[target])
	}
	p.link.drop = nil
	victim.survives()
	if victim.c.path.Remote != victim.peer.addr {
		t.Error("the connection did not return")
	}
}

func TestAGuessedPathResponseValidatesNothing(t *testing.T) {
	p, victim := hostile(t, 5, nil)
	target := elsewhere(victim, 77, 7)
	p.link.blackout = true
	victim.attackFrom(target, []byte{wire.FramePing})
	for i := range uint64(1000) {
		victim.attackFrom(target, wire.AppendPathResponse(nil, i))
	}
	if m := victim.c.move; m == nil || !m.validating || victim.c.allowance() > 3*60*1002 {
		t.Fatalf("a guess was taken for an answer: %+v", m)
	}
	p.link.blackout = false
	victim.survives()
}

// TestReturningHomeNeedsNoProof: while another address is on trial, a newer packet from the validated one ends the trial.
func TestReturningHomeNeedsNoProof(t *testing.T) {
	p, victim := hostile(t, 6, nil)
	p.link.blackout = true
	victim.attackFrom(elsewhere(victim, 77, 7), []byte{wire.FramePing})
	if victim.c.allowance() == noLimit {
		t.Fatal("the new address is not limited")
	}
	victim.attack([]byte{wire.FramePing})
	if victim.c.path.Remote != victim.peer.addr || victim.c.allowance() < noLimit || victim.c.move != nil && victim.c.move.validating {
		t.Errorf("back at the validated address: allowance %d, %+v", victim.c.allowance(), victim.c.move)
	}
	p.link.blackout = false
	victim.survives()
}

// TestPlainModeFollowsAPortButNoHost: a checksum proves nothing about who sent a packet, so only what a NAT does is followed.
func TestPlainModeFollowsAPortButNoHost(t *testing.T) {
	p, victim := hostile(t, 7, func(c *Config) { c.Plain = true })
	victim.attackFrom(elsewhere(victim, 77, 7), []byte{wire.FramePing})
	if victim.c.path.Remote != p.client.addr || victim.sh.Stats.PathRejected != 1 {
		t.Errorf("a packet from another host moved the connection to %v", victim.c.path.Remote)
	}
	p.client.addr[17]++
	p.client.say(0, "from another port")
	p.run(mono.Second)
	if victim.c.path.Remote != p.client.addr {
		t.Error("a change of port alone was not followed")
	}
	victim.survives()
}

func TestMoreConnectionIDsThanAllowedClose(t *testing.T) {
	p, _ := hostile(t, 8, nil)
	victim := p.client
	id, _ := wire.MakeConnID([]byte("another-one!"))
	for i := range uint64(maxPeerIDs - 1) {
		victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: i + 1, ID: id}))
		victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: i + 1, ID: id})) // a repetition is none more
	}
	if victim.closed != nil {
		t.Fatalf("closed at the limit: %q", victim.reason)
	}
	victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: maxPeerIDs, ID: id}))
	victim.refuses(wire.ConnectionIDLimitError)
}

// TestRetireFloodIsBoundedWhileRepeated: what a peer has retired is owed until it is acknowledged, and a peer that
// acknowledges nothing has every probe repeat it (CVE-2024-22189).
func TestRetireFloodIsBoundedWhileRepeated(t *testing.T) {
	p, _ := hostile(t, 9, nil)
	victim := p.client
	p.link.drop = func(from *side, _ *datagram) bool { return from == victim }
	id, _ := wire.MakeConnID([]byte("another-one!"))
	for i := range uint64(10) {
		victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: i + 1, RetirePriorTo: i + 1, ID: id}))
		victim.flush()
	}
	for range 40 {
		p.run(200 * mono.Millisecond) // probe after probe
	}
	newest := victim.c.app.next - 1
	for victim.c.app.sent.packets.at(int(newest-victim.c.app.sent.base)).state == packetSkipped {
		newest--
	}
	victim.attack(ack(wire.AckRange{Smallest: newest, Largest: newest})) // everything before is lost at once
	if n := len(victim.c.peer.retire); n > 10 || victim.closed != nil {
		t.Fatalf("owes %d RETIRE_CONNECTION_ID for 10 retired IDs, closed %+v", n, victim.closed)
	}
	victim.repack()
	for i := uint64(11); victim.closed == nil && i < 100; i++ {
		victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: i, RetirePriorTo: i, ID: id}))
	}
	victim.refuses(wire.ConnectionIDLimitError)
}

// TestAnIDRetiredBeforeItArrivedIsRetired: NEW_CONNECTION_ID that comes behind a later one which retired it (RFC 9000 §19.15).
func TestAnIDRetiredBeforeItArrivedIsRetired(t *testing.T) {
	p, _ := hostile(t, 10, nil)
	victim := p.client
	id, _ := wire.MakeConnID([]byte("another-one!"))
	victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: 2, RetirePriorTo: 2, ID: id}))
	victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: 1, ID: id}))
	var retired []uint64
	p.link.drop = func(from *side, d *datagram) bool {
		if from == victim {
			for _, f := range parseFrames(d.packets[0].Payload) {
				if f.typ == wire.FrameRetireConnectionID {
					seq, _ := wire.ParseRetireConnectionID(f.body)
					retired = append(retired, seq)
				}
			}
		}
		return from == victim // the server has not issued them, and would close
	}
	victim.flush()
	if len(retired) != 2 || retired[0]+retired[1] != 1 {
		t.Errorf("retired %v, want 0 and 1", retired)
	}
	p.flying = nil
}

func TestRetiringEveryIDExhaustsNothing(t *testing.T) {
	p, victim := hostile(t, 11, nil)
	p.link.drop = func(from *side, _ *datagram) bool { return from == victim }
	for i := range 20_000 {
		victim.attack(wire.AppendRetireConnectionID(nil, victim.c.ids.next-1))
		if n := len(victim.c.ids.issued); n > maxLocalIDs {
			t.Fatalf("%d IDs issued at a time", n)
		}
		if i%10 == 0 {
			victim.flush()
			p.now = p.now.Add(mono.Millisecond)
		}
	}
	victim.holds(1<<20, 0)
	victim.attack(wire.AppendRetireConnectionID(nil, victim.c.ids.next))
	victim.refuses(wire.ProtocolViolation)
}

func TestAnIDForAnEndWithoutIDsCloses(t *testing.T) {
	p, victim := hostile(t, 12, nil)
	victim.c.peer.current = wire.ConnID{}
	id, _ := wire.MakeConnID([]byte("another-one!"))
	victim.attack(wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: 1, ID: id}))
	victim.refuses(wire.ProtocolViolation)
	p.flying = nil
}

// validatedPath reports whether the newest packet carries frames that validate a path. They pass the window.
func (s *side) validatedPath() bool {
	log := &s.c.app.sent.packets
	return log.len() > 0 && log.at(log.len()-1).flags&flagPath != 0
}
