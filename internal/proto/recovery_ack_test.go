package proto

import (
	"fmt"
	"strings"
	"testing"

	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func TestRecoveryACKsRideOnData(t *testing.T) {
	r := newScript(t, nil)
	r.hears(ping)
	r.quiet(20 * ms)
	r.say(0, 100)
	r.wants(fmt.Sprintf("0 ACK(%s) MESSAGE(0:0+1)", r.upTo(0)))
	r.hears(r.acks(0, 0))
	r.quiet(mono.Second) // nothing is left to say
}

// upTo writes the range that an ACK names after n+1 further packets of the peer.
func (r *script) upTo(n uint64) string {
	first := r.s.c.app.recv.ranges[0].Smallest
	last := r.peer - 1
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func TestRecoveryACKsAloneAfter25ms(t *testing.T) {
	r := newScript(t, nil)
	r.hears(ping)
	r.quiet(10 * ms)
	r.hears(ping)
	r.hears(ping) // no number of packets makes it sooner
	r.next(15*ms, "0 ACK("+r.upTo(2)+")")
	r.quiet(mono.Second)
}

func TestRecoveryACKsAtOnceOnAGapAndWhenItCloses(t *testing.T) {
	r := newScript(t, nil)
	r.hears(ping)
	r.wants()
	r.hearsAs(1, ping)
	r.got = r.only(1)
	r.hearsLate(1, ping) // the missing one
	r.got = r.only(1)
	r.hears(ping)
	r.quiet(24 * ms)
	r.next(1*ms, "2 ACK("+r.upTo(0)+")")
}

// only asserts that n packets have left and forgets them.
func (r *script) only(n int) []sentText {
	r.t.Helper()
	if len(r.got) != n {
		r.t.Fatalf("%d packets were sent, want %d: %v", len(r.got), n, r.got)
	}
	return nil
}

func TestRecoveryACKsAtOnceWhenAskedOrMarked(t *testing.T) {
	r := newScript(t, nil)
	r.hears(immediateAck)
	r.got = r.only(1)
	r.hearsMarked(wire.ECNCE, 0, ping)
	if len(r.got) != 1 || !strings.Contains(r.got[0].text, "ACK(") {
		t.Fatalf("%v", r.got)
	}
	r.got = nil
	r.quiet(mono.Second)
}

func TestRecoveryACKsEverySecondPacketWhenTheSenderAsks(t *testing.T) {
	r := newScript(t, nil)
	ask := func(seq, threshold uint64) []byte {
		return wire.AppendAckFrequency(nil, &wire.AckFrequency{Seq: seq, Threshold: threshold, MaxDelayMicros: 25_000, Reordering: 1})
	}
	r.hears(ask(5, 1))
	r.wants()
	r.hears(ping)
	r.got = r.only(1)
	r.hears(ping)
	r.wants()
	r.hears(ping)
	r.got = r.only(1)
	r.hears(ask(3, 100), ping) // older than the one in force
	r.wants()
	r.hears(ping)
	r.got = r.only(1)
	r.hears(ask(6, 1<<14)) // none
	r.hears(ping)
	r.hears(ping)
	r.wants()
	r.pass(25 * ms)
	r.got = r.only(1)
}

// A sender whose buffer is smaller than its window waits for ACKs just the same: they make the room.
func TestRecoveryAsksForACKsWhileItsBufferIsFull(t *testing.T) {
	for buffer, want := range map[int]int{8_000: 1, 1 << 20: 0} {
		r := newScript(t, func(c *Config) { c.Congestion, c.SendBuffer = uint8(congestion.NewReno), buffer })
		for range 3 {
			r.s.say(0, text(1, 1000))
		}
		r.s.flush()
		asked := 0
		for _, g := range r.got {
			if strings.Contains(g.text, "ACK_FREQUENCY(1)") {
				asked++
			}
		}
		if asked != want {
			t.Errorf("with a buffer of %d bytes it asked %d times for an ACK every second packet, want %d: %v", buffer, asked, want, r.got)
		}
		r.got = nil
	}
}

func TestRecoveryAsksForACKsWhileItsWindowIsFull(t *testing.T) {
	r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.NewReno) })
	for range 30 {
		r.s.say(0, text(1, 1000))
	}
	r.s.flush()
	asked := 0
	for _, g := range r.got {
		if strings.Contains(g.text, "ACK_FREQUENCY(1)") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for an ACK every second packet: %v", asked, r.got)
	}
	r.got = nil
	acked := uint64(0)
	for r.s.c.msgs.unresolved > 0 { // drain the queue
		r.s.p.now = r.s.p.now.Add(20 * ms)
		acked = r.s.c.app.next - 1 - r.base
		r.hearsQuietly(r.acks(0, acked))
	}
	r.say(0, 100)
	if !strings.Contains(r.got[0].text, "ACK_FREQUENCY(16384)") {
		t.Errorf("the window is no limit any more, but the peer was not told: %v", r.got)
	}
	r.got = nil
}

func TestRecoveryForgetsRangesWhenTheirACKIsAcknowledged(t *testing.T) {
	r := newScript(t, nil)
	r.hears(ping)
	r.hearsAs(1, ping)
	r.got = r.only(1)
	before := len(r.s.c.app.recv.ranges)
	r.say(0, 100) // carries no ACK: the last one told everything
	r.wants("1 MESSAGE(0:0+1)")
	r.hears(r.acks(0, 1)) // the ACK arrived
	if n := len(r.s.c.app.recv.ranges); n != 1 || before < 2 {
		t.Errorf("%d ranges, before %d", n, before)
	}
	r.quiet(mono.Second)
}

func TestRecoveryPingsInARunOfACKs(t *testing.T) {
	r := newScript(t, nil)
	r.say(0, 100)
	r.wants("0 MESSAGE(0:0+1)")
	r.hears(r.acks(0, 0))
	for i := range 3 * (ackOnlyPackets + 1) {
		r.hears(immediateAck)
		if len(r.got) != 1 {
			t.Fatalf("packet %d: %d answers", i, len(r.got))
		}
		if got := strings.Contains(r.got[0].text, "PING"); got != (i%(ackOnlyPackets+1) == ackOnlyPackets) {
			t.Errorf("answer %d: %s", i, r.got[0].text)
		}
		r.got = nil
	}
	r.pass(mono.Second)
	r.got = nil // a probe for the PINGs
}

func TestRecoveryAsksForACKsInFullPacketsToo(t *testing.T) {
	r := newScript(t, func(c *Config) { c.Congestion = uint8(congestion.NewReno) })
	r.say(0, 200_000) // fragments leave no room behind them
	asked := 0
	for _, g := range r.got {
		if strings.Contains(g.text, "ACK_FREQUENCY(1)") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for an ACK every second packet", asked)
	}
	r.got = nil
}
