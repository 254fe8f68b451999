package proto

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

const ms = mono.Millisecond

var (
	ping         = []byte{wire.FramePing}
	immediateAck = []byte{wire.FrameImmediateAck}
)

func TestRecoveryProbesAtPTOThenDoublesUpTo200msWhileDataWaits(t *testing.T) {
	r := newScript(t, nil)
	r.say(0, 100)
	r.wants("0 MESSAGE(0:0+1)")
	n := 1
	probe := func(after mono.Duration) {
		t.Helper()
		r.next(after, fmt.Sprintf("%d IMMEDIATE_ACK MESSAGE(0:0+1)", n))
		n++
	}
	probe(46 * ms)
	first := r.s.p.now
	probe(92 * ms)
	probe(184 * ms)
	for r.s.p.now.Sub(first) < 5*mono.Second {
		probe(200 * ms)
	}
	// Five seconds of silence are over. From here on the distance doubles, from where it would have stood at the cap.
	for _, d := range []mono.Duration{368, 736, 1472, 2944, 5888, 11776, 23552, 47104, 60000, 60000} {
		probe(d * ms)
	}
	r.hears(r.acks(uint64(n-1), uint64(n-1)))
	r.quiet(10 * mono.Second)
	r.roundTripExactly(20 * ms)
	r.say(0, 100) // an acknowledgment ends the back-off
	r.wants(fmt.Sprintf("%d MESSAGE(0:1+1)", n))
	r.next(46*ms, fmt.Sprintf("%d IMMEDIATE_ACK MESSAGE(0:1+1)", n+1))
}

func TestRecoveryBacksOffWithoutCapWhereNothingReliableWaits(t *testing.T) {
	r := newScript(t, nil)
	r.say(4, 100)
	r.wants("0 MESSAGE(4:0+1)")
	for i, d := range []mono.Duration{46, 92, 184, 368, 736, 1472, 2944} {
		r.next(d*ms, fmt.Sprintf("%d IMMEDIATE_ACK", i+1))
	}
}

// afterOutage sends a message into an outage and returns how long after its end it is delivered, within patience.
func afterOutage(t *testing.T, seed uint64, outage, patience mono.Duration) (p *pair, late mono.Duration) {
	p = newPair(t, seed, nil)
	p.connect()
	p.run(mono.Second)
	p.link.blackout = true
	p.client.say(0, "through")
	p.run(outage)
	p.link.blackout = false
	healed := p.now
	p.until(patience, "delivery", func() bool { return len(p.server.messages) == 1 })
	return p, p.now.Sub(healed)
}

// TestRecoveryFindsALinkThatCameBackAfterTheCap: the cap ends after five seconds; the back-off must not have grown behind it.
func TestRecoveryFindsALinkThatCameBackAfterTheCap(t *testing.T) {
	for _, outage := range []mono.Duration{6, 8, 12, 17} {
		_, late := afterOutage(t, 1, outage*mono.Second, outage*mono.Second)
		t.Logf("out for %d s: delivered %v later", outage, late)
	}
}

func TestRecoverySendsAtMostTwoProbesAPTO(t *testing.T) {
	r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.NewReno) })
	for range 40 {
		r.s.say(0, text(1, 1100))
	}
	r.s.flush()
	r.wantsData(11) // the initial window
	for i := range 4 {
		r.pass(mono.Second)
		if n := len(r.got); n < 1 || n > 2 {
			t.Fatalf("PTO %d: %d probes into a full window", i, n)
		}
		r.got = nil
	}
}

// wantsData asserts that so many packets have left, and that all of them carry messages.
func (r *script) wantsData(n int) {
	r.t.Helper()
	if len(r.got) != n {
		r.t.Fatalf("%d packets were sent, want %d", len(r.got), n)
	}
	r.got = nil
}

func TestRecoveryDeclaresLostByThreeLaterPackets(t *testing.T) {
	r := newScript(t, nil)
	for i := range 5 {
		r.say(0, 100)
		r.wants(fmt.Sprintf("%d MESSAGE(0:%d+1)", i, i))
	}
	r.hears(r.acks(2, 2)) // two behind the first: not yet
	r.wants()
	r.hears(r.acks(2, 3)) // three behind the first
	r.wants("5 MESSAGE(0:0+1)")
	r.hears(r.acks(2, 4))
	r.wants("6 MESSAGE(0:1+1)")
	r.hears(r.acks(2, 6))
	r.quiet(mono.Second)
	if n := r.s.sh.Stats.PacketsLost; n != 2 {
		t.Errorf("%d packets counted as lost", n)
	}
}

