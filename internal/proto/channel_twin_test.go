package proto

import (
	"bytes"
	"slices"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/wire"
)

// A twin is made from the packed form of an end's channels. Whatever is done to the end is done to its twin, and must have the same
// effect.
type twin struct {
	m   messages
	sh  *Shared
	log sentLog
}

// fork makes a new twin.
func (e *pipeEnd) fork() {
	e.endTwin()
	w := &twin{sh: newShared(e.sh.Config)}
	e.unpackTo(&w.m, w.sh)
	e.twin = w
}

// repack replaces the end's channels by what their packed form gives.
func (e *pipeEnd) repack() {
	var m messages
	e.unpackTo(&m, e.sh)
	e.m.release()
	e.m = m
}

func (e *pipeEnd) unpackTo(m *messages, sh *Shared) {
	b := e.m.appendPacked(nil, e.p.now)
	m.init(sh, uint32(e.me))
	if n := m.parsePacked(sh, b, e.p.now); n != len(b) {
		e.p.t.Fatalf("%d of %d packed bytes were read", n, len(b))
	}
	// The versions of keys lie in a hash table, so their order says nothing.
	again := m.appendPacked(nil, e.p.now)
	slices.Sort(b)
	slices.Sort(again)
	if !bytes.Equal(again, b) {
		e.p.t.Fatalf("what was unpacked packs to other bytes: %d instead of %d", len(again), len(b))
	}
}

func (e *pipeEnd) endTwin() {
	if w := e.twin; w != nil {
		w.m.release()
		if w.sh.Pool.InUse() != 0 || w.sh.Chunks.InUse() != 0 {
			e.p.t.Fatalf("the twin holds %d blocks and %d chunks", w.sh.Pool.InUse(), w.sh.Chunks.InUse())
		}
		e.twin = nil
	}
}

func (e *pipeEnd) differs(what string) {
	e.p.t.Fatalf("end %d: the twin differs in %s", e.me, what)
}

// queue gives a message to the end, every other one, if it is ordinary, as a run of one: that must make no difference.
func (e *pipeEnd) queue(msg *Message) SendResult {
	e.inRuns = !e.inRuns
	if e.inRuns && msg.Chunk != 0 && msg.Key == 0 && msg.Tag == 0 && msg.TTL == 0 &&
		e.m.sendRun(msg.Channel, msg.Chunk, []Piece{{msg.Offset, uint32(len(msg.Payload))}}) == 1 {
		return SendOK
	}
	return e.m.send(e.p.now, msg)
}

func (e *pipeEnd) send(msg *Message) SendResult {
	r := e.queue(msg)
	if w := e.twin; w != nil {
		other := *msg
		other.Chunk = 0
		if w.m.send(e.p.now, &other) != r {
			e.differs("what send answers")
		}
	}
	return r
}

func (e *pipeEnd) setFullPacket(n int) {
	e.m.setFullPacket(n)
	if e.twin != nil {
		e.twin.m.setFullPacket(n)
	}
}

func (e *pipeEnd) appendFrames(limit int) []byte {
	before := e.log.records.len()
	b := e.m.appendFrames(e.p.now, make([]byte, 0, limit), limit, &e.log)
	w := e.twin
	if w == nil {
		return b
	}
	n := w.log.records.len()
	if wants := w.m.wantsToSend(); !wants && len(b) > 0 {
		e.differs("whether it wants to send")
	}
	if other := w.m.appendFrames(e.p.now, make([]byte, 0, limit), limit, &w.log); !bytes.Equal(b, other) {
		e.p.t.Logf("%d bytes %.40x, %d bytes %.40x", len(b), b, len(other), other)
		e.differs("a packet")
	}
	if w.log.records.len()-n != e.log.records.len()-before {
		e.differs("the number of records")
	}
	for i := before; i < e.log.records.len(); i++ {
		if *e.log.records.at(i) != *w.log.records.at(n + i - before) {
			e.differs("a record")
		}
	}
	return b
}

func (e *pipeEnd) handleFrame(typ uint64, b []byte) (n int, code wire.ErrorCode) {
	n, code = e.m.handleFrame(e.p.now, typ, b)
	if w := e.twin; w != nil {
		if k, c := w.m.handleFrame(e.p.now, typ, b); k != n || c != code {
			e.differs("what a frame gives")
		}
	}
	return n, code
}

func (e *pipeEnd) onAcked(r *record) {
	e.m.onAcked(e.p.now, r)
	if e.twin != nil {
		e.twin.m.onAcked(e.p.now, r)
	}
}

func (e *pipeEnd) onLost(r *record) {
	e.m.onLost(e.p.now, r)
	if e.twin != nil {
		e.twin.m.onLost(e.p.now, r)
	}
}

func (e *pipeEnd) consumed(channel uint16, size int) {
	e.m.consumed(e.p.now, channel, size)
	if e.twin != nil {
		e.twin.m.consumed(e.p.now, channel, size)
	}
}

func (e *pipeEnd) handleTimeout() {
	if e.twin != nil {
		if e.twin.m.deadline() != e.m.deadline() {
			e.differs("its deadline")
		}
		e.twin.m.handleTimeout(e.p.now)
	}
	e.m.handleTimeout(e.p.now)
}

// sameEvents compares the events of both, and drops the twin's.
func (e *pipeEnd) sameEvents() {
	w := e.twin
	if w == nil {
		return
	}
	if len(w.sh.Events) != len(e.sh.Events) {
		e.differs("the number of events")
	}
	for i := range e.sh.Events {
		a, b := e.sh.Events[i], w.sh.Events[i]
		if a.Kind == EventMessage && b.Kind == EventMessage { // has no use for these
			a.N, a.Tag, a.Outcome, b.N, b.Tag, b.Outcome = 0, 0, 0, 0, 0, 0
		}
		if a.Kind != b.Kind || a.Channel != b.Channel || a.ID != b.ID || a.Key != b.Key || a.N != b.N || a.Tag != b.Tag ||
			a.Outcome != b.Outcome || a.Slot != b.Slot || (a.Ref == mem.Ref(0)) != (b.Ref == mem.Ref(0)) || !bytes.Equal(a.Payload, b.Payload) {
			e.differs("an event")
		}
		w.sh.Pool.Put(b.Ref)
	}
	w.sh.Events = w.sh.Events[:0]
}
