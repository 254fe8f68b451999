package proto

import (
	"fmt"
	"testing"

	"godwit.example/godwit/internal/mono"
)

// TestRecoveryProbesOftenEnoughBeforeItGivesUp: without the bound the last two probes lie further apart than the rest of the time.
func TestRecoveryProbesOftenEnoughBeforeItGivesUp(t *testing.T) {
	for _, outage := range []mono.Duration{6, 10, 14, 18, 20, 22} {
		for seed := range uint64(3) {
			p, late := afterOutage(t, 1+seed, outage*mono.Second, 8*mono.Second) // 30 s make a dead peer
			if late > 7600*mono.Millisecond {
				t.Errorf("out for %d s: delivered %v later", outage, late)
			}
			if p.client.closed != nil {
				t.Errorf("out for %d s: %+v", outage, p.client.closed)
			}
		}
	}
}

func TestRecoveryBoundsTheBackoffByAQuarterOfTheDeadTime(t *testing.T) {
	r := newScript(t, func(c *Config) { c.DeadPeer = 4 * mono.Second })
	r.say(4, 100)
	r.wants("0 MESSAGE(4:0+1)")
	for i, d := range []mono.Duration{46, 92, 184, 368, 736, 1000, 1000} {
		r.next(d*ms, []string{"1", "2", "3", "4", "5", "6", "7"}[i]+" IMMEDIATE_ACK")
	}
}

// TestRecoveryProbesOnceMoreWhenTheDeadTimeIsOver: the distances are those of the back-off up to there, then the last probes have an
// eighth of the dead time, and then it is over.
func TestRecoveryProbesOnceMoreWhenTheDeadTimeIsOver(t *testing.T) {
	r := newScript(t, func(c *Config) { c.DeadPeer = 4 * mono.Second })
	r.say(4, 100)
	r.wants("0 MESSAGE(4:0+1)")
	// The silence counts from the first probe, at 46 ms. The seventh would be followed by one at 4426 ms.
	for i, d := range []mono.Duration{46, 92, 184, 368, 736, 1000, 1000, 620, 125, 125, 125} {
		r.next(d*ms, fmt.Sprintf("%d IMMEDIATE_ACK", i+1))
	}
	r.quiet(124 * ms)
	if r.s.closed != nil {
		t.Fatalf("too early: %s", r.s.reason)
	}
	r.quiet(ms)
	if r.s.closed == nil || r.s.closed.Code != CodeIdleTimeout || r.s.reason != "no acknowledgment" {
		t.Fatalf("%+v", r.s.closed)
	}
}

// TestRecoveryAnyOfTheLastProbesSavesTheConnection, by its ACK just before the end.
func TestRecoveryAnyOfTheLastProbesSavesTheConnection(t *testing.T) {
	r := newScript(t, func(c *Config) { c.DeadPeer = 4 * mono.Second })
	r.say(4, 100)
	r.wants("0 MESSAGE(4:0+1)")
	for range 11 {
		r.pass(2 * mono.Second)
		r.got = nil
	}
	r.quiet(124 * ms)
	r.hears(r.acks(11, 11))
	r.quiet(10 * mono.Second)
	if r.s.closed != nil {
		t.Fatalf("%+v", r.s.closed)
	}
}

// Traffic during an outage, by who has something to say and how often; 0 says it once.
var outageTraffic = []struct {
	name   string
	client bool
	server bool
	every  mono.Duration
}{
	{"the client once", true, false, 0},
	{"the server once", false, true, 0},
	{"both once", true, true, 0},
	{"the client more often than it would probe", true, false, 21 * ms},
	{"the server more often than it would probe", false, true, 21 * ms},
	{"both now and then", true, true, 613 * ms},
	{"nobody, but for the client's keep-alive", false, false, 0},
}

