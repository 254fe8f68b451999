package proto

import (
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
