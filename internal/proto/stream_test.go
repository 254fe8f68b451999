package proto

import (
	"fmt"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// streamEnd is what the application of a side has of one stream.
type streamEnd struct {
	got      []byte
	written  int
	pending  int // bytes of the send buffer
	end      bool
	reset    bool
	stopped  bool
	code     uint64
	finished bool
	closed   bool
	gaveUp   bool
	untaken  int
}

// streamApp is the application of a side that has streams.
type streamApp struct {
	s     *side
	ends  map[uint64]*streamEnd
	order []uint64 // in the order the peer opened them
	limit uint64
	lazy  bool            // it takes nothing
	idle  map[uint64]bool // of these streams
}

func newStreamApp(s *side) *streamApp {
	a := &streamApp{s: s, ends: map[uint64]*streamEnd{}}
	hook := s.hook
	s.hook = func(e *Event) {
		if hook != nil {
			hook(e)
		}
		a.event(e)
	}
	return a
}

func (a *streamApp) end(id uint64) *streamEnd {
	if a.ends[id] == nil {
		a.ends[id] = &streamEnd{}
	}
	return a.ends[id]
}

func (a *streamApp) event(e *Event) {
	switch e.Kind {
	case EventStreamOpen:
		a.order = append(a.order, e.ID)
	case EventStreamData:
		x := a.end(e.ID)
		if x.end || x.reset {
			a.s.p.t.Errorf("%s: stream %d has data behind its end", a.s.name, e.ID)
		}
		x.got = append(x.got, e.Payload...)
		if a.lazy || a.idle[e.ID] {
			x.untaken += len(e.Payload)
		} else {
			a.s.c.Stream(&StreamCommand{ID: e.ID, Ops: StreamRead, Read: len(e.Payload)})
		}
	case EventStreamEnd:
		a.end(e.ID).end = true
	case EventStreamReset:
		a.end(e.ID).reset, a.end(e.ID).code = true, e.Code
	case EventStreamStop:
		a.end(e.ID).stopped, a.end(e.ID).code = true, e.Code
	case EventStreamWritable:
		a.end(e.ID).pending -= int(e.N)
	case EventStreamLimit:
		a.limit = e.ID
	}
}

// streamByte is what the byte of a stream at an offset is.
func streamByte(id uint64, at int) byte { return byte(at*7 + at>>8 + int(id)) }

// write writes n bytes of a stream's pattern.
func (a *streamApp) write(id uint64, n int) {
	x := a.end(id)
	b := make([]byte, n)
	for i := range b {
		b[i] = streamByte(id, x.written+i)
	}
	r := a.s.c.WriteStream(id, &Message{Payload: b})
	if r != SendOK {
		a.s.p.t.Fatalf("%s: a write of %d bytes to stream %d: %d", a.s.name, n, id, r)
	}
	x.written += n
	x.pending += n + messageOverhead
}

// random does something to some stream of the first few of each end.
func (a *streamApp) random(pick func(n int) int) {
	id := wire.MinStream + uint64(pick(3))*streamStep + uint64(pick(2))
	if st := a.s.c.streams; id&1 == 0 != a.s.c.client && (st == nil || ordinal(id) >= st.seen) {
		return // the peer has not opened it
	}
	x := a.end(id)
	switch op := pick(16); {
	case x.closed:
	case op == 0:
		a.do(id, StreamReset|StreamStop|StreamRelease, 7)
		x.closed, x.gaveUp = true, true
	case op == 1:
		a.do(id, StreamStop, 8)
	case op == 2:
		a.lazy = !a.lazy
	case op == 3:
		a.finish(id)
		a.do(id, StreamStop|StreamRelease, 0)
		x.closed = true
	case x.finished || x.stopped:
	case op == 4:
		a.finish(id)
	case op == 5:
		a.do(id, StreamOpen, 0)
	default:
		for range 1 + pick(4) {
			if n := 1 + pick(6000); x.pending+n < 32<<10 {
				a.write(id, n)
			}
		}
	}
	if n := x.untaken; n > 0 && !a.lazy {
		x.untaken = 0
		a.s.c.Stream(&StreamCommand{ID: id, Ops: StreamRead, Read: n})
	}
}

// kept checks what has arrived of all streams that the peer has written, at rest.
func (a *streamApp) kept(from *streamApp) {
	for id, y := range from.ends {
		x := a.end(id)
		for i, b := range x.got {
			if b != streamByte(id, i) {
				a.s.p.t.Fatalf("%s: stream %d: byte %d is wrong", a.s.name, id, i)
			}
		}
		if !y.gaveUp && !y.stopped && (len(x.got) != y.written || x.end != y.finished) {
			a.s.p.t.Fatalf("%s: stream %d: %d of %d bytes, end %v of %v", a.s.name, id, len(x.got), y.written, x.end, y.finished)
		}
		if y.pending != 0 {
			a.s.p.t.Fatalf("%s: stream %d: %d bytes of the send buffer did not come back", from.s.name, id, y.pending)
		}
	}
}

func (a *streamApp) finish(id uint64) {
	a.end(id).finished = true
	a.s.c.Stream(&StreamCommand{ID: id, Ops: StreamFinish, Size: uint64(a.end(id).written)})
}

// takeAll takes what a lazy application has not.
func (a *streamApp) takeAll(id uint64) {
	x := a.end(id)
	a.s.c.Stream(&StreamCommand{ID: id, Ops: StreamRead, Read: x.untaken})
	x.untaken = 0
}

func (a *streamApp) do(id uint64, ops StreamOps, code uint64) {
	a.s.c.Stream(&StreamCommand{ID: id, Ops: ops, Code: code})
}

// arrived checks that a stream arrived whole.
func (a *streamApp) arrived(id uint64, from *streamApp) {
	x, y := a.end(id), from.end(id)
	if len(x.got) != y.written || x.end != y.finished {
		a.s.p.t.Errorf("%s: stream %d: %d of %d bytes, end %v", a.s.name, id, len(x.got), y.written, x.end)
	}
	for i, b := range x.got {
		if b != streamByte(id, i) {
			a.s.p.t.Fatalf("%s: stream %d: byte %d is wrong", a.s.name, id, i)
		}
	}
	if y.pending != 0 {
		a.s.p.t.Errorf("%s: stream %d: %d bytes of the send buffer did not come back", from.s.name, id, y.pending)
	}
}

func streamPair(t testing.TB, seed uint64, edit func(*Config)) (p *pair, client, server *streamApp) {
	p = newPair(t, seed, edit)
	p.connect()
	return p, newStreamApp(p.client), newStreamApp(p.server)
}

func TestAStreamArrivesWholeOverABadLink(t *testing.T) {
	for seed := range uint64(20) {
		p, c, s := streamPair(t, seed, nil)
		p.link.loss, p.link.jitter, p.link.duplicate = 0.1, 20*mono.Millisecond, 0.05
		for i := range 40 {
			c.write(256, 1+i*500)
			c.write(260, 1+i*10)
			p.run(3 * mono.Millisecond)
		}
		c.finish(256)
		c.finish(260)
		s.write(256, 5000)
		s.finish(256)
		s.finish(260)
		p.run(10 * mono.Second)
		for _, id := range []uint64{256, 260} {
			s.arrived(id, c)
			c.arrived(id, s)
		}
		if fmt.Sprint(s.order) != "[256 260]" {
			t.Errorf("the peer opened %v", s.order)
		}
		if !p.client.c.msgs.flushed() || !p.server.c.msgs.flushed() {
			t.Error("something still waits for an acknowledgment")
		}
		for _, a := range []*streamApp{c, s} {
			a.do(256, StreamRelease, 0)
			a.do(260, StreamRelease, 0)
			if n := len(a.s.c.streams.list); n != 0 {
				t.Errorf("%s: %d streams are left", a.s.name, n)
			}
		}
	}
}

func TestAStreamIsAnnouncedBeforeItsFirstByte(t *testing.T) {
	p, c, s := streamPair(t, 1, nil)
	c.do(256, StreamOpen, 0)
	n := 0
	p.link.drop = func(from *side, _ *datagram) bool { n++; return from == p.client && n < 4 }
	p.run(2 * mono.Second)
	if len(s.order) != 1 || s.order[0] != 256 {
		t.Fatalf("the server knows streams %v", s.order)
	}
	s.write(256, 10)
	p.run(mono.Second)
	c.arrived(256, s)
	if s.end(256).end {
		t.Error("a stream that was only opened has ended")
	}
}

// streamFrame is a STREAM frame.
func streamFrame(id uint64, offset int, data string, fin bool) []byte {
	return wire.AppendStream(nil, id, uint64(offset), []byte(data), fin)
}

func TestWhatAPeerMayNotDoToStreams(t *testing.T) {
	abc := streamFrame(256, 0, "abc", false)
	fin := streamFrame(256, 0, "abc", true)
	for name, c := range map[string]struct {
		frames [][]byte
		want   wire.ErrorCode
	}{
		"data of a stream that the receiver has not opened":  {[][]byte{streamFrame(257, 0, "x", false)}, wire.StreamStateError},
		"STOP_SENDING of such a stream":                      {[][]byte{wire.AppendStopSending(nil, 257, 1)}, wire.StreamStateError},
		"MAX_CHANNEL of such a stream":                       {[][]byte{wire.AppendMaxChannel(nil, 257, 1)}, wire.StreamStateError},
		"a unidirectional stream":                            {[][]byte{streamFrame(258, 0, "x", false)}, wire.StreamLimitError},
		"a unidirectional stream of the receiver":            {[][]byte{streamFrame(259, 0, "x", false)}, wire.StreamStateError},
		"one stream too many":                                {[][]byte{streamFrame(256+4*4, 0, "x", false)}, wire.StreamLimitError},
		"CHANNEL_BLOCKED of one stream too many":             {[][]byte{wire.AppendChannelBlocked(nil, 256+4*4, 1)}, wire.StreamLimitError},
		"data behind the end":                                {[][]byte{fin, streamFrame(256, 3, "d", false)}, wire.FinalSizeError},
		"another end":                                        {[][]byte{fin, streamFrame(256, 0, "ab", true)}, wire.FinalSizeError},
		"an end below what was sent":                         {[][]byte{abc, streamFrame(256, 0, "ab", true)}, wire.FinalSizeError},
		"a reset below what was sent":                        {[][]byte{abc, wire.AppendResetStream(nil, 256, 1, 2)}, wire.FinalSizeError},
		"a reset with another length":                        {[][]byte{fin, wire.AppendResetStream(nil, 256, 1, 4)}, wire.FinalSizeError},
		"more than the stream's credit":                      {[][]byte{streamFrame(256, 8<<10, "x", false)}, wire.FlowControlError},
		"more than the connection's credit":                  {[][]byte{streamFrame(256, 8<<10-1, "x", false), streamFrame(260, 8<<10-1, "x", false)}, wire.FlowControlError},
		"a reset beyond the stream's credit":                 {[][]byte{wire.AppendResetStream(nil, 256, 1, 8<<10+1)}, wire.FlowControlError},
		"the same data again":                                {[][]byte{abc, abc, fin, fin}, wire.NoError},
		"the end in front of the data":                       {[][]byte{streamFrame(256, 2, "c", true), streamFrame(256, 0, "ab", false)}, wire.NoError},
		"a reset twice":                                      {[][]byte{abc, wire.AppendResetStream(nil, 256, 1, 5), wire.AppendResetStream(nil, 256, 1, 5)}, wire.NoError},
		"a reset behind the end":                             {[][]byte{fin, wire.AppendResetStream(nil, 256, 1, 3)}, wire.NoError},
		"a limit of streams that falls":                      {[][]byte{wire.AppendMaxStreams(nil, 1)}, wire.NoError},
		"data in too many pieces":                            {scattered(300), wire.ReassemblyError},
		"a stream's number on a message's frame: MAX_STREAM": {[][]byte{wire.AppendMaxChannel(nil, 256, 9)}, wire.NoError},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := hostile(t, 1, func(cfg *Config) {
				cfg.Params.InitialMaxStreams = 4
				cfg.Params.InitialMaxChannel, cfg.Params.InitialMaxData = 8<<10, 12<<10
			})
			a := newStreamApp(s)
			for _, f := range c.frames {
				s.attack(f)
			}
			switch {
			case c.want == wire.NoError && s.closed != nil:
				t.Errorf("closed with %v: %s", wire.ErrorCode(s.closed.Code), s.reason)
			case c.want != wire.NoError && (s.closed == nil || s.closed.Code != uint64(c.want)):
				t.Errorf("%+v, want %v", s.closed, c.want)
			}
			if x := a.end(256); x.end && string(x.got) != "abc" {
				t.Errorf("%q was delivered", x.got)
			}
		})
	}
}

// scattered are every other byte of a stream.
func scattered(n int) (frames [][]byte) {
	for i := range n {
		frames = append(frames, streamFrame(256, 1+2*i, "x", false))
	}
	return frames
}

func TestNoStreamsWithoutTheParameter(t *testing.T) {
	_, s := hostile(t, 1, func(cfg *Config) { cfg.Params.InitialMaxStreams = 0 })
	if s.peer.c.StreamLimit().ID != 0 {
		t.Error("a peer may open streams")
	}
	s.attack(streamFrame(256, 0, "x", false))
	if s.closed == nil || s.closed.Code != uint64(wire.StreamLimitError) {
		t.Errorf("%+v", s.closed)
	}
}
