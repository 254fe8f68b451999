package proto

import (
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
)

// onAcked takes that a frame arrived. A frame may be acknowledged more than once, also after it was declared lost.
func (m *messages) onAcked(_ mono.Time, r *record) {
	switch r.kind {
	case recMessages:
		if ch := m.sender(r.channel); ch != nil {
			m.ackedRun(ch, r)
		}
	case recFragment:
		if ch := m.sender(r.channel); ch != nil {
			m.ackedFragment(ch, r)
		}
	case recSkip:
		if ch := m.sender(r.channel); ch != nil {
			m.ackedSkip(ch, r.id)
		}
	}
	// MAX_DATA and its like need no answer: only their newest value is ever repeated.
}

// onLost has a frame's information repeated where it still matters. It may be called for a packet that is not lost,
// and more than once.
func (m *messages) onLost(_ mono.Time, r *record) {
	if mutant.On(mutant.LimitForgotten) && (r.kind == recMaxData || r.kind == recMaxChannel) {
		return
	}
	switch r.kind {
	case recMaxData:
		if r.id == m.advertised {
			m.wantAll(dueMax)
		}
		return
	case recBlocked:
		if r.id == m.limit {
			m.blockedAt = 0 // if nothing is stalled now, what stalls next at this limit has to say so
			m.unblamed()
		}
		return
	}
	ch := m.sender(r.channel)
	if ch == nil {
		return
	}
	switch r.kind {
	case recMessages:
		m.lostRun(ch, r)
	case recFragment:
		m.lostFragment(ch, r)
	case recSkip:
		if r.id+1 == ch.skipSent && r.id >= ch.base && ch.skip > 0 {
			ch.skipSent = 0
			m.want(ch, dueSkip)
		}
	case recMaxChannel:
		if r.id == ch.advertised {
			m.want(ch, dueMax)
		}
	case recChannelBlocked:
		if r.id == ch.limit {
			ch.blockedAt = 0 // as above
			if ch.waits == waitCredit {
				m.want(ch, dueBlocked)
			}
		}
	}
}

// unblamed has BLOCKED repeated if the connection's credit still stalls a channel.
func (m *messages) unblamed() {
	for i := range m.chans {
		if m.chans[i].waits == waitData {
			m.wantAll(dueBlocked)
			return
		}
	}
}

// sender returns the channel that a record names, or nil after the connection gave its memory back.
func (m *messages) sender(channel uint16) *channel {
	if int(m.hot) < len(m.chans) {
		if ch := &m.chans[m.hot]; uint16(ch.number) == channel {
			return ch
		}
	}
	return m.existing(uint8(channel))
}

// ackedRun resolves the messages of a frame.
func (m *messages) ackedRun(ch *channel, r *record) {
	freed := 0
	if r.id == ch.base && ch.settled == 0 && !ch.hasExtras && ch.mode.Reliable() {
		freed = m.ackedFront(ch, int(r.n))
	}
	lo, hi := clip(ch, r)
	for i := lo; i < hi; i++ {
		freed += m.finish(ch, i, entryAcked, Delivered)
	}
	m.writable(freed)
	if lo <= int(ch.settled) {
		m.advance(ch)
	}
}

// ackedFront forgets up to n acknowledged messages at the front of the queue, as long as they are ordinary ones: sent once, in
// a chunk, without extras. Releasing them is nearly all the work that an acknowledgment makes, so it is done in one pass.
func (m *messages) ackedFront(ch *channel, n int) (freed int) {
	q := &ch.queue
	k, released := 0, 0
	chunk := uint32(0) // that messages from released on lie in
	for k < n {
		e := q.at(k)
		if e.state != entrySent || e.flags != entryReserved {
			break
		}
		if e.where != chunk {
			m.releaseAll(chunk, k-released)
			chunk, released = e.where, k
		}
		freed += int(e.size)
		k++
	}
	m.releaseAll(chunk, k-released)
	freed += k * messageOverhead
	ch.frontCost += uint64(freed)
	ch.base += uint64(k)
	ch.sent -= uint32(k)
	q.popFront(k)
	m.buffered -= freed
	m.unresolved -= k
	m.shrinkWindow(k)
	return freed
}

