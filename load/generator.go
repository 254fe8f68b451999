package load

import (
	"sync/atomic"
	"time"

	"godwit.example/godwit/internal/metric"
	"godwit.example/godwit/internal/mono"
)

// sender is the transport as the generator sees it.
type sender interface {
	// Send is that of Transport.
	Send(conn int, p []byte) bool
}

// lostAfter is how long a closed loop over a transport that may lose messages
// waits for one before it sends another in its place; otherwise losses would
// empty the loop. One over a transport that may not would rather stand still.
const lostAfter = 500 * time.Millisecond

// A generator makes load and judges what comes back. It is single-threaded: the
// goroutine that owns the transport calls it.
type generator struct {
	out      sender
	order    order
	lossy    bool // the transport does not repeat what was lost
	open     bool
	stale    bool // staleness is asked for
	buf      []byte
	backSize int // bytes of what comes back for a message
	conns    []conn
	live     []uint32 // connections with messages that were refused
	period   float64  // open: nanoseconds between messages

	start, from, end mono.Time // of the load, of the measurement, of both
	quota            uint64    // closed: messages outstanding a connection
	next             uint64    // open: the plan's next message
	checked          mono.Time // when losses were last looked for

	stats    stats
	total    uint64 // messages sent, warm-up included
	back     uint64 // of those, back
	resolved uint64 // of those, back or not to be waited for
	finished bool
	echoed   atomic.Uint64 // messages that have come back, as of the last turn; any goroutine reads it
}

// stats is what a run counts. Messages belong to the measurement if they were
// due in it.
type stats struct {
	planned, sent, received uint64
	returned                uint64 // messages that came back while measuring
	corrupted               uint64
	repeated                uint64 // of the corrupted, those that had come back before
	refused                 uint64 // sends that found no room
	latency, lateness       metric.Histogram
	staleness               metric.Histogram
}

// conn is one connection's part of the load.
type conn struct {
	tally
	sent    uint64
	due     uint64    // messages that should have been sent by now
	since   mono.Time // closed: when the next message was first refused
	old     uint64    // sent, as of the last look for losses
	newest  mono.Time // when the newest message that came back was due; kept if staleness is asked for
	refused bool      // is in live
}

func newGenerator(c *Config, out sender, o order, lossy bool) *generator {
	g := &generator{
		out: out, order: o, lossy: lossy, open: c.Rate > 0, stale: c.Staleness, buf: make([]byte, c.Size),
		backSize: c.Size, conns: make([]conn, c.Connections), quota: uint64(c.Outstanding),
	}
	if c.Receipts {
		g.backSize = headerSize
	}
	if g.open {
		g.period = float64(time.Second) / c.Rate
	}
	return g
}

// begin starts the load at now.
func (g *generator) begin(now mono.Time, warmup, duration time.Duration) {
	g.start, g.from = now, now.Add(warmup)
	g.end = g.from.Add(duration)
	g.checked = now
	if g.open {
		return
	}
	for k := range g.conns {
		g.conns[k].due = g.quota
		g.sendDue(k, now)
	}
}

// dueAt returns when message i of the plan should be sent.
func (g *generator) dueAt(i uint64) mono.Time { return g.start + mono.Time(float64(i)*g.period) }

// turn does what is due at now. It is called at least at every time that turn
// returned before, and after messages came back.
func (g *generator) turn(now mono.Time) (next mono.Time) {
	g.echoed.Store(g.back)
	if now >= g.end {
		g.finished = g.finished || g.resolved >= g.total || now >= g.end.Add(drainTime)
		return g.end.Add(drainTime)
	}
	for i := 0; i < len(g.live); {
		if g.sendDue(int(g.live[i]), now) {
			g.live[i] = g.live[len(g.live)-1]
			g.live = g.live[:len(g.live)-1]
		} else {
			i++
		}
	}
	if !g.open {
		g.replace(now)
		return min(now.Add(lostAfter/4), g.end)
	}
	for {
		due := g.dueAt(g.next)
		if due > now || due >= g.end {
			return min(due, g.end)
		}
		k := int(g.next % uint64(len(g.conns)))
		g.next++
		if due >= g.from {
			g.stats.planned++
			g.stats.lateness.Record(int64(now - due))
		}
		g.conns[k].due++
		g.sendDue(k, now)
	}
}

// sendDue sends what connection k owes and reports whether all of it left.
func (g *generator) sendDue(k int, now mono.Time) bool {
	c := &g.conns[k]
	for c.sent < c.due {
		h := header{conn: uint32(k), seq: c.sent, due: now}
		switch {
		case g.open:
			h.due = g.dueAt(c.sent*uint64(len(g.conns)) + uint64(k))
		case c.since != 0:
			h.due = c.since
		}
		h.encode(g.buf)
		if !g.out.Send(k, g.buf) {
			g.stats.refused++
			if c.since == 0 {
				c.since = now
			}
			if !c.refused {
				c.refused = true
				g.live = append(g.live, uint32(k))
			}
			return false
		}
		c.sent++
		c.since = 0
		g.total++
		if h.due >= g.from {
			g.stats.sent++
		}
	}
	c.refused = false
	return true
}

// message takes one that came back on connection k. The payload is not kept.
func (g *generator) message(k int, payload []byte, now mono.Time) {
	var h header
	c := &g.conns[k]
	if !h.decode(payload, g.backSize) || int(h.conn) != k {
		g.stats.corrupted++
		return
	}
	v, resolved, fresh := c.take(h.seq, c.sent, g.order)
	g.resolved += resolved
	if v != good {
		g.stats.corrupted++
		if v == repeated {
			g.stats.repeated++
		}
	}
	if resolved == 0 {
		return
	}
	g.back++
	if now >= g.from && now < g.end {
		g.stats.returned++
	}
	if h.due >= g.from {
		g.stats.received++
		g.stats.latency.Record(int64(now - h.due))
	}
	if g.stale && h.due > c.newest {
		if c.newest >= g.from {
			g.stats.staleness.Record(int64(now - c.newest))
		}
		c.newest = h.due
	}
	if !g.open && now < g.end {
		c.due += fresh
		if !c.refused {
			g.sendDue(k, now)
		}
	}
}

// replace gives up what a lossy transport has lost.
func (g *generator) replace(now mono.Time) {
	if !g.lossy || now.Sub(g.checked) < lostAfter {
		return
	}
	g.checked = now
	for k := range g.conns {
		c := &g.conns[k]
		c.due += c.giveUp(c.old, g.order)
		c.old = c.sent
		if !c.refused {
			g.sendDue(k, now)
		}
	}
}
