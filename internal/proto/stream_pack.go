package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// Bounds of a record from outside.
const (
	maxPackedStreams  = 1 << 20
	maxPackedSegments = 1 << 24
)

// packStreams packs the streams behind the messages, whose counters they add to.
func (c *Conn) packStreams(b []byte, now mono.Time) []byte {
	k := packer{b: b, ref: now}
	c.walkStreams(&k)
	return k.b
}

// parseStreams takes what packStreams wrote and returns its length, or 0 if it is malformed or the pool has no room for it.
func (c *Conn) parseStreams(b []byte, now mono.Time) int {
	k := packer{b: b, ref: now, reading: true}
	c.walkStreams(&k)
	if k.bad {
		return 0
	}
	return k.n
}

// walkStreams walks over everything about streams.
func (c *Conn) walkStreams(k *packer) {
	packNumber(k, &c.peerStreams)
	pack(k, &c.creditKept)
	has := c.streams != nil
	k.flags(&has)
	if !has || k.bad {
		return
	}
	st := c.streamSet()
	k.flags(&st.maxDue)
	owed := int(st.owed)
	packInt(k, &owed)
	st.owed = int32(owed)
	packNumber(k, &st.opened)
	packNumber(k, &st.seen)
	packNumber(k, &st.retired)
	packNumber(k, &st.advertised)
	n := k.length(len(st.list), maxPackedStreams)
	for i := range n {
		var id uint64
		if !k.reading {
			id = st.list[i].id
		}
		packNumber(k, &id)
		if k.bad || k.reading && !st.mayUnpack(id) {
			k.bad = true
			return
		}
		if k.reading {
			st.add(id)
		}
		st.walk(k, st.list[i])
		if k.bad {
			return
		}
	}
	st.packTurns(k, &st.control, func(s *stream) *bool { return &s.inControl })
	st.packTurns(k, &st.data, func(s *stream) *bool { return &s.inData })
	if k.reading {
		st.sync()
	}
}

// mayUnpack reports whether a record may name a stream.
func (st *streams) mayUnpack(id uint64) bool {
	if id < wire.MinStream || id&2 != 0 || st.index[id] != nil {
		return false
	}
	if st.local(id) {
		return ordinal(id) < st.opened
	}
	return ordinal(id) < st.seen
}

// packTurns packs a queue of streams, by their places in the list.
func (st *streams) packTurns(k *packer, q *ring[*stream], in func(*stream) *bool) {
	n := k.length(q.len(), maxPackedStreams)
	for i := range n {
		var at uint32
		if !k.reading {
			at = uint32((*q.at(i)).at)
		}
		pack(k, &at)
		if !k.reading {
			continue
		}
		if k.bad || int(at) >= len(st.list) || *in(st.list[at]) {
			k.bad = true
			return
		}
		*in(st.list[at]) = true
		q.push(st.list[at])
	}
}

// walk walks over one stream.
func (st *streams) walk(k *packer, s *stream) {
	k.flags(&s.peerBlocked, &s.over, &s.stopped, &s.announce, &s.announced, &s.released, &s.holding)
	for _, v := range []*uint64{&s.base, &s.sent, &s.end, &s.limit, &s.sendCode, &s.next, &s.highest, &s.consumed, &s.advertised, &s.stopCode} {
		packNumber(k, v)
	}
	pack(k, &s.blockedAt)
	pack(k, &s.advertNext)
	pack(k, &s.finAt) // these two may be noOffset
	pack(k, &s.final)
	pack(k, &s.fin)
	pack(k, &s.reset)
	pack(k, &s.waits)
	pack(k, &s.due)
	k.spans(&s.acked)
	k.spans(&s.lost)
	if k.bad || s.base > s.sent || s.sent > s.end || s.end-s.base > maxStreamBytes || s.next > s.highest || s.fin > isAcked || s.reset > isAcked ||
		!s.acked.within(uint32(s.sent-s.base)) || !s.lost.within(uint32(s.sent-s.base)) {
		k.bad = true
		return
	}
	if k.reading && s.holding {
		st.m.unresolved++
	}
	st.walkQueue(k, s)
	st.walkPieces(k, s)
}

// walkQueue walks over what was written. A payload comes back in a block of the pool.
func (st *streams) walkQueue(k *packer, s *stream) {
	n := k.length(s.queue.len(), maxPackedSegments)
	at := s.base
	for i := range n {
		var g segment
		if !k.reading {
			g = *s.queue.at(i)
		}
		pack(k, &g.size)
		if k.reading {
			g.start = at
			if k.bad || g.size == 0 || int(g.size) > len(k.rest()) {
				k.bad = true
				return
			}
			ok := false
			if g.where, g.flags, ok = st.m.keep(k.rest()[:g.size]); !ok {
				k.bad = true
				return
			}
			k.n += int(g.size)
			s.queue.push(g)
		} else {
			k.raw(st.bytes(&g))
		}
		at += uint64(g.size)
	}
	k.bad = k.bad || at != s.end
}

// walkPieces walks over what came too early.
func (st *streams) walkPieces(k *packer, s *stream) {
	n := k.length(len(s.pieces), maxPackedSegments)
	at := s.next
	for i := range n {
		var p piece
		if !k.reading {
			p = s.pieces[i]
		}
		packAhead(k, &p.from, at)
		pack(k, &p.n)
		if k.reading {
			if k.bad || p.n == 0 || int(p.n) > len(k.rest()) || p.end() > s.highest {
				k.bad = true
				return
			}
			ref, block := st.m.sh.Pool.Get(int(p.n))
			if block == nil {
				k.bad = true
				return
			}
			p.ref = ref
			s.pieces = append(s.pieces, p)
			k.raw(block[:p.n])
		} else {
			k.raw(st.m.sh.Pool.Bytes(p.ref)[:p.n])
		}
		at = p.end()
	}
}
