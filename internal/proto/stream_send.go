package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

var (
	markStreamLost = mark.Register("proto: a part of a stream was repeated")
	markStreamOwed = mark.Register("proto: streams went before messages")
)

// WriteStream appends a write to a stream; m is used for its payload only. The caller bounds what it has written and was not told of
// by EventStreamWritable.
func (c *Conn) WriteStream(id uint64, m *Message) SendResult {
	if c.state != StateConnected {
		return SendClosed
	}
	s := c.own(id)
	if s == nil || s.reset != notAsked || s.finAt != noOffset && s.end+uint64(len(m.Payload)) > s.finAt {
		return SendClosed
	}
	if len(m.Payload) == 0 {
		return SendOK
	}
	if s.end-s.base+uint64(len(m.Payload)) > maxStreamBytes {
		return SendBlocked
	}
	where, flags, ok := c.msgs.hold(m)
	if !ok {
		return SendBlocked
	}
	s.queue.push(segment{start: s.end, where: where, off: m.Offset, size: uint32(len(m.Payload)), flags: flags})
	s.end += uint64(len(m.Payload))
	c.streams.settle(s)
	return SendOK
}

// room is how much of the connection's credit streams may take.
func (st *streams) room() uint64 {
	limit := st.m.limit - min(st.m.limit, st.keep)
	return limit - min(limit, st.m.reserved)
}

// settle finds out what a stream has to send, and whether it keeps a graceful close waiting.
func (st *streams) settle(s *stream) {
	s.waits = waitNothing
	if !s.inData && st.sendable(s) {
		s.inData = true
		st.data.push(s)
	}
	holding := s.reset == isDue || s.reset == isSent || s.reset == notAsked && (s.base < s.end || s.fin == isDue || s.fin == isSent)
	if holding != s.holding {
		s.holding = holding
		if holding {
			st.m.unresolved++
		} else {
			st.m.unresolved--
		}
	}
	st.sync()
}

// sendable reports whether a stream has a STREAM frame to send. If it has not for want of credit, the peer is told.
func (st *streams) sendable(s *stream) bool {
	switch {
	case s.gone || s.reset != notAsked:
		return false
	case len(s.lost) > 0 || s.announce:
		return true
	case s.sent == s.end:
		return s.fin == isDue && s.sent == s.finAt
	case s.sent >= s.limit:
		s.waits = waitCredit
		if s.blockedAt != s.limit+1 {
			mark.Hit(markStreamCredit)
			st.want(s, dueBlocked)
		}
		return false
	case st.room() == 0:
		s.waits = waitData
		if st.m.blockedAt != st.m.limit+1 {
			st.m.wantAll(dueBlocked)
		}
		return false
	}
	return true
}

// stalled reports whether the connection's credit stalls a stream.
func (st *streams) stalled() bool {
	for _, s := range st.list {
		if s.waits == waitData {
			return true
		}
	}
	return false
}

// credited looks again at streams that waited for the connection's credit.
func (st *streams) credited() {
	for _, s := range st.list {
		if s.waits == waitData {
			st.settle(s)
		}
	}
}

// appendShared appends what messages and streams have to send. Messages go first; while they have more than fits, streams
// get their share all the same.
func (c *Conn) appendShared(now mono.Time, b []byte, limit int, log *sentLog) []byte {
	st := c.streams
	w := packetWriter{b: b, limit: limit, now: now, log: log}
	st.appendControl(&w)
	if st.owed >= owedTurn*(streamShare-1) && st.data.len() > 0 {
		mark.Hit(markStreamOwed)
		before := len(w.b)
		st.appendData(&w, int(st.owed)/(streamShare-1))
		st.owed -= int32(len(w.b)-before) * (streamShare - 1)
	}
	before := len(w.b)
	w.b = c.msgs.appendFrames(now, w.b, limit, log)
	if st.data.len() == 0 {
		st.owed = 0
	} else {
		st.owed = min(st.owed+int32(len(w.b)-before), owedCap*(streamShare-1))
	}
	before = len(w.b)
	st.appendData(&w, anyAmount)
	st.owed = max(st.owed-int32(len(w.b)-before)*(streamShare-1), 0)
	st.appendControl(&w) // what came up meanwhile: a stalled stream
	st.sync()
	return w.b
}

// maxStreamControl is the longest control frame of a stream: RESET_STREAM.
const maxStreamControl = 1 + 8 + 8 + 8

