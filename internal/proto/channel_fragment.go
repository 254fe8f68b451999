package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

var (
	markRecut      = mark.Register("proto: a message that was sent whole was cut")
	markPieceRecut = mark.Register("proto: a lost fragment was cut smaller")
)

// outFragments is a message that is sent in fragments. It takes the place of the message's own record of where its
// payload lies.
type outFragments struct {
	where, off uint32
	next       uint32 // all bytes below were sent once
	free       uint32 // index + 1 of the next free element
	acked      rangeset
	lost       rangeset // to be repeated
}

// begin takes the credit of message i, which is too large for a packet, and prepares it for being sent in fragments.
func (m *messages) begin(ch *channel, i int) {
	e := ch.queue.at(i)
	m.cut(e)
	e.state = entrySending
	if ch.mode.Reliable() {
		cost := uint64(e.cost())
		ch.reserved += cost
		m.reserved += cost
		e.flags |= entryReserved
		if ch.mode == Latest {
			ch.beginKey(m.sh.HashKey, ch.extras.at(i).key)
		}
	}
}

// cut gives a message the record that fragments need.
func (m *messages) cut(e *queued) *outFragments {
	i := m.freeFrag
	if i == 0 {
		m.frags = append(m.frags, outFragments{})
		i = uint32(len(m.frags))
	} else {
		m.freeFrag = m.frags[i-1].free
	}
	f := &m.frags[i-1]
	*f = outFragments{where: e.where, off: e.off, acked: f.acked[:0], lost: f.lost[:0]}
	e.where, e.off = i-1, 0
	e.flags |= entryCut
	m.partialSends++
	return f
}

// recut has a message that was sent whole, and lost, repeated in fragments: packets have become smaller.
func (m *messages) recut(e *queued) {
	mark.Hit(markRecut)
	f := m.cut(e)
	f.next = e.size
	f.lost.add(0, e.size)
}

// keptSpans is how much room for spans a free record keeps.
const keptSpans = 64

// dropFragments frees a message's record of fragments. The message knows again where its payload lies.
func (m *messages) dropFragments(e *queued) {
	i := e.where
	f := &m.frags[i]
	e.where, e.off = f.where, f.off
	e.flags &^= entryCut
	if cap(f.acked) > keptSpans {
		f.acked = nil
	}
	if cap(f.lost) > keptSpans {
		f.lost = nil
	}
	f.free = m.freeFrag
	m.freeFrag = i + 1
	m.partialSends--
	if m.partialSends == maxPartial-1 {
		m.wake()
	}
}

// appendNextPiece appends the next fragment of message i, whose sending has begun. It reports whether one had room.
func (m *messages) appendNextPiece(ch *channel, i int, w *packetWriter) bool {
	e := ch.queue.at(i)
	f := &m.frags[e.where]
	n := m.appendPiece(ch, i, f.next, e.size, w)
	if n == 0 {
		return false
	}
	f.next += n
	m.sh.Stats.BytesSent += uint64(n)
	if f.next < e.size {
		return true
	}
	m.sh.Stats.MessagesSent++
	if !ch.mode.Reliable() {
		m.sentUnreliable(ch, i, 1)
		return true
	}
	e.state = entrySent
	m.passHead(ch)
	if ch.mode == Latest {
		m.completeKey(ch, i)
		m.advance(ch)
	}
	m.evaluate(ch)
	return true
}

// repeatPiece appends a fragment of the first lost piece of message i. It reports whether one had room.
func (m *messages) repeatPiece(ch *channel, i int, w *packetWriter) bool {
	e := ch.queue.at(i)
	f := &m.frags[e.where]
	lost := f.lost[0]
	n := m.appendPiece(ch, i, lost.from, lost.to, w)
	if n == 0 {
		return false
	}
	m.sh.Stats.MessagesRetransmitted++
	if lost.from+n < lost.to {
		mark.Hit(markPieceRecut)
	}
	f.lost.sub(lost.from, lost.from+n)
	if len(f.lost) == 0 {
		m.unrepeat(ch, e)
	}
	return true
}

// appendPiece appends a FRAGMENT frame with as much of bytes [from, to) of message i as fits, and its record. It
// returns how much that is; nothing if the piece would be tiny without being the last.
func (m *messages) appendPiece(ch *channel, i int, from, to uint32, w *packetWriter) uint32 {
	e := ch.queue.at(i)
	f := wire.Fragment{
		Channel: uint64(ch.number), ID: ch.base + uint64(i), Key: ch.key(i), Keyed: ch.mode == Latest,
		Offset: uint64(from), Total: uint64(e.size),
	}
	want := int(to - from)
	room := w.room() - wire.FragmentOverhead(f.Channel, f.ID, f.Key, f.Keyed, f.Offset, f.Total, min(want, w.room()))
	if want > room {
		if room < minPiece {
			return 0
		}
		want = room
	}
	f.Data = m.payload(e)[from : from+uint32(want)]
	if mutant.On(mutant.FragmentShifted) && from > 0 {
		f.Offset--
	}
	w.b = wire.AppendFragment(w.b, &f)
	m.sh.copied(want)
	w.log.add(record{kind: recFragment, channel: uint16(ch.number), n: uint32(want), off: from, id: f.ID})
	return uint32(want)
}