func TestRecoveryDeclaresLostByTime(t *testing.T) {
	r := newScript(t, nil)
	r.say(0, 100)
	r.wants("0 MESSAGE(0:0+1)")
	r.quiet(5 * ms)
	r.say(0, 100)
	r.wants("1 MESSAGE(0:1+1)")
	r.quiet(15 * ms)
	r.hears(r.acks(1, 1)) // 20 ms after the first was sent, whose time is 22.5
	r.wants()
	r.next(r.s.c.rtt.LossDelay()-20*ms, "2 MESSAGE(0:0+1)")
	r.hears(r.acks(1, 2))
	r.quiet(mono.Second)
}

func TestRecoveryRepeatsWhatASpuriousLossTookOnlyOnce(t *testing.T) {
	r := newScript(t, nil)
	for i := range 4 {
		r.say(0, 100)
		r.wants(fmt.Sprintf("%d MESSAGE(0:%d+1)", i, i))
	}
	r.hears(r.acks(3, 3))
	r.wants("4 MESSAGE(0:0+1)")
	r.hears(r.acks(0, 3)) // it had only been late
	r.wants()
	if n := r.s.sh.Stats.PacketsSpurious; n != 1 {
		t.Errorf("%d spurious losses", n)
	}
	r.hears(r.acks(0, 4))
	r.quiet(mono.Second)
}

func TestRecoveryCollapsesOnPersistentCongestionOnly(t *testing.T) {
	for _, c := range []struct {
		name       string
		silence    mono.Duration
		between    bool // an acknowledged packet lies between the lost ones
		persistent bool
	}{
		{"a short burst", 100 * ms, false, false},
		{"longer than three PTOs", 150 * ms, false, true},
		{"longer, but something passed", 150 * ms, true, false},
	} {
		r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.NewReno) })
		r.say(0, 100)
		r.s.p.now = r.s.p.now.Add(c.silence / 2)
		r.say(0, 100)
		r.s.p.now = r.s.p.now.Add(c.silence / 2)
		r.say(0, 100)
		r.s.p.now = r.s.p.now.Add(ms)
		r.say(0, 100)
		r.say(0, 100)
		r.say(0, 100)
		r.wantsData(6)
		r.roundTripExactly(20 * ms)
		r.s.p.now = r.s.p.now.Add(20 * ms)
		window := r.s.c.cc.Window()
		if c.between {
			r.hearsQuietly(r.acks(5, 5, 1, 1))
		} else {
			r.hearsQuietly(r.acks(5, 5))
		}
		if got := r.s.c.cc.Window() == r.s.c.cc.MinWindow(); got != c.persistent || r.s.c.cc.Window() >= window {
			t.Errorf("%s: window %d after %d", c.name, r.s.c.cc.Window(), window)
		}
		r.got = nil
	}
}

// roundTripExactly forgets all samples but those of one round trip.
func (r *script) roundTripExactly(d mono.Duration) {
	r.s.c.rtt = congestion.NewRTT()
	r.roundTrip(d)
}

// hearsQuietly gives the end a packet and does not look at what it sends.
func (r *script) hearsQuietly(frames ...[]byte) {
	r.hears(frames...)
	r.got = nil
}

// TestRecoveryArmsNoPTOWhileItMayNotSend: a server that has used up what an unvalidated address sent waits for more
// (RFC 9002 §6.2.2.1).
func TestRecoveryArmsNoPTOWhileItMayNotSend(t *testing.T) {
	p := newPair(t, 1, nil)
	p.link.drop = func(from *side, _ *datagram) bool { return from == p.server }
	p.until(2*mono.Second, "the limit", func() bool { return p.server.c.amplify < minDatagram })
	s := p.server
	p.link.blackout = true
	sent := s.sent
	if at := s.c.NextDeadline(); at < p.now.Add(5*mono.Second) {
		t.Errorf("a deadline in %v although nothing may be sent", at.Sub(p.now))
	}
	p.run(3 * mono.Second)
	if s.sent != sent {
		t.Errorf("%d datagrams beyond the limit", s.sent-sent)
	}
	p.link.blackout = false
	p.until(5*mono.Second, "more", func() bool { return s.sent > sent })
}