// playOutage has a link fail for so long, phase after the connection was last used, and goes on for some time after.
func playOutage(t *testing.T, k int, phase, outage, after mono.Duration) *pair {
	traffic := outageTraffic[k]
	p := newPair(t, 1, func(c *Config) { c.KeepAlive = 20 * mono.Second })
	p.connect()
	p.client.say(0, "before")
	p.run(2 * mono.Second)
	p.client.say(1, "at last")
	p.run(phase)
	p.link.blackout = true
	for began, end := p.now, p.now.Add(outage+after); p.now < end; {
		if p.link.blackout && p.now.Sub(began) >= outage {
			p.link.blackout = false
		}
		for _, s := range []*side{p.client, p.server} {
			if s.closed == nil && (s == p.client && traffic.client || s == p.server && traffic.server) && (traffic.every > 0 || p.now == began) {
				s.say(0, "are you there?")
			}
		}
		next := end
		if p.link.blackout {
			next = began.Add(outage)
		}
		if traffic.every > 0 {
			next = min(next, p.now.Add(traffic.every))
		}
		p.run(next.Sub(p.now))
	}
	return p
}

// The promise of docs/SPEC.md section 8.3: an outage up to the dead time ends no connection; one that is longer by an eighth of it and
// two probe timeouts ends each end that has said something meanwhile. Phases are those of the round trip and of the keep-alive.
func TestNoOutageUpToTheDeadTimeEndsAConnection(t *testing.T) {
	const dead = 30 * mono.Second
	for k, traffic := range outageTraffic {
		for _, phase := range []mono.Duration{0, 5 * ms, 9 * ms, 15 * ms, 40 * ms, 3 * mono.Second, 19990 * ms} {
			for outage := dead; outage > 22*mono.Second; outage -= 2330 * ms {
				p := playOutage(t, k, phase, outage, 10*mono.Second)
				if p.client.closed != nil || p.server.closed != nil {
					t.Errorf("%s, %v after the last message, out for %v: client %q, server %q", traffic.name, phase, outage, p.client.reason, p.server.reason)
				}
			}
		}
	}
}

func TestEachLongerOutageEndsAConnection(t *testing.T) {
	const longer = 30*mono.Second + 30*mono.Second/8 + 200*ms // the PTO is below 100 ms here
	for k, traffic := range outageTraffic {
		for _, phase := range []mono.Duration{0, 5 * ms, 9 * ms, 15 * ms, 40 * ms, 3 * mono.Second} {
			outage := mono.Duration(longer)
			if !traffic.client && !traffic.server {
				outage += 20 * mono.Second // until the client asks
			}
			p := playOutage(t, k, phase, outage, 0)
			if (traffic.client || !traffic.server) && p.client.closed == nil || traffic.server && p.server.closed == nil {
				t.Errorf("%s, %v after the last message: client %q, server %q", traffic.name, phase, p.client.reason, p.server.reason)
			}
		}
	}
}

func TestShortTTLAsksForTheACKAtOnce(t *testing.T) {
	for _, c := range []struct {
		channel uint16
		ttl     mono.Duration
		want    string
	}{
		{0, 90 * ms, "0 IMMEDIATE_ACK MESSAGE(0:0+1)"},
		{1, 40 * ms, "0 IMMEDIATE_ACK MESSAGE(1:0+1)"},
		{0, 100 * ms, "0 MESSAGE(0:0+1)"}, // more than twice the 46 ms of a PTO: there is time
		{0, 0, "0 MESSAGE(0:0+1)"},
		{4, 40 * ms, "0 MESSAGE(4:0+1)"}, // nobody repeats it
	} {
		r := newScript(t, nil)
		if got := r.s.send(&Message{Channel: c.channel, Payload: []byte(text(0, 100)), TTL: c.ttl}); got != SendOK {
			t.Fatalf("send: %d", got)
		}
		r.s.flush()
		r.wants(c.want)
		// It is asked for once.
		r.hears(r.acks(0, 0))
		r.say(7, 10)
		r.wants("1 MESSAGE(7:0+1)")
	}
}
