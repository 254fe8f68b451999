package proto

import (
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// Constants of packing and of sharing a packet among channels.
const (
	minPiece     = 128 // bytes of a fragment that is not a message's last
	packetHead   = 25  // the longest short header: first byte, connection ID, packet number
	quantum      = 64  // bytes a turn and unit of weight
	lowerShare   = 32  // a level that has something to send gets one byte of this many
	owedTurn     = 256 // bytes that must be owed to a lower level before it goes first
	owedCap      = 8 * owedTurn
	fillAttempts = 3 // channels that are tried for the rest of a packet which the one whose turn it is cannot fill
	anyAmount    = 1 << 30
)

// packetWriter is a packet under construction.
type packetWriter struct {
	b     []byte
	limit int // what len(b) may reach
	fresh int // the largest frame that an otherwise empty packet holds
	now   mono.Time
	log   *sentLog
}

func (w *packetWriter) room() int { return w.limit - len(w.b) }

// appendFrames appends what is to be sent while len(b) stays within limit, and a record of each frame to the log: first
// credit and SKIP, then, level by level, messages to be repeated and new ones. It leaves b as it is when nothing
// fits.
func (m *messages) appendFrames(now mono.Time, b []byte, limit int, log *sentLog) []byte {
	if m.ready == 0 {
		return b
	}
	if cap(b) < limit {
		b = append(make([]byte, 0, limit), b...)
	}
	w := packetWriter{b: b, limit: limit, fresh: max(limit, m.fullPacket) - packetHead, now: now, log: log}
	if m.sh.offered != nil {
		if m.writeOffered(&w) {
			return w.b // there was nothing else
		}
		m.enqueueOffered(now)
	}
	if m.due != 0 || m.control.n > 0 {
		m.appendControl(&w)
	}
	if len(m.levels) == 1 {
		m.appendLevel(&m.levels[0], &w, anyAmount)
	} else if len(m.levels) > 1 {
		m.appendLevels(&w)
	}
	if m.due != 0 || m.control.n > 0 {
		m.appendControl(&w) // what came up while messages were looked at: a stalled channel, an expired message
	}
	return w.b
}

// appendLevels shares the packet among priorities: the highest first, but a lower one that has something to send gets at
// least its share.
func (m *messages) appendLevels(w *packetWriter) {
	for i := len(m.levels) - 1; i > 0; i-- {
		l := &m.levels[i]
		if l.owed >= owedTurn*(lowerShare-1) && l.busy() {
			before := len(w.b)
			m.appendLevel(l, w, int(l.owed)/(lowerShare-1))
			l.owed -= int32((len(w.b) - before) * (lowerShare - 1))
		}
	}
	for i := range m.levels {
		before := len(w.b)
		m.appendLevel(&m.levels[i], w, anyAmount)
		wrote := len(w.b) - before
		if wrote == 0 {
			continue
		}
		for j := i + 1; j < len(m.levels); j++ {
			if l := &m.levels[j]; l.busy() {
				l.owed = min(l.owed+int32(wrote), owedCap*(lowerShare-1))
			}
		}
	}
}

// busy reports whether a channel of the level has something to send.
func (l *level) busy() bool { return l.fresh.n+l.repeat.n > 0 }

// appendLevel appends messages of one level, no more than about budget bytes.
func (m *messages) appendLevel(l *level, w *packetWriter, budget int) {
	start := len(w.b)
	if l.repeat.n > 0 {
		m.appendLost(l, w, budget)
	}
	attempts := fillAttempts
	at := int(l.turn)
	for l.fresh.n > 0 && attempts > 0 {
		left := budget - (len(w.b) - start)
		if left <= 0 || w.room() < 4 {
			return
		}
		at = l.fresh.cyclic(at)
		ch := &m.chans[at]
		alone := l.fresh.n == 1
		if !alone {
			if ch.deficit <= 0 {
				ch.deficit += int32(ch.weight) * quantum
			}
			left = min(left, int(ch.deficit))
		}
		if left > 0 {
			before := len(w.b)
			m.appendFresh(ch, w, left)
			wrote := len(w.b) - before
			if !alone {
				ch.deficit -= int32(wrote)
			}
			if wrote == 0 && ch.armed&armedFresh != 0 { // it does not fit here: its turn remains, others may fill the rest
				if alone {
					return
				}
				attempts--
				at = (at + 1) % numChannels
				continue
			}
		}
		if ch.armed&armedFresh == 0 || !alone && ch.deficit <= 0 {
			at = (at + 1) % numChannels
		}
		if attempts == fillAttempts {
			l.turn = uint16(at)
		}
	}
}

// appendLost appends messages of one level that are to be repeated, no more than about budget bytes.
func (m *messages) appendLost(l *level, w *packetWriter, budget int) {
	start := len(w.b)
	for i := l.repeat.from(0); i >= 0; i = l.repeat.from(i + 1) {
		m.appendRepeats(&m.chans[i], w, budget-(len(w.b)-start))
		if len(w.b)-start >= budget {
			return
		}
	}
}

// appendFresh appends new messages of a channel, no more than about budget bytes.
func (m *messages) appendFresh(ch *channel, w *packetWriter, budget int) {
	start := len(w.b)
	for ch.armed&armedFresh != 0 {
		left := budget - (len(w.b) - start)
		if left <= 0 {
			return
		}
		i := int(ch.sent)
		e := ch.queue.at(i)
		if ch.expires && expired(ch, i, w.now) {
			m.expire(ch, i)
			continue
		}
		if e.state == entrySending {
			if !m.appendNextPiece(ch, i, w) {
				return
			}
			continue
		}
		if !ch.hasExtras && ch.mode.Reliable() && m.writePlain(ch, w, left) {
			continue
		}
		n := m.measure(ch, i, entryQueued, 0, w, left)
		if n > 0 {
			m.writeRun(ch, i, n, w)
			m.sentRun(ch, i, n)
			continue
		}
		if m.obstacle(ch) != waitNothing {
			m.evaluate(ch) // another channel took the credit that there was
			return
		}
		if m.frameSize(ch, i) <= w.fresh {
			return // it waits for the next packet
		}
		m.begin(ch, i)
		if !m.appendNextPiece(ch, i, w) {
			return
		}
	}
}

// frameSize is the length of the MESSAGE frame that carries message i of the queue.
func (m *messages) frameSize(ch *channel, i int) int {
	e := ch.queue.at(i)
	return wire.MessageOverhead(uint64(ch.number), ch.base+uint64(i), ch.key(i), ch.mode == Latest, int(e.size)) + int(e.size)
}

// key returns the key of message i of the queue.
func (ch *channel) key(i int) uint64 {
	if ch.mode != Latest {
		return 0
	}
	return ch.extras.at(i).key
}

// measure returns how many messages from i on go into one frame here: they are whole, of the state and flags given, fit,
// and, if they are new, have their credit.
func (m *messages) measure(ch *channel, i int, state entryState, flags uint8, w *packetWriter, budget int) (n int) {
	room := w.room() - 1 - wire.VarintLen(uint64(ch.number)) - wire.VarintLen(ch.base+uint64(i))
	credit, most := uint64(anyAmount), ch.queue.len()-i
	if flags == 0 && ch.mode.Reliable() {
		credit = min(ch.limit-ch.reserved, m.limit-m.reserved)
		most = min(most, int(ch.idWindow())-i, connectionWindow-m.windowed)
		if ch.mode == Latest {
			most = min(most, ch.roomForKeys(m.sh.HashKey, ch.key(i)))
		}
	}
	size := 0
	for n < most && size < budget {
		e := ch.queue.at(i + n)
		if e.state != state || e.flags&(entryCut|entryRepeat) != flags {
			break
		}
		next := size + int(e.size) + wire.VarintLen(uint64(e.size))
		if n == 1 || n == 63 {
			next++ // MESSAGES instead of MESSAGE, and a count of two bytes instead of one
		}
		if ch.mode == Latest {
			next += wire.VarintLen(ch.extras.at(i + n).key)
		}
		cost := uint64(e.cost())
		if next > room || cost > credit || ch.expires && n > 0 && expired(ch, i+n, w.now) {
			break
		}
		credit -= cost
		size = next
		n++
	}
	return n
}

// plainCount is the most messages in a frame whose count is to take one byte.
const plainCount = 63

// writePlain does what measure, writeRun and sentRun do, in one pass over new messages without extras of a reliable channel: the
// bulk of all traffic. It reports whether it wrote a frame.
func (m *messages) writePlain(ch *channel, w *packetWriter, budget int) bool {
	i, q := int(ch.sent), &ch.queue
	most := min(q.len()-i, int(ch.idWindow())-i, connectionWindow-m.windowed, plainCount)
	credit := int(min(ch.limit-ch.reserved, m.limit-m.reserved, anyAmount))
	id := ch.base + uint64(i)
	off := len(w.b) + 1 + wire.VarintLen(uint64(ch.number)) + wire.VarintLen(id)
	if most < 1 || !plain(q.at(i), w.limit-off, credit) {
		return false
	}
	b := w.b
	first := q.at(i)
	if most > 1 && !mutant.On(mutant.LoneMessages) && budget > int(first.size)+2 && plain(q.at(i+1), w.limit-off-3-int(first.size), credit-first.cost()) {
		b = append(b, wire.FrameMessages)
		off++
	} else {
		b = append(b, wire.FrameMessage)
		most = 1
	}
	b = wire.AppendVarint(b, uint64(ch.number))
	b = wire.AppendVarint(b, id)
	n, total, end := m.writeItems(ch, b[:w.limit], off, most, credit, min(w.limit, off+budget))
	if most > 1 {
		b[:off][off-1] = byte(n)
	}
	w.b = b[:end]
	w.log.add(record{kind: recMessages, channel: uint16(ch.number), n: uint32(n), id: id})
	m.countSent(ch, n, total)
	m.evaluate(ch)
	return true
}

// writeItems writes up to most new messages of a channel from b[off] on, beginning none at end or behind, and marks them as sent.
// The first is known to fit.
func (m *messages) writeItems(ch *channel, b []byte, off, most, credit, end int) (n, total, newOff int) {
	q, i := &ch.queue, int(ch.sent)
	var chunk uint32
	var buf []byte
	for ; n < most && off < end; n++ {
		e := q.at(i + n)
		size := int(e.size)
		if !plain(e, len(b)-off, credit) {
			break
		}
		if size < 64 {
			b[off] = byte(size)
			off++
		} else {
			b[off], b[off+1] = byte(size>>8)|0x40, byte(size)
			off += 2
		}
		if e.flags&entryPooled != 0 {
			copy(b[off:off+size], m.sh.Pool.Bytes(mem.Ref(e.where)))
		} else if size > 0 {
			if e.where != chunk {
				chunk = e.where
				buf = m.sh.Chunks.Bytes(mem.ChunkID(chunk))
			}
			copy(b[off:off+size], buf[e.off:])
		}
		off += size
		credit -= size + messageOverhead
		total += size
		e.state = entrySent
		e.flags |= entryReserved
	}
	m.sh.copied(total)
	return n, total, off
}

// plain reports whether a message is new, fits into the room with a length of two bytes, and has its credit.
func plain(e *queued, room, credit int) bool {
	return e.state == entryQueued && int(e.size)+2 <= room && e.size < 1<<14 && e.cost() <= credit
}

// countSent counts n new messages of a reliable channel as sent.
func (m *messages) countSent(ch *channel, n, bytes int) {
	m.sh.Stats.MessagesSent += uint64(n)
	m.sh.Stats.BytesSent += uint64(bytes)
	cost := uint64(bytes + n*messageOverhead)
	ch.reserved += cost
	m.reserved += cost
	ch.sent += uint32(n)
	m.windowed += n
}

// writeRun appends one frame with the n messages from i on, and its record.
func (m *messages) writeRun(ch *channel, i, n int, w *packetWriter) {
	keyed := ch.mode == Latest
	typ := byte(wire.FrameMessage)
	if keyed {
		typ |= wire.FrameMessageKeyed
	}
	if n > 1 {
		typ |= wire.FrameMessages
	}
	id := ch.base + uint64(i)
	b := append(w.b, typ)
	b = wire.AppendVarint(b, uint64(ch.number))
	b = wire.AppendVarint(b, id)
	if n > 1 {
		b = wire.AppendVarint(b, uint64(n))
	}
	var chunk uint32
	var buf []byte
	for j := i; j < i+n; j++ {
		e := ch.queue.at(j)
		if keyed {
			b = wire.AppendVarint(b, ch.extras.at(j).key)
		}
		b = wire.AppendVarint(b, uint64(e.size))
		m.sh.copied(int(e.size))
		if e.size == 0 {
			continue
		}
		if e.flags&entryPooled != 0 {
			b = append(b, m.sh.Pool.Bytes(mem.Ref(e.where))[:e.size]...)
			continue
		}
		if e.where != chunk {
			chunk = e.where
			buf = m.sh.Chunks.Bytes(mem.ChunkID(chunk))
		}
		b = append(b, buf[e.off:e.off+e.size]...)
	}
	w.b = b
	w.log.add(record{kind: recMessages, channel: uint16(ch.number), n: uint32(n), id: id})
}

// sentRun counts the n new messages from i on as sent.
func (m *messages) sentRun(ch *channel, i, n int) {
	size := 0
	for j := i; j < i+n; j++ {
		size += int(ch.queue.at(j).size)
	}
	if !ch.mode.Reliable() {
		m.sh.Stats.MessagesSent += uint64(n)
		m.sh.Stats.BytesSent += uint64(size)
		m.sentUnreliable(ch, i, n)
		return
	}
	m.countSent(ch, n, size)
	for j := i; j < i+n; j++ {
		e := ch.queue.at(j)
		e.state = entrySent
		e.flags |= entryReserved
		if ch.mode == Latest {
			m.sentKey(ch, j)
		}
	}
	if ch.mode == Latest {
		m.advance(ch)
	}
	m.evaluate(ch)
}

// sentUnreliable lets go of n messages of an unreliable mode: only those with a tag wait for an acknowledgment.
func (m *messages) sentUnreliable(ch *channel, i, n int) {
	freed := 0
	for j := i; j < i+n; j++ {
		if ch.hasExtras && ch.extras.at(j).tag != 0 {
			e := ch.queue.at(j)
			e.state = entrySent
			freed += m.dropPayload(e)
			continue
		}
		freed += m.finish(ch, j, entryAcked, Delivered)
	}
	ch.sent += uint32(n)
	m.writable(freed)
	m.advance(ch)
	m.evaluate(ch)
}

// appendRepeats appends messages of a channel that are to be repeated, no more than about budget bytes.
func (m *messages) appendRepeats(ch *channel, w *packetWriter, budget int) {
	start := len(w.b)
	for ch.repeats > 0 {
		left := budget - (len(w.b) - start)
		if left <= 0 {
			return
		}
		i := 0
		if ch.repeatFrom > ch.base {
			i = int(ch.repeatFrom - ch.base)
		}
		for ch.queue.at(i).flags&entryRepeat == 0 {
			i++
		}
		ch.repeatFrom = ch.base + uint64(i)
		if ch.expires && expired(ch, i, w.now) {
			m.expire(ch, i)
			continue
		}
		e := ch.queue.at(i)
		if e.flags&entryCut != 0 {
			if !m.repeatPiece(ch, i, w) {
				return
			}
			continue
		}
		n := m.measure(ch, i, entrySent, entryRepeat, w, left)
		if n == 0 {
			if m.frameSize(ch, i) <= w.fresh {
				return
			}
			m.recut(e)
			continue
		}
		m.writeRun(ch, i, n, w)
		m.sh.Stats.MessagesRetransmitted += uint64(n)
		for j := i; j < i+n; j++ {
			m.unrepeat(ch, ch.queue.at(j))
		}
	}
}
