package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

var (
	markStreamGap     = mark.Register("proto: stream data out of order")
	markStreamOverlap = mark.Register("proto: stream data overlapped")
)

// handleStreams takes a frame about streams; b begins behind its type. It returns the bytes consumed, or n < 0 and the code
// to close with.
func (c *Conn) handleStreams(typ uint64, b []byte) (n int, code wire.ErrorCode) {
	switch typ {
	case wire.FrameResetStream:
		id, reason, size, n := wire.ParseResetStream(b)
		if n < 0 {
			return n, wire.FrameEncodingError
		}
		return c.handleReset(id, reason, size, n)
	case wire.FrameStopSending:
		id, reason, n := wire.ParseStopSending(b)
		if n < 0 {
			return n, wire.FrameEncodingError
		}
		return c.handleStop(id, reason, n)
	case wire.FrameMaxStreams:
		limit, n := wire.ParseMaxStreams(b)
		if n < 0 {
			return n, wire.FrameEncodingError
		}
		if limit > c.peerStreams {
			c.peerStreams = limit
			c.event(c.StreamLimit())
		}
		return n, wire.NoError
	}
	id, offset, data, fin, n := wire.ParseStream(byte(typ), b)
	if n < 0 {
		return n, wire.FrameEncodingError
	}
	s, code := c.named(id)
	if s != nil {
		code = c.streams.receive(s, offset, data, fin)
	}
	if code != wire.NoError {
		return -1, code
	}
	return n, code
}

// handleLimit takes a MAX_CHANNEL or CHANNEL_BLOCKED frame about a stream.
func (c *Conn) handleLimit(typ, id, limit uint64) wire.ErrorCode {
	s, code := c.named(id)
	if s == nil {
		return code
	}
	st := c.streams
	if typ == wire.FrameMaxChannel {
		if limit > s.limit {
			s.limit = limit
			st.settle(s)
		}
		return code
	}
	if limit < s.advertised {
		return code // a higher one is on its way
	}
	s.peerBlocked = true
	st.setAdvertNext(s)
	if s.consumed+st.window() > s.advertised {
		st.want(s, dueMax)
	}
	return code
}

// take counts credit that the peer has taken up to an offset.
func (st *streams) take(s *stream, end uint64) wire.ErrorCode {
	if end <= s.highest {
		return wire.NoError
	}
	m := st.m
	m.counted += end - s.highest
	s.highest = end
	if end > s.advertised || m.counted > m.advertised {
		return wire.FlowControlError
	}
	return wire.NoError
}

// receive takes the data of a STREAM frame.
func (st *streams) receive(s *stream, offset uint64, data []byte, fin bool) wire.ErrorCode {
	end := offset + uint64(len(data))
	if s.final != noOffset && (end > s.final || fin && end != s.final) || fin && end < s.highest {
		return wire.FinalSizeError
	}
	if code := st.take(s, end); code != wire.NoError {
		return code
	}
	if fin {
		s.final = end
	}
	if s.over {
		return wire.NoError
	}
	switch {
	case end <= s.next: // an empty frame, or one that came before
	case offset > s.next:
		mark.Hit(markStreamGap)
		if code := st.keepData(s, offset, data); code != wire.NoError {
			return code
		}
	default:
		before := s.next
		st.m.event(Event{Kind: EventStreamData, ID: s.id, Payload: data[s.next-offset:]})
		s.next = end
		st.deliver(s)
		st.m.sh.Stats.StreamBytesReceived += s.next - before
	}
	if s.next == s.final {
		s.over = true
		s.due &^= dueStop
		st.m.event(Event{Kind: EventStreamEnd, ID: s.id})
		st.retire(s)
	}
	return wire.NoError
}

// deliver hands on what has become contiguous.
func (st *streams) deliver(s *stream) {
	n := 0
	for ; n < len(s.pieces) && s.pieces[n].from <= s.next; n++ {
		p := &s.pieces[n]
		if p.end() <= s.next {
			st.m.sh.Pool.Put(p.ref)
			continue
		}
		block := st.m.sh.Pool.Bytes(p.ref)
		if mutant.On(mutant.PieceShifted) {
			block = block[1:]
		}
		st.m.event(Event{Kind: EventStreamData, ID: s.id, Ref: p.ref, Payload: block[s.next-p.from : p.n]})
		s.next = p.end()
	}
	if n > 0 {
		s.pieces = s.pieces[:copy(s.pieces, s.pieces[n:])]
	}
}