// releaseAll drops n references to a chunk.
func (m *messages) releaseAll(chunk uint32, n int) {
	if !mutant.On(mutant.ChunkLeak) {
		m.sh.Chunks.ReleaseAll(mem.ChunkID(chunk), n)
	}
}

// clip returns which elements of the queue a record's messages are.
func clip(ch *channel, r *record) (lo, hi int) {
	first, end := r.id, r.id+uint64(r.n)
	if end <= ch.base {
		return 0, 0
	}
	return int(max(first, ch.base) - ch.base), int(end - ch.base)
}

// ackedFragment notes a piece of a message as delivered.
func (m *messages) ackedFragment(ch *channel, r *record) {
	if r.id < ch.base {
		return
	}
	i := int(r.id - ch.base)
	e := ch.queue.at(i)
	if e.state >= entryAcked {
		return
	}
	if e.flags&entryCut == 0 {
		return
	}
	f := &m.frags[e.where]
	f.acked.add(r.off, r.off+r.n)
	if len(f.lost) > 0 {
		f.lost.sub(r.off, r.off+r.n)
		if len(f.lost) == 0 {
			m.unrepeat(ch, e)
		}
	}
	if f.acked.has(0, e.size) {
		m.writable(m.finish(ch, i, entryAcked, Delivered))
		m.advance(ch)
	}
}

// ackedSkip forgets given-up messages that the peer knows about.
func (m *messages) ackedSkip(ch *channel, upTo uint64) {
	if upTo < ch.base {
		return
	}
	m.pop(ch, int(upTo+1-ch.base))
	if ch.skip == 0 {
		m.unwant(ch, dueSkip)
	}
	m.advance(ch)
}

// lostRun has the messages of a frame repeated.
func (m *messages) lostRun(ch *channel, r *record) {
	if mutant.On(mutant.LossForgotten) {
		return
	}
	lo, hi := clip(ch, r)
	freed, resolved := 0, false
	for i := lo; i < hi; i++ {
		e := ch.queue.at(i)
		if e.state != entrySent {
			continue
		}
		switch {
		case !ch.mode.Reliable():
			freed += m.finish(ch, i, entryAbandoned, Unknown)
			resolved = true
		case e.flags&entrySuperseded != 0:
			m.supersede(ch, i)
			resolved = true
		case e.flags&entryCut == 0:
			m.repeat(ch, i)
		default: // sent whole at first, in fragments since: what is not acknowledged is repeated
			m.lostPiece(ch, i, 0, e.size)
		}
	}
	if resolved {
		m.writable(freed)
		m.advance(ch)
	}
}

// lostFragment has a piece of a message repeated.
func (m *messages) lostFragment(ch *channel, r *record) {
	if r.id < ch.base {
		return
	}
	i := int(r.id - ch.base)
	e := ch.queue.at(i)
	if e.state >= entryAcked {
		return
	}
	switch {
	case !ch.mode.Reliable(): // without this piece the rest is of no use
		m.writable(m.finish(ch, i, entryAbandoned, Unknown))
		m.advance(ch)
	case e.flags&entrySuperseded != 0:
		m.supersede(ch, i)
		m.advance(ch)
	case e.flags&entryCut != 0:
		m.lostPiece(ch, i, r.off, r.off+r.n)
	}
}

// lostPiece has what is not acknowledged of bytes [from, to) of message i repeated.
func (m *messages) lostPiece(ch *channel, i int, from, to uint32) {
	f := &m.frags[ch.queue.at(i).where]
	for from < to {
		a, b := f.acked.gap(from, to)
		if a >= b {
			break
		}
		f.lost.add(a, b)
		from = b
	}
	if len(f.lost) > 0 {
		m.repeat(ch, i)
	}
}
