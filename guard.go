package godwit

import (
	"time"

	"godwit.example/godwit/internal/wire"
)

// guarded returns a handler whose functions hand their panics to Config.Panic.
func (e *Endpoint) guarded(h Handler) Handler {
	g := h
	if h.Open != nil {
		g.Open = func(c Conn) (err error) {
			defer e.caught(c)
			return h.Open(c)
		}
	}
	if h.Message != nil {
		g.Message = func(c Conn, m Message) {
			defer e.caught(c)
			h.Message(c, m)
		}
	}
	if h.Gap != nil {
		g.Gap = func(c Conn, ch Channel, n int) {
			defer e.caught(c)
			h.Gap(c, ch, n)
		}
	}
	if h.Writable != nil {
		g.Writable = func(c Conn) {
			defer e.caught(c)
			h.Writable(c)
		}
	}
	if h.Outcome != nil {
		g.Outcome = func(c Conn, tag uint64, o Outcome) {
			defer e.caught(c)
			h.Outcome(c, tag, o)
		}
	}
	if h.Tick != nil {
		g.Tick = func(s *Shard, now time.Time) {
			defer e.caught(Conn{})
			h.Tick(s, now)
		}
	}
	if h.Close != nil {
		g.Close = func(c Conn, err error) {
			defer e.caught(c)
			h.Close(c, err)
		}
	}
	return g
}

// caught ends a panic of the application: its connection is closed, everything else goes on.
func (e *Endpoint) caught(c Conn) {
	v := recover()
	if v == nil {
		return
	}
	e.panics.Add(1)
	if c.ep != nil {
		c.shard().Abort(c.ref(), uint64(wire.InternalError), "the application failed")
	}
	e.limits.Panic(c, v)
}
