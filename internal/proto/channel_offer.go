package proto

import (
	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

var markPassed = mark.Register("proto: a message passed its queue")

// SendTrain is Send and BuildTrain in one, for a message that lies in a chunk, finds nothing before it and has neither tag nor TTL nor key: it enters
// its queue when it is written into a packet, as sent. What follows is the same in every byte. It reports whether it took the message, and whether it
// built a train. Other messages, and such as might be refused, it leaves to Send.
func (c *Conn) SendTrain(now mono.Time, msg *Message, buf []byte, t *wire.Train) (sent, built bool) {
	m := &c.msgs
	if c.state != StateConnected || c.end.graceful || c.streams != nil || !m.passes(msg) {
		return false, false
	}
	m.sh.offered = msg
	m.ready++
	built = c.BuildTrain(now, buf, t)
	if m.sh.offered != nil {
		m.enqueueOffered(now)
	}
	return true, built
}

// passes reports whether the next packet may take a message past the queue.
func (m *messages) passes(msg *Message) bool {
	if m.ready != 0 || msg.Tag != 0 || msg.TTL != 0 || msg.Chunk == 0 || int(m.hot) >= len(m.chans) {
		return false
	}
	ch, size := &m.chans[m.hot], len(msg.Payload)
	cost := uint64(size + messageOverhead)
	if uint16(ch.number) != msg.Channel || int(ch.sent) != ch.queue.len() || ch.hasExtras || ch.mode == Latest ||
		size >= 1<<14 || size > m.maxMessage || m.buffered+int(cost) > m.sh.Config.SendBuffer {
		return false
	}
	if !ch.mode.Reliable() {
		return ch.sent == 0
	}
	return ch.sent < ch.idWindow() && m.windowed < connectionWindow && m.partialSends < maxPartial &&
		ch.reserved+cost <= ch.limit && m.reserved+cost <= m.limit
}

// enqueueOffered queues the message that was offered to a packet and did not fit, or found none.
func (m *messages) enqueueOffered(now mono.Time) {
	msg := m.sh.offered
	m.sh.offered = nil
	m.ready--
	r := m.send(now, msg)
	invariant.Check(r == SendOK, "proto: a message that was to pass its queue is refused by it")
}

// writeOffered writes the message that was offered, if it has room. It does what send, evaluate, writePlain and, for an unreliable mode,
// sentUnreliable do, without their detours.
func (m *messages) writeOffered(w *packetWriter) bool {
	msg := m.sh.offered
	ch, size := m.lookup(uint8(msg.Channel)), len(msg.Payload)
	id := ch.base + uint64(ch.sent)
	if w.room() < 1+wire.VarintLen(uint64(ch.number))+wire.VarintLen(id)+2+size {
		return false
	}
	mark.Hit(markPassed)
	m.sh.offered = nil
	m.ready--
	b := append(w.b, wire.FrameMessage)
	b = wire.AppendVarint(b, uint64(ch.number))
	b = wire.AppendVarint(b, id)
	b = wire.AppendVarint(b, uint64(size))
	w.b = append(b, msg.Payload...)
	m.sh.copied(size)
	w.log.add(record{kind: recMessages, channel: uint16(ch.number), n: 1, id: id})
	l := &m.levels[ch.level]
	l.turn, l.owed, ch.deficit = uint16(int(m.hot)+1)%numChannels, 0, 0
	if !ch.mode.Reliable() {
		m.sh.Stats.MessagesSent++
		m.sh.Stats.BytesSent += uint64(size)
		ch.base++
		m.writable(size + messageOverhead)
		return true
	}
	m.sh.Chunks.Retain(msg.Chunk)
	e := ch.queue.extend()
	e.where, e.off, e.size = uint32(msg.Chunk), msg.Offset, uint32(size)
	e.state, e.flags = entrySent, entryReserved
	m.buffered += size + messageOverhead
	m.unresolved++
	m.countSent(ch, 1, size)
	return true
}