// keepData keeps what is new of data that came too early.
func (st *streams) keepData(s *stream, from uint64, data []byte) wire.ErrorCode {
	end := from + uint64(len(data))
	i := len(s.pieces)
	for i > 0 && s.pieces[i-1].end() > from {
		i--
	}
	for from < end {
		to := end
		if i < len(s.pieces) && s.pieces[i].from < end {
			to = max(from, s.pieces[i].from)
			mark.Hit(markStreamOverlap)
		}
		if to > from {
			code := wire.NoError
			if i, code = st.keepPiece(s, i, from, data[:to-from]); code != wire.NoError {
				return code
			}
		}
		next := to
		if i < len(s.pieces) && s.pieces[i].from <= to {
			next = max(to, s.pieces[i].end())
			i++
		}
		if next >= end {
			break
		}
		data = data[next-from:]
		from = next
	}
	if uint64(len(s.pieces)) > minPieces+(s.highest-s.next)/pieceBytes {
		return wire.ReassemblyError
	}
	return wire.NoError
}

// keepPiece copies data that nothing overlaps in front of piece i, into the block of the one before if they touch and fit. It returns the
// new number of the piece that was i.
func (st *streams) keepPiece(s *stream, i int, from uint64, data []byte) (int, wire.ErrorCode) {
	pool := st.m.sh.Pool
	if i > 0 {
		p := &s.pieces[i-1]
		if block := pool.Bytes(p.ref); p.end() == from && len(block)-int(p.n) >= len(data) {
			copy(block[p.n:], data)
			st.m.sh.copied(len(data))
			p.n += uint32(len(data))
			return i, wire.NoError
		}
	}
	ref, block := pool.Get(len(data))
	if block == nil {
		st.m.sh.Stats.PoolRefused++
		return i, wire.ServerBusy
	}
	copy(block, data)
	st.m.sh.copied(len(data))
	s.pieces = append(s.pieces, piece{})
	copy(s.pieces[i+1:], s.pieces[i:])
	s.pieces[i] = piece{from: from, n: uint32(len(data)), ref: ref}
	return i + 1, wire.NoError
}

// dropPieces releases what came too early.
func (st *streams) dropPieces(s *stream) {
	for i := range s.pieces {
		st.m.sh.Pool.Put(s.pieces[i].ref)
	}
	s.pieces = nil
}

// handleReset takes that the peer gives up its half of a stream.
func (c *Conn) handleReset(id, reason, size uint64, n int) (int, wire.ErrorCode) {
	s, code := c.named(id)
	if s == nil {
		if code != wire.NoError {
			n = -1
		}
		return n, code
	}
	st := c.streams
	if s.final != noOffset && size != s.final || size < s.highest {
		return -1, wire.FinalSizeError
	}
	if code := st.take(s, size); code != wire.NoError {
		return -1, code
	}
	s.final = size
	if s.over {
		return n, wire.NoError
	}
	s.over = true
	st.m.sh.Stats.StreamsReset++
	s.due &^= dueStop | dueMax
	st.dropPieces(s)
	st.giveBack(size - s.next)
	st.m.event(Event{Kind: EventStreamReset, ID: id, Code: reason})
	st.retire(s)
	return n, wire.NoError
}

// handleStop takes that the peer wants no more of a stream: it is reset with the code that the peer gave (RFC 9000 §3.5).
func (c *Conn) handleStop(id, reason uint64, n int) (int, wire.ErrorCode) {
	s, code := c.named(id)
	if code != wire.NoError {
		return -1, code
	}
	if s == nil || s.reset != notAsked || s.arrived() {
		return n, code
	}
	st := c.streams
	st.resetSend(s, reason)
	st.settle(s)
	st.m.event(Event{Kind: EventStreamStop, ID: id, Code: reason})
	return n, code
}

// window is how much credit a stream keeps open for the peer.
func (st *streams) window() uint64 {
	return max(st.m.sh.Config.Params.InitialMaxChannel, st.m.largestCost())
}

func (st *streams) setAdvertNext(s *stream) {
	s.advertNext = nextAdvert(s.advertised, st.window())
	if s.peerBlocked {
		s.advertNext = 0
	}
}

// giveBack returns credit of the connection to the peer.
func (st *streams) giveBack(n uint64) {
	m := st.m
	m.consumedTotal += n
	if m.consumedTotal >= m.advertNext {
		m.wantAll(dueMax)
	}
}

// consumed says that the application has taken n bytes of a stream, which may be over.
func (st *streams) consumed(s *stream, n uint64) {
	st.giveBack(n)
	if s == nil {
		return
	}
	s.consumed += n
	if s.consumed >= s.advertNext && s.final == noOffset && !s.stopped {
		st.want(s, dueMax)
	}
}
