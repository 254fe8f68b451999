package proto

import (
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// maxPackedMessages bounds the messages of a channel that a record may hold.
const maxPackedMessages = 1 << 24

// appendPacked appends all channels to b, with the messages they hold. What was counted from them is counted again when
// they are unpacked.
func (m *messages) appendPacked(b []byte, now mono.Time) []byte {
	k := packer{b: b, ref: now}
	m.pack(&k)
	return k.b
}

// parsePacked takes what appendPacked wrote into m, which init has prepared, and returns its length, or 0 if it is
// malformed or the pool has no room for it; release is to follow then.
func (m *messages) parsePacked(sh *Shared, b []byte, now mono.Time) int {
	m.sh = sh
	k := packer{b: b, ref: now, reading: true}
	m.pack(&k)
	if k.bad {
		return 0
	}
	return k.n
}

// pack walks over everything. Numbers that only grow are kept as distances from each other, which stay small.
func (m *messages) pack(k *packer) {
	expires := m.nextExpiry != mono.Never
	loose := m.loose.n > 0
	listed := len(m.peerListed) > 0
	k.flags(&expires, &loose, &listed, &m.peerBlocked)
	pack(k, &m.due)
	packNumber(k, &m.reserved)
	packAhead(k, &m.limit, m.reserved)
	pack(k, &m.blockedAt)
	packNumber(k, &m.peerChannel)
	packInt(k, &m.maxMessage)
	packInt(k, &m.fullPacket)
	packNumber(k, &m.counted)
	packBehind(k, &m.consumedTotal, m.counted)
	packAhead(k, &m.advertised, m.consumedTotal)
	if expires {
		k.time(&m.nextExpiry)
	}
	if listed {
		for i := range packSlice(k, &m.peerListed, numChannels) {
			pack(k, &m.peerListed[i].Channel)
			packNumber(k, &m.peerListed[i].InitialMax)
		}
	}
	n := k.length(len(m.chans), numChannels)
	for i := range n {
		if k.reading && !m.unpackNumber(k) {
			return
		}
		if !k.reading {
			pack(k, &m.chans[i].number)
		}
		m.packChannel(k, &m.chans[i])
		if k.bad {
			return
		}
	}
	m.packLevels(k)
	if loose {
		m.packLoose(k)
	}
	if k.reading {
		m.setAdvertNext()
		if m.due != 0 {
			m.ready++
		}
	}
}

// packNumber packs a number that frames carry.
func packNumber(k *packer, v *uint64) {
	pack(k, v)
	k.bad = k.bad || *v > wire.MaxVarint
}

// packAhead packs a number that is not below another.
func packAhead(k *packer, v *uint64, from uint64) {
	d := *v - from
	packNumber(k, &d)
	*v = from + d
	k.bad = k.bad || *v > wire.MaxVarint
}

// packBehind packs a number that is not above another.
func packBehind(k *packer, v *uint64, from uint64) {
	d := from - *v
	pack(k, &d)
	*v = from - d
	k.bad = k.bad || d > from
}

// unpackNumber reads the number of the next channel and opens it.
func (m *messages) unpackNumber(k *packer) bool {
	var number uint8
	pack(k, &number)
	if k.bad || m.existing(number) != nil {
		k.bad = true
		return false
	}
	m.open(number)
	return true
}

// packLevels packs whose turn it is.
func (m *messages) packLevels(k *packer) {
	for i := range m.levels {
		l := &m.levels[i]
		fair := l.turn != 0 || l.owed != 0
		k.flags(&fair)
		if fair {
			pack(k, &l.turn)
			owed := int(l.owed)
			packInt(k, &owed)
			l.owed = int32(owed)
			k.bad = k.bad || l.turn >= numChannels
		}
	}
}

// packChannel packs one channel. Its parts are there only if they differ from those of an unused one.
func (m *messages) packChannel(k *packer, ch *channel) {
	out := ch.base != 0 || ch.queue.len() > 0 || ch.limit != m.peerLimit(ch.number) || ch.blockedAt != 0
	queue := ch.queue.len() > 0
	in := ch.next != 0 || ch.counted != 0 || ch.advertised != m.sh.Config.Params.Channel(ch.number).InitialMax
	window := ch.window.len() > 0
	keys := ch.latest != nil && ch.latest.in.n > 0
	sched := ch.deficit != 0 || ch.armed != 0 || ch.due != 0 || ch.waits != 0
	even := ch.frontCost == ch.reserved && ch.blockedAt == 0 && ch.consumed == ch.counted
	k.flags(&out, &queue, &in, &window, &keys, &sched, &ch.peerBlocked, &even)
	if out {
		packNumber(k, &ch.base)
		k.bad = k.bad || ch.base > wire.MaxVarint-maxPackedMessages // no sender gets there
		packNumber(k, &ch.reserved)
		packAhead(k, &ch.limit, ch.reserved)
		if even {
			ch.frontCost = ch.reserved
		} else {
			packBehind(k, &ch.frontCost, ch.reserved)
			pack(k, &ch.blockedAt)
		}
	}
	armed := ch.armed
	due := ch.due
	if sched {
		deficit := int(ch.deficit)
		packInt(k, &deficit)
		pack(k, &armed)
		pack(k, &due)
		pack(k, &ch.waits)
		ch.deficit = int32(deficit)
	}
	if queue {
		m.packQueue(k, ch)
	}
	if in {
		packNumber(k, &ch.next)
		packNumber(k, &ch.counted)
		if even {
			ch.consumed = ch.counted
		} else {
			packBehind(k, &ch.consumed, ch.counted)
		}
		packAhead(k, &ch.advertised, ch.consumed)
	}
	if window {
		m.packWindow(k, ch)
	}
	if keys {
		packVersions(k, ch, m.sh.HashKey)
	}
	if k.reading && !k.bad {
		m.setChannelAdvertNext(ch)
		deficit := ch.deficit
		m.arm(ch, armedFresh, armed&armedFresh != 0 && int(ch.sent) < ch.queue.len())
		ch.deficit = deficit
		if due &= dueMax | dueBlocked | dueSkip; due != 0 {
			m.want(ch, due)
		}
	}
}

// packQueue packs the messages on their way out.
func (m *messages) packQueue(k *packer, ch *channel) {
	pack(k, &ch.sent)
	pack(k, &ch.settled)
	pack(k, &ch.skip)
	pack(k, &ch.skipSent)
	repeatFrom := ch.repeatFrom
	if !ch.mode.Reliable() { // of a reliable channel it follows from the messages that are to be repeated
		pack(k, &repeatFrom)
	}
	k.flags(&ch.hasExtras, &ch.expires)
	n := packRing(k, &ch.queue, maxPackedMessages)
	if k.reading {
		k.bad = k.bad || ch.mode == Latest && !ch.hasExtras
		for i := range n {
			ch.queue.at(i).flags = entryDropped // until its payload is read
			if ch.hasExtras {
				ch.extras.push(extra{})
			}
		}
	}
	for i := range n {
		if k.bad {
			break
		}
		m.packMessage(k, ch, i)
	}
	if !k.reading {
		return
	}
	if int(ch.sent) > n || int(ch.settled) > n || ch.skip > ch.settled {
		k.bad = true
		ch.sent, ch.settled, ch.skip = 0, 0, 0
	}
	if !ch.mode.Reliable() {
		ch.repeatFrom = repeatFrom
		return
	}
	m.unresolved += n
	m.windowed += int(ch.sent)
}

// packMessage packs message i of the queue. A payload that is still needed comes back in a block of the pool.
func (m *messages) packMessage(k *packer, ch *channel, i int) {
	e := ch.queue.at(i)
	state, flags := e.state, e.flags&^entryPooled
	pack(k, &state)
	pack(k, &flags)
	pack(k, &e.size)
	if ch.hasExtras {
		x := ch.extras.at(i)
		packNumber(k, &x.key)
		pack(k, &x.tag)
		k.time(&x.expiry)
	}
	if k.bad || state > entryAbandoned || e.size > maxMessageLimit || flags&entryPooled != 0 ||
		state >= entryAcked && flags&(entryDropped|entryCut|entryRepeat) != entryDropped {
		k.bad = true
		e.flags, e.where = entryDropped, 0
		return
	}
	if k.reading {
		e.state, e.flags = state, flags&^(entryCut|entryRepeat)
		if flags&entryDropped == 0 {
			m.unpackPayload(k, e)
		}
		if flags&entryCut != 0 {
			m.cut(e)
		}
	} else if flags&entryDropped == 0 {
		k.raw(m.payload(e))
	}
	if flags&entryCut != 0 && !k.bad {
		f := &m.frags[e.where]
		pack(k, &f.next)
		k.spans(&f.acked)
		k.spans(&f.lost)
		k.bad = k.bad || f.next > e.size || !f.acked.within(f.next) || !f.lost.within(f.next)
	}
	if k.reading && !k.bad {
		if flags&entryRepeat != 0 {
			m.repeat(ch, i)
		}
		if ch.mode == Latest {
			m.unpackKey(ch, i)
		}
	}
}

// unpackPayload reads a payload into the pool.
func (m *messages) unpackPayload(k *packer, e *queued) {
	b := k.rest()
	if k.bad || len(b) < int(e.size) {
		k.bad = true
		e.flags |= entryDropped
		return
	}
	where, flags, ok := m.keep(b[:e.size])
	if !ok {
		k.bad = true
		e.flags |= entryDropped
		return
	}
	e.where = where
	e.flags |= flags
	k.n += int(e.size)
	m.buffered += e.cost()
}

// unpackKey enters message i into the table of keys.
func (m *messages) unpackKey(ch *channel, i int) {
	e := ch.queue.at(i)
	hash, key, id := m.sh.HashKey, ch.extras.at(i).key, ch.base+uint64(i)
	if e.state == entryQueued {
		ch.keys().out.put(hash, key).waiting = id + 1
		return
	}
	if e.flags&entryReserved == 0 {
		return // given up before anything of it was sent
	}
	ch.keys()
	ch.beginKey(hash, key)
	if e.state == entrySent || e.state == entryAcked {
		ch.latest.out.get(hash, key).sent = id + 1
	}
}

// packWindow packs what arrived above the floor.
func (m *messages) packWindow(k *packer, ch *channel) {
	n := packRing(k, &ch.window, int(ch.idWindow()))
	if k.reading {
		m.windows += n
	}
	for i := range n {
		e := ch.window.at(i)
		word := e.word
		pack(k, &word)
		seen := incoming{word: word}
		if k.bad || seen.state() != incomingMissing && seen.cost() < messageOverhead {
			k.bad = true
			return
		}
		switch seen.state() {
		case incomingBuffered:
			m.packBuffered(k, e, int(seen.cost())-messageOverhead)
		case incomingPartial:
			e.ref = m.packReassembly(k, e.ref, ch, ch.next+uint64(i))
			if k.reading && !k.bad {
				m.partials++
			}
		}
		if k.bad {
			return
		}
		e.word = word
		if k.reading {
			ch.windowCost += e.cost()
		}
	}
}

// packBuffered packs a complete message that waits for an older one.
func (m *messages) packBuffered(k *packer, e *incoming, size int) {
	if size == 0 {
		return
	}
	if !k.reading {
		k.raw(m.sh.Pool.Bytes(mem.Ref(e.ref))[:size])
		return
	}
	if size > len(k.rest()) {
		k.bad = true
		return
	}
	ref, block := m.sh.Pool.Get(size)
	if block == nil {
		k.bad = true
		return
	}
	k.raw(block)
	e.ref = uint32(ref)
}

// packReassembly packs the fragments of a message, and returns its index in reasm.
func (m *messages) packReassembly(k *packer, index uint32, ch *channel, id uint64) uint32 {
	r := reassembly{}
	if !k.reading {
		r = m.reasm[index]
	}
	packNumber(k, &r.key)
	pack(k, &r.total)
	k.time(&r.progress)
	k.spans(&r.have)
	if k.reading {
		if k.bad || r.total == 0 || r.total > maxMessageLimit || !r.have.within(r.total) {
			k.bad = true
			return 0
		}
		f := wire.Fragment{Channel: uint64(ch.number), ID: id, Key: r.key, Total: uint64(r.total)}
		i, ok := m.openReassembly(&f)
		if !ok {
			k.bad = true
			return 0
		}
		index = i
		m.reasm[i].progress, m.reasm[i].have = r.progress, r.have
	}
	block := m.sh.Pool.Bytes(m.reasm[index].ref)
	got := uint32(0)
	for _, s := range r.have {
		if s.from >= s.to {
			k.bad = true
			return index
		}
		k.raw(block[s.from:s.to])
		got += s.to - s.from
	}
	m.reasm[index].got = got
	return index
}

// packLoose packs unreliable messages in reassembly, oldest first.
func (m *messages) packLoose(k *packer) {
	l := &m.loose
	k.time(&l.deadline)
	n := k.length(int(l.n), maxLoose)
	for at := range n {
		var number uint8
		var id uint64
		if !k.reading {
			r := &m.reasm[l.index[at]]
			number, id = r.channel, r.id
		}
		pack(k, &number)
		pack(k, &id)
		ch := m.existing(number)
		if k.bad || ch == nil {
			k.bad = true
			return
		}
		index := m.packReassembly(k, l.index[at], ch, id)
		if k.reading && !k.bad {
			l.index[at] = index
			l.bytes += int(m.reasm[index].total)
			l.n++
		}
	}
}

// packVersions packs the newest delivered message of each key.
func packVersions(k *packer, ch *channel, hash uint64) {
	n := k.length(ch.keys().in.n, 2*maxLatestKeys)
	t := &ch.latest.in
	if k.reading {
		for range n {
			var key, version uint64
			pack(k, &key)
			pack(k, &version)
			if k.bad || key > wire.MaxVarint {
				k.bad = true
				return
			}
			*t.put(hash, key) = version
		}
		return
	}
	for i := range t.slots {
		if s := &t.slots[i]; s.key != 0 {
			key := s.key - 1
			pack(k, &key)
			pack(k, &s.value)
		}
	}
}