// TestRecoveryClientBreaksADeadlock: all that the client sent is acknowledged, but the server may not send more: the client
// probes although nothing is in flight (RFC 9002 §6.2.2.1).
func TestRecoveryClientBreaksADeadlock(t *testing.T) {
	p := newPair(t, 1, nil)
	c := p.client
	p.link.drop = func(from *side, d *datagram) bool {
		return from == p.server && (len(d.packets) > 1 || d.packets[0].Level != wire.LevelInitial || describe(d.packets[0].Payload)[:3] != "ACK")
	}
	c.flush()
	for _, f := range p.flying { // the server acknowledges the ClientHello, and nothing else of it arrives
		for i := range f.d.packets {
			c.attackAt(wire.LevelInitial, p.server.addr, ackOf(f.d.packets[i].Number))
		}
	}
	p.flying = nil
	if c.c.bytesInFlight != 0 || c.c.hs.spaces[wire.LevelInitial].eliciting != 0 {
		t.Fatal("something is in flight")
	}
	p.link.blackout = true
	sent, start := c.sent, p.now
	pto := c.c.rtt.PTO(0)
	for c.sent == sent && p.step(start.Add(2*mono.Second)) {
		c.flush()
	}
	if d := p.now.Sub(start); d != pto {
		t.Errorf("the probe left after %v, the PTO is %v", d, pto)
	}
	if c.largest < minDatagram {
		t.Error("the probe is not padded")
	}
}

func ackOf(pn uint64) []byte { return ack(wire.AckRange{Smallest: pn, Largest: pn}) }

func TestRecoverySendsNothingIntoAFullWindow(t *testing.T) {
	r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.NewReno) })
	for range 40 {
		r.s.say(0, text(1, 1100))
	}
	r.s.flush()
	r.wantsData(11)
	window := r.s.c.cc.Window()
	if f := r.s.c.bytesInFlight; f < window || f >= window+minDatagram {
		t.Fatalf("%d bytes in flight of a window of %d", f, window)
	}
	for range 30 {
		r.s.say(1, "more to say")
		r.s.flush()
		r.s.c.Ping(r.s.p.now)
		r.s.flush()
	}
	r.wants()
	r.hears(immediateAck) // an ACK needs no window
	r.got = r.only(1)
	r.hearsQuietly(r.acks(0, 0))
	if f := r.s.c.bytesInFlight; f < r.s.c.cc.Window() {
		t.Errorf("%d bytes in flight, the window has room for %d", f, r.s.c.cc.Window())
	}
}

// TestRecoveryLeavesNoNumberOutForNothing: numbers are skipped by packets, not by attempts to build one, or a connection that is kept
// waiting would fill its log with them.
func TestRecoveryLeavesNoNumberOutForNothing(t *testing.T) {
	r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.NewReno) })
	for range 40 {
		r.s.say(0, text(1, 1100))
	}
	r.s.flush()
	r.wantsData(11)
	r.s.c.skipIn = 20
	next := r.s.c.app.next
	for range 1000 {
		r.s.flush()
	}
	r.wants()
	if r.s.c.app.next != next || r.s.c.skipIn != 20 {
		t.Errorf("the next number went from %d to %d without a packet", next, r.s.c.app.next)
	}
}

func TestRecoveryGrowsNoWindowThatIsNotUsed(t *testing.T) {
	for _, kind := range []congestion.Kind{congestion.Adaptive, congestion.NewReno} {
		r := newScript(t, func(c *Config) { c.Congestion = uint8(kind) })
		window := r.s.c.cc.Window()
		for i := range uint64(300) {
			r.say(0, 500)
			r.got = r.only(1)
			r.s.p.now = r.s.p.now.Add(20 * ms)
			r.hears(r.acks(0, i))
		}
		if got := r.s.c.cc.Window(); got != window {
			t.Errorf("%v: the window went from %d to %d with one packet in flight", kind, window, got)
		}
	}
}

func TestRecoveryBurstsAreBoundedByThePacer(t *testing.T) {
	const rate = 2_000_000 // bytes a second: 2,000 in the millisecond of a burst, less than its 16 datagrams
	r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.Fixed) })
	r.s.c.cc.SetFixed(100*minDatagram, rate)
	for range 200 {
		r.s.say(0, text(1, 1100))
	}
	start, total := r.s.p.now, 0
	r.s.flush()
	for r.s.c.bytesInFlight < r.s.c.cc.Window() {
		for _, g := range r.got {
			total += g.size
		}
		r.got = nil
		elapsed := r.s.p.now.Sub(start)
		if most := 16*minDatagram + int(int64(elapsed)*rate/int64(mono.Second)) + minDatagram; total > most {
			t.Fatalf("%d bytes within %v, the pacer allows %d", total, elapsed, most)
		}
		if left := r.pass(20 * ms); left == 0 {
			t.Fatalf("nothing was sent for 20 ms with %d of %d bytes in flight", r.s.c.bytesInFlight, r.s.c.cc.Window())
		}
	}
	r.got = nil
	// The window less the burst, at the rate.
	if d := r.s.p.now.Sub(start); d < 45*ms || d > 55*ms {
		t.Errorf("the window was filled within %v", d)
	}
}

