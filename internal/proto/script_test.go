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

// A script drives one end of a connection alone: what its peer says, and when, is written down in the test, and so is every packet
// that it sends in answer. A packet that the script does not name fails the test.
type script struct {
	t    *testing.T
	s    *side
	base uint64 // packet numbers of the end are told from here on
	peer uint64 // ... and the peer's
	got  []sentText
}

type sentText struct {
	at   mono.Time
	text string
	size int
}

// newScript returns the client of a connection at rest. The path's MTU is known, ECN is off, no number is left out, and the
// round trip is 20 ms without variance: the PTO is 20 + 1 + 25 ms.
func newScript(t *testing.T, edit func(*Config)) *script {
	return scripted(t, false, edit)
}

func scripted(t *testing.T, server bool, edit func(*Config)) *script {
	p := newPair(t, 1, func(c *Config) {
		c.MaxDatagramCeil, c.ECN, c.IdleTimeout, c.DeadPeer = 1200, false, 0, 0
		c.Params.MaxIdleTimeout = 0
		if edit != nil {
			edit(c)
		}
	})
	p.connect()
	p.run(3 * mono.Second)
	r := &script{t: t, s: p.client}
	if server {
		r.s = p.server
	}
	r.begin()
	return r
}

// begin takes the end out of its pair.
func (r *script) begin() {
	p, c := r.s.p, &r.s.c
	c.skipIn = 60_000
	c.rtt = congestion.NewRTT()
	r.roundTrip(20 * mono.Millisecond)
	r.base, r.peer = c.app.next, r.s.peer.c.app.next
	p.link.drop = func(from *side, d *datagram) bool {
		for i := range d.packets {
			pk := &d.packets[i]
			text := describe(pk.Payload)
			if pk.Level != wire.LevelOneRTT {
				text = pk.Level.String() + " " + text
			} else {
				text = fmt.Sprintf("%d %s", int64(pk.Number-r.base), text)
			}
			r.got = append(r.got, sentText{p.now, text, d.size})
		}
		return true
	}
	r.t.Cleanup(func() {
		if len(r.got) > 0 && !r.t.Failed() {
			r.t.Errorf("%d packets that nobody expected, the first: %s", len(r.got), r.got[0].text)
		}
	})
}

// roundTrip makes the estimator believe in a round trip.
func (r *script) roundTrip(d mono.Duration) {
	for range 100 {
		r.s.c.rtt.Update(r.s.p.now, d, 0)
	}
}

// say queues a message of n bytes and lets the end send.
func (r *script) say(channel uint16, n int) {
	r.t.Helper()
	if got := r.s.say(channel, text(0, n)); got != SendOK {
		r.t.Fatalf("send: %d", got)
	}
	r.s.flush()
}

// wants asserts what was sent since the last assertion, which must be now.
func (r *script) wants(packets ...string) {
	r.t.Helper()
	var got []string
	for _, g := range r.got {
		got = append(got, g.text)
		if g.at != r.s.p.now {
			r.t.Errorf("%q was sent %v ago", g.text, r.s.p.now.Sub(g.at))
		}
	}
	r.got = nil
	if !slices.Equal(got, packets) {
		r.t.Fatalf("sent\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(packets, "\n\t"))
	}
}

// pass lets time go by, up to the first moment at which something was sent.
func (r *script) pass(d mono.Duration) (left mono.Duration) {
	r.t.Helper()
	p, c := r.s.p, &r.s.c
	end := p.now.Add(d)
	for i := 0; len(r.got) == 0; i++ {
		if i > 10_000 {
			r.t.Fatal("livelock")
		}
		at := c.NextDeadline()
		if at > end {
			p.now = end
			break
		}
		p.now = max(p.now, at)
		c.HandleTimeout(p.now)
		r.s.drain()
		r.s.flush()
	}
	return end.Sub(p.now)
}

// quiet asserts that nothing is sent for so long.
func (r *script) quiet(d mono.Duration) {
	r.t.Helper()
	if left := r.pass(d); len(r.got) > 0 {
		r.t.Fatalf("after %v, not within %v: %s", d-left, d, r.got[0].text)
	}
}

// next asserts that the next packets are sent in exactly d.
func (r *script) next(d mono.Duration, packets ...string) {
	r.t.Helper()
	left := r.pass(d)
	if left != 0 {
		r.t.Fatalf("%v too early: %s", left, r.got[0].text)
	}
	r.wants(packets...)
}

// hears gives the end a packet of its peer.
func (r *script) hears(frames ...[]byte) {
	r.t.Helper()
	r.hearsAs(0, frames...)
}

// hearsAs gives it a packet whose number runs ahead of the peer's count by some.
func (r *script) hearsAs(ahead uint64, frames ...[]byte) {
	r.t.Helper()
	r.hearsMarked(wire.ECNNotECT, ahead, frames...)
}

func (r *script) hearsMarked(ecn uint8, ahead uint64, frames ...[]byte) {
	r.t.Helper()
	r.number(r.peer+ahead, ecn, slices.Concat(frames...))
	r.peer += ahead + 1
	r.s.flush()
}

// hearsLate gives it one of an older number, so many below the newest.
func (r *script) hearsLate(behind uint64, frames ...[]byte) {
	r.t.Helper()
	r.number(r.peer-1-behind, wire.ECNNotECT, slices.Concat(frames...))
	r.s.flush()
}

func (r *script) number(pn uint64, ecn uint8, payload []byte) {
	path := wire.Path{Remote: r.s.peer.addr, Local: r.s.addr}
	r.s.c.HandlePacket(r.s.p.now, &wire.Packet{
		Payload: payload, Number: pn, Level: wire.LevelOneRTT, Path: &path, Size: len(payload) + 30, ECN: ecn,
	})
	r.s.drain()
}

// acks is the peer's ACK of runs of packet numbers, each given by its first and its last, newest first.
func (r *script) acks(bounds ...uint64) []byte {
	var ranges []wire.AckRange
	for i := 0; i < len(bounds); i += 2 {
		ranges = append(ranges, wire.AckRange{Smallest: r.base + bounds[i], Largest: r.base + bounds[i+1]})
	}
	return ack(ranges...)
}