// appendControl appends the frames about streams that carry no data.
func (st *streams) appendControl(w *packetWriter) {
	if st.maxDue && w.room() >= maxStreamControl {
		st.maxDue = false
		st.advertised = min(st.retired+st.m.sh.Config.Params.InitialMaxStreams, wire.MaxStreams)
		w.b = wire.AppendMaxStreams(w.b, st.advertised)
		w.log.add(record{kind: recMaxStreams, id: st.advertised})
	}
	for st.control.len() > 0 && w.room() >= maxStreamControl {
		s := *st.control.at(0)
		if s.due == 0 {
			s.inControl = false
			st.control.popFront(1)
			continue
		}
		switch due := s.due & -s.due; due {
		case dueMax:
			if s.final == noOffset {
				if limit := min(s.consumed+st.window(), wire.MaxVarint); limit > s.advertised {
					s.advertised, s.peerBlocked = limit, false
				}
				st.setAdvertNext(s)
				w.b = wire.AppendMaxChannel(w.b, s.id, s.advertised)
				w.log.add(streamRecord(recStreamMax, s.id, 0, s.advertised))
			}
			s.due &^= due
		case dueBlocked:
			if s.waits == waitCredit {
				s.blockedAt = s.limit + 1
				w.b = wire.AppendChannelBlocked(w.b, s.id, s.limit)
				w.log.add(streamRecord(recStreamBlocked, s.id, 0, s.limit))
			}
			s.due &^= due
		case dueReset:
			s.reset = isSent
			w.b = wire.AppendResetStream(w.b, s.id, s.sendCode, s.sent)
			w.log.add(streamRecord(recStreamReset, s.id, 0, 0))
			s.due &^= due
		default:
			w.b = wire.AppendStopSending(w.b, s.id, s.stopCode)
			w.log.add(streamRecord(recStreamStop, s.id, 0, 0))
			s.due &^= due
		}
	}
}

// streamRecord is the record of a frame about a stream, whose ordinal takes the place of a channel and an offset.
func streamRecord(kind recordKind, id uint64, n uint32, value uint64) record {
	id -= wire.MinStream
	return record{kind: kind, channel: uint16(id >> 32), off: uint32(id), n: n, id: value}
}

// recordFin marks the record of a STREAM frame with FIN; its other bits are the length of the data.
const recordFin = 1 << 31

// appendData appends STREAM frames, no more than about budget bytes. Streams take turns: one whose turn it is fills what is left of the
// packet.
func (st *streams) appendData(w *packetWriter, budget int) {
	start := len(w.b)
	for st.data.len() > 0 {
		left := min(budget-(len(w.b)-start), w.room())
		if left <= 0 {
			return
		}
		s := *st.data.at(0)
		if !st.sendable(s) {
			s.inData = false
			st.data.popFront(1)
			st.settle(s)
			continue
		}
		if !st.appendFrame(s, w, left) {
			return
		}
		s.inData = false
		st.data.popFront(1)
		st.settle(s) // at the end of the queue, if it has more
	}
}

// appendFrame appends a STREAM frame of a stream that has one to send: what was lost first. It reports whether one fits.
func (st *streams) appendFrame(s *stream, w *packetWriter, budget int) bool {
	from, to := s.sent, max(s.sent, min(s.end, s.limit, s.sent+st.room()))
	if len(s.lost) > 0 {
		from, to = s.base+uint64(s.lost[0].from), s.base+uint64(s.lost[0].to)
	}
	n := int(min(to-from, maxStreamBytes))
	room := w.room() - wire.StreamOverhead(s.id, from, n)
	if room < min(n, streamRoom) {
		return false
	}
	n = min(n, room, max(budget, streamRoom))
	fin := s.finAt == from+uint64(n)
	w.b = wire.AppendStreamHeader(w.b, s.id, from, n, fin)
	st.copy(s, w, from, n)
	rec := streamRecord(recStream, s.id, uint32(n), from)
	if fin {
		rec.n |= recordFin
		s.fin = max(s.fin, isSent)
	}
	w.log.add(rec)
	s.announce = false
	if len(s.lost) > 0 {
		mark.Hit(markStreamLost)
		st.m.sh.Stats.StreamBytesRetransmitted += uint64(n)
		s.lost.sub(uint32(from-s.base), uint32(from-s.base)+uint32(n))
		return true
	}
	s.sent += uint64(n)
	st.m.reserved += uint64(n)
	st.m.sh.Stats.StreamBytesSent += uint64(n)
	return true
}

