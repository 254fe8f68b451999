package shard

import (
	"fmt"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// stranger is a datagram of that size that begins with a long header, with an ID of n bytes each.
func stranger(version uint32, n, size int) []byte {
	b, lengthOff := wire.AppendLong(nil, wire.PacketInitial, version, make([]byte, n), make([]byte, n), nil, 1)
	body := len(b)
	b = append(b, make([]byte, max(size-len(b), 0))...)[:size]
	if size > body {
		wire.SetLength(b, lengthOff, size-body)
	}
	return b
}

// Reflection (CVE-2026-30784): whoever forges the source of a datagram must not gain by what the server answers without any state.
func TestAnswersWithoutStateAreNotLongerThanTheirCause(t *testing.T) {
	short := func(w *world, size int) []byte {
		id := w.server.newID(5, 1)
		return append(append([]byte{wire.FixedBit}, id.Bytes()...), make([]byte, size)...)[:size]
	}
	for _, c := range []struct {
		name   string
		adjust func(*Config)
		cause  func(w *world, size int) []byte
		count  func(c *Counters) uint64
	}{
		{"Version Negotiation", nil, func(_ *world, size int) []byte { return stranger(0xfaceb00c, 20, size) }, func(c *Counters) uint64 { return c.VersionsNegotiated }},
		{"Retry", func(c *Config) { c.AlwaysRetry = true }, func(_ *world, size int) []byte { return stranger(wire.Version, 20, size) }, func(c *Counters) uint64 { return c.RetriesSent }},
		{"refusal", func(c *Config) { c.MaxSlots = 0 }, func(_ *world, size int) []byte { return stranger(wire.Version, 20, size) }, func(c *Counters) uint64 { return c.Refused }},
		{"stateless reset", nil, short, func(c *Counters) uint64 { return c.ResetsSent }},
	} {
		w := newWorld(t, 1, c.adjust)
		for size := 1; size <= 1452; size++ {
			w.now = w.now.Add(10 * mono.Millisecond) // within every budget
			w.server.flush()
			cause := c.cause(w, size)
			w.server.datagram(w.now, &udp.Datagram{Data: cause, Remote: serverAddr})
			total := 0
			for _, o := range w.server.out.Outs {
				total += len(o.Data)
			}
			if total > size || c.name == "stateless reset" && total == size {
				t.Errorf("%s: %d bytes are answered with %d", c.name, size, total)
			}
			if len(w.server.out.Outs) > 1 {
				t.Errorf("%s: %d datagrams in answer to one", c.name, len(w.server.out.Outs))
			}
		}
		if n := c.count(&w.server.counters); n < 200 {
			t.Errorf("%s: only %d datagrams were answered", c.name, n)
		}
	}
}

func TestRetriesHaveABudget(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.AlwaysRetry = true })
	d := udp.Datagram{Data: stranger(wire.Version, 8, wire.MinInitialSize), Remote: serverAddr}
	c := &w.server.counters
	for range 5000 {
		w.server.datagram(w.now, &d)
	}
	if c.RetriesSent != 256 || c.RetriesSuppressed != 5000-256 {
		t.Errorf("%d retries at once and %d suppressed, the bucket holds 256", c.RetriesSent, c.RetriesSuppressed)
	}
	*c = Counters{}
	for range 1000 {
		w.now = w.now.Add(mono.Millisecond)
		for range 10 {
			w.server.datagram(w.now, &d)
		}
		w.server.flush()
	}
	if c.RetriesSent > 5000 || c.RetriesSent < 4950 || c.RetriesSuppressed != 10_000-c.RetriesSent {
		t.Errorf("%d retries in a second and %d suppressed, the limit is 5,000", c.RetriesSent, c.RetriesSuppressed)
	}
	if w.server.halfOpen.used != 0 || w.server.live != 0 {
		t.Error("an address that is not proven holds something: " + fmt.Sprint(w.server.halfOpen.used, w.server.live))
	}
}