// TestRecoveryKeepsECNWhenAnACKIsLate: the counts of an ACK that was overtaken are old (RFC 9000 §13.4.2.1).
func TestRecoveryKeepsECNWhenAnACKIsLate(t *testing.T) {
	r := newScript(t, func(c *Config) { c.ECN = true })
	before := r.s.c.ecn.sent
	for range 6 {
		r.say(0, 100)
	}
	r.wantsData(6)
	marked := func(from, to, count uint64) []byte {
		b, _ := wire.AppendAck(nil, []wire.AckRange{{Smallest: r.base + from, Largest: r.base + to}}, 0, &wire.ECNCounts{ECT0: before + count}, 100)
		return b
	}
	r.s.p.now = r.s.p.now.Add(20 * ms)
	r.hears(marked(3, 5, 6)) // all arrived, but this ACK names the newest only
	r.got = nil
	r.hears(marked(0, 2, 3)) // one that was sent before it
	if r.s.c.ecn.state != ecnCapable {
		t.Error("ECN was turned off by a late ACK")
	}
	r.got = nil
	if n := r.s.sh.Stats.PacketsSpurious; n != 3 || r.s.c.msgs.unresolved != 0 {
		t.Errorf("%d spurious losses, %d messages unresolved", n, r.s.c.msgs.unresolved)
	}
	r.hears(marked(3, 6, 7))
	r.quiet(mono.Second)
}

// fullPackets sends so many packets that are nearly as large as they may be, and asserts it.
func fullPackets(r *script, n int) {
	r.t.Helper()
	for range n {
		r.say(1, 1370)
	}
	if len(r.got) != n || r.got[0].size > 1415 || r.got[0].size < 1390 {
		r.t.Fatalf("%d packets: %v", len(r.got), r.got)
	}
	r.got = nil
}

func TestRecoveryABurstOfLossIsNoBlackHole(t *testing.T) {
	r := newScript(t, func(c *Config) { c.MaxDatagram, c.MaxDatagramCeil = 1416, 1416 })
	fullPackets(r, 8)
	r.s.p.now = r.s.p.now.Add(20 * ms)
	r.hearsQuietly(r.acks(3, 7)) // the first three are lost, and others of their size passed behind them
	if n := r.s.c.MaxDatagram(); n != 1416 {
		t.Errorf("datagrams of %d bytes after a burst of loss", n)
	}
}

func TestRecoveryLeavesABlackHoleWhenSmallerPacketsPass(t *testing.T) {
	r := newScript(t, func(c *Config) { c.MaxDatagram, c.MaxDatagramCeil = 1416, 1416 })
	fullPackets(r, 3)
	for range 3 {
		r.say(1, 100)
	}
	r.wantsData(3)
	r.s.p.now = r.s.p.now.Add(20 * ms)
	r.hearsQuietly(r.acks(3, 5))
	if n := r.s.c.MaxDatagram(); n != minDatagram {
		t.Errorf("datagrams of %d bytes although only smaller ones pass", n)
	}
}

// TestRecoveryRepeatsALostFinishedBehindAFullWindow: a client whose Finished was declared lost, while a window of messages that
// nobody can read yet is in flight, must repeat it all the same: nothing else can be acknowledged before it.
func TestRecoveryRepeatsALostFinishedBehindAFullWindow(t *testing.T) {
	p := newPair(t, 1, nil)
	pings, finished := 0, 0
	p.link.drop = func(from *side, d *datagram) bool {
		d.packets = slices.DeleteFunc(d.packets, func(pk wire.Packet) bool {
			switch {
			case pk.Level != wire.LevelHandshake:
				return false
			case from == p.server:
				return pings < 3 // the client has nothing to answer, and probes with PING
			case strings.Contains(describe(pk.Payload), "CRYPTO"):
				finished++
				return finished == 1
			}
			pings++
			return pings <= 3
		})
		return false
	}
	p.until(5*mono.Second, "the client's half", func() bool { return p.client.c.Complete() })
	for i := range 100 {
		p.client.say(0, text(i, 1000))
	}
	p.until(10*mono.Second, "everything", func() bool { return len(p.server.messages) == 100 })
}