// copy appends n bytes of a stream, which the queue holds.
func (st *streams) copy(s *stream, w *packetWriter, from uint64, n int) {
	if n == 0 {
		return
	}
	st.m.sh.copied(n)
	lo, hi := 0, s.queue.len()-1
	for lo < hi { // the last segment that starts at or below from
		mid := (lo + hi + 1) / 2
		if s.queue.at(mid).start <= from {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	for ; n > 0; lo++ {
		g := s.queue.at(lo)
		b := st.bytes(g)[from-g.start:]
		b = b[:min(len(b), n)]
		w.b = append(w.b, b...)
		from += uint64(len(b))
		n -= len(b)
	}
}

// bytes returns the payload of a segment.
func (st *streams) bytes(g *segment) []byte {
	switch {
	case g.size == 0:
		return nil
	case g.flags&entryPooled != 0:
		return st.m.sh.Pool.Bytes(mem.Ref(g.where))[:g.size]
	}
	return st.m.sh.Chunks.Bytes(mem.ChunkID(g.where))[g.off : g.off+g.size]
}

// drop releases the payload of a segment and returns what it took of the send buffer.
func (st *streams) drop(g *segment) int {
	if g.flags&entryPooled != 0 {
		st.m.sh.Pool.Put(mem.Ref(g.where))
	} else {
		st.m.sh.Chunks.Release(mem.ChunkID(g.where))
	}
	return int(g.size) + messageOverhead
}

// dropQueue releases everything that waits to be sent or acknowledged.
func (st *streams) dropQueue(s *stream) (freed int) {
	for i := range s.queue.len() {
		freed += st.drop(s.queue.at(i))
	}
	s.queue.reset()
	s.acked, s.lost = nil, nil
	return freed
}

// resetSend gives up the sending half.
func (st *streams) resetSend(s *stream, code uint64) {
	if s.reset != notAsked || s.arrived() {
		return
	}
	st.writable(s, st.dropQueue(s))
	s.base, s.end = s.sent, s.sent
	s.reset, s.sendCode, s.announce = isDue, code, false
	st.m.sh.Stats.StreamsReset++
	st.want(s, dueReset)
}

// writable tells the application that n bytes of the stream's send buffer are free again.
func (st *streams) writable(s *stream, n int) {
	if n > 0 {
		st.m.event(Event{Kind: EventStreamWritable, ID: s.id, N: uint32(n)})
	}
}

// recorded returns the stream that a record is about, nil if it is over.
func (st *streams) recorded(r *record) *stream {
	return st.index[wire.MinStream+(uint64(r.channel)<<32|uint64(r.off))]
}

// onAcked takes that a frame arrived.
func (st *streams) onAcked(r *record) {
	if r.kind == recMaxStreams {
		return
	}
	s := st.recorded(r)
	if s == nil {
		return
	}
	s.announced = true
	switch r.kind {
	case recStream:
		st.ackedData(s, r)
	case recStreamReset:
		s.reset = isAcked
	default:
		return
	}
	st.settle(s)
	st.retire(s)
}

func (st *streams) ackedData(s *stream, r *record) {
	if s.reset != notAsked {
		return
	}
	if r.n&recordFin != 0 {
		s.fin = isAcked
	}
	from, to := max(r.id, s.base), r.id+uint64(r.n&^recordFin)
	if to > from {
		a, b := uint32(from-s.base), uint32(to-s.base)
		s.acked.add(a, b)
		s.lost.sub(a, b)
	}
	freed, passed := 0, uint64(0)
	for s.queue.len() > 0 {
		g := s.queue.at(0)
		if at := uint32(g.start - s.base); !s.acked.has(at, at+g.size) || g.start+uint64(g.size) > s.sent {
			break
		}
		passed += uint64(g.size)
		freed += st.drop(g)
		s.queue.popFront(1)
	}
	if passed > 0 {
		s.base += passed
		s.acked.shift(uint32(passed))
		s.lost.shift(uint32(passed))
	}
	st.writable(s, freed)
}

// onLost has what a frame carried repeated where it still matters.
func (st *streams) onLost(r *record) {
	if r.kind == recMaxStreams {
		st.maxDue = st.maxDue || r.id == st.advertised
		st.sync()
		return
	}
	s := st.recorded(r)
	if s == nil {
		return
	}
	switch r.kind {
	case recStream:
		st.lostData(s, r)
	case recStreamReset:
		if s.reset == isSent {
			st.want(s, dueReset)
		}
	case recStreamStop:
		if !s.over {
			st.want(s, dueStop)
		}
	case recStreamMax:
		if r.id == s.advertised {
			st.want(s, dueMax)
		}
	case recStreamBlocked:
		if r.id == s.limit {
			s.blockedAt = 0 // it may wait to be announced again at the moment, and stalls after that
			if s.waits == waitCredit {
				st.want(s, dueBlocked)
			}
		}
	}
}

func (st *streams) lostData(s *stream, r *record) {
	if s.reset != notAsked {
		return
	}
	from, to := max(r.id, s.base), r.id+uint64(r.n&^recordFin)
	for from < to && !mutant.On(mutant.StreamForgotten) {
		a, b := s.acked.gap(uint32(from-s.base), uint32(to-s.base))
		if a >= b {
			break
		}
		s.lost.add(a, b)
		from = s.base + uint64(b)
	}
	if r.n&recordFin != 0 && s.fin == isSent && !mutant.On(mutant.FinForgotten) {
		s.fin = isDue
	}
	if r.n == 0 && !s.announced {
		s.announce = true
	}
	st.settle(s)
}

// shift has the set counted from k.
func (s *rangeset) shift(k uint32) {
	r := (*s)[:0]
	for _, p := range *s {
		if p.to > k {
			r = append(r, span{max(p.from, k) - k, p.to - k})
		}
	}
	*s = r
}
