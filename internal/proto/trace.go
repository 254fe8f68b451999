package proto

import (
	"godwit.example/godwit/internal/mono"
)

// TraceKind says what a TraceRecord is about.
type TraceKind uint8

// Kinds of trace records and the meaning of their numbers A, B and C.
const (
	TracePacketSent     TraceKind = iota + 1 // level, number, size
	TracePacketReceived                      // level, number, size
	TracePacketLost                          // level, number, size
	TraceAcked                               // level, packets newly acknowledged, largest
	TracePTO                                 // level, count
	TraceState                               // new state
	TraceWindow                              // congestion window, bytes in flight, smoothed RTT in ns
	TracePath                                // 1 = changed, 2 = validated, 3 = returned
)

// TraceRecord is one fixed-size entry of a Trace.
type TraceRecord struct {
	Time    mono.Time
	A, B, C uint64
	Slot    uint32
	Kind    TraceKind
}

// Trace is a ring of the newest records of a shard's connections. The caller owns it; a nil Trace costs one predicted
// branch a record.
type Trace struct {
	Records []TraceRecord
	Next    uint64 // records ever written; the newest is at (Next-1) % len(Records)
}

// NewTrace returns a ring for n records, n > 0.
func NewTrace(n int) *Trace { return &Trace{Records: make([]TraceRecord, n)} }

func (t *Trace) add(r TraceRecord) {
	t.Records[t.Next%uint64(len(t.Records))] = r
	t.Next++
}

// Each calls f for the records kept, oldest first.
func (t *Trace) Each(f func(*TraceRecord)) {
	n := uint64(len(t.Records))
	for i := t.Next - min(t.Next, n); i < t.Next; i++ {
		f(&t.Records[i%n])
	}
}

// trace records what happened, if anyone looks.
func (c *Conn) trace(now mono.Time, kind TraceKind, a, b, v uint64) {
	if t := c.sh.Trace; t != nil {
		t.add(TraceRecord{Time: now, A: a, B: b, C: v, Slot: c.slot, Kind: kind})
	}
}
