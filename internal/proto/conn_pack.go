package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// packVersion is the first byte of a packed connection; another layout gets another number.
const packVersion = 2

// CanPack reports whether the connection may be packed now: between any two calls after the handshake is confirmed
// and before the connection ends.
func (c *Conn) CanPack() bool { return c.state == StateConnected && c.confirmed }

// AtRest reports whether the connection holds nothing but its state: no message, nothing in flight, no stream, no acknowledgment that is due.
// Its record is small then.
func (c *Conn) AtRest() bool {
	return c.CanPack() && c.hs == nil && c.move == nil && c.streams == nil && c.bytesInFlight == 0 && c.app.eliciting == 0 &&
		c.app.recv.unacked == 0 && !c.end.graceful && !c.pingDue && c.msgs.atRest()
}

// Pack appends the whole connection to b, queued and in-flight data included, and consumes it: the connection is
// released and must not seal another packet. Keys are packed by package protect. The record is single-use.
//
// What follows from a record is what would have followed from the connection: the same inputs give the same outputs.
func (c *Conn) Pack(now mono.Time, b []byte) []byte {
	if !c.CanPack() {
		panic("BUG: Pack of a connection that is not confirmed and alive")
	}
	c.app.sendLimit = max(c.app.sendLimit, c.app.next+numberStride)
	k := packer{b: append(b, packVersion), ref: now}
	c.pack(&k)
	k.b = c.packStreams(c.msgs.appendPacked(k.b, now), now)
	c.Release()
	return k.b
}

// Unpack makes c the connection of a record. sh must have the configuration that the record was packed under, now is
// the time that takes the place of Pack's, and slot the number the shard knows it by. It returns the bytes read, 0 if they
// are not a record.
func (c *Conn) Unpack(now mono.Time, sh *Shared, slot uint32, b []byte) int {
	if len(b) == 0 || b[0] != packVersion {
		return 0
	}
	*c = Conn{sh: sh, slot: slot}
	c.msgs.init(sh, slot)
	k := packer{b: b, n: 1, ref: now, reading: true}
	c.pack(&k)
	if !k.bad {
		k.skip(c.msgs.parsePacked(sh, k.rest(), now))
	}
	if !k.bad {
		k.skip(c.parseStreams(k.rest(), now))
	}
	if k.bad {
		c.Release()
		return 0
	}
	c.state = StateConnected
	return k.n
}

// numberStride is how far a record's limit of packet numbers lies ahead.
const numberStride = 1 << 16

// TakeOver is called by an owner other than the one that packed the record, before anything else. The old owner may
// have used any number below the record's limit, so this one starts there: no nonce is used twice. What was in
// flight is repeated, and an ACK of a number jumped over closes the connection.
func (c *Conn) TakeOver(now mono.Time) {
	s := &c.app
	for i := range s.sent.packets.len() {
		p := s.sent.packets.at(i)
		if p.state == packetOutstanding {
			c.leaveFlight(s, p)
			c.repeat(now, s, p)
		}
	}
	s.sent.packets.reset()
	s.sent.records.reset()
	s.gapFrom = s.next
	s.next = max(s.next, s.sendLimit)
	s.sent.base, s.gapEnd = s.next, s.next
	s.sendLimit = s.next + numberStride
	s.lossTime = mono.Never
}

// pack walks over everything but the messages.
func (c *Conn) pack(k *packer) {
	k.flags(&c.client, &c.complete, &c.confirmed, &c.validated, &c.sentSinceRecv, &c.pingDue)
	k.path(&c.path)
	k.id(&c.localID)
	if k.reading {
		k.skip(c.rng.Parse(k.rest()))
		k.skip(c.rtt.Parse(k.rest(), k.ref))
		k.skip(c.cc.Parse(k.rest(), k.ref))
		k.skip(c.pace.Parse(k.rest(), k.ref))
	} else {
		k.b = c.rng.Append(k.b)
		k.b = c.rtt.Append(k.b, k.ref)
		k.b = c.cc.Append(k.b, k.ref)
		k.b = c.pace.Append(k.b, k.ref)
	}
	packInt(k, &c.peerIdle)
	packInt(k, &c.peerAckDelay)
	pack(k, &c.peerAckShift)
	pack(k, &c.peerDatagram)
	packInt(k, &c.bytesInFlight)
	packInt(k, &c.amplify)
	for _, t := range []*mono.Time{&c.lastReceived, &c.lastActive, &c.lastEliciting, &c.silentSince, &c.paceBlocked} {
		k.time(t)
	}
	pack(k, &c.ptoCount)
	pack(k, &c.probes)
	pack(k, &c.skipIn)
	packInt(k, &c.largestNonProbe)
	c.packIDs(k)
	c.ackAsk.pack(k)
	c.ecn.pack(k)
	c.mtu.pack(k)
	c.end.pack(k)
	c.app.pack(k)
	c.packTicket(k)
	c.packMove(k)
}

func (a *askState) pack(k *packer) {
	pack(k, &a.seq)
	pack(k, &a.peerNext)
	pack(k, &a.threshold)
	k.flags(&a.immediate, &a.understood, &a.due)
}

func (e *ecnState) pack(k *packer) {
	pack(k, &e.state)
	for _, v := range []*uint64{&e.sent, &e.counted.ECT0, &e.counted.ECT1, &e.counted.CE} {
		pack(k, v)
	}
}

func (m *mtuState) pack(k *packer) {
	pack(k, &m.size)
	pack(k, &m.ceiling)
	pack(k, &m.probe)
	pack(k, &m.suspect)
	pack(k, &m.tries)
	pack(k, &m.lost)
	k.flags(&m.probeDue)
	k.time(&m.retryAt)
}

func (e *ending) pack(k *packer) {
	k.time(&e.until)
	k.flags(&e.graceful, &e.app, &e.doneDue, &e.due, &e.early)
	pack(k, &e.packets)
	pack(k, &e.frame)
	pack(k, &e.code)
	k.text(&e.reason, maxReason)
}

// packIDs packs the connection IDs of both ends.
func (c *Conn) packIDs(k *packer) {
	p, l := &c.peer, &c.ids
	k.id(&p.current)
	pack(k, &p.seq)
	k.flags(&p.hasReset)
	if p.hasReset {
		k.raw(p.reset[:])
	}
	pack(k, &p.retired)
	for i := range packSlice(k, &p.spare, maxPeerIDs) {
		s := &p.spare[i]
		pack(k, &s.seq)
		k.id(&s.id)
		k.raw(s.reset[:])
	}
	for i := range packSlice(k, &p.retire, maxRetired) {
		pack(k, &p.retire[i].seq)
		k.flags(&p.retire[i].due)
	}
	pack(k, &l.next)
	packInt(k, &l.limit)
	for i := range packSlice(k, &l.issued, maxLocalIDs) {
		s := &l.issued[i]
		pack(k, &s.seq)
		k.id(&s.id)
		k.flags(&s.due)
	}
}

// packSlice packs the length of a slice and returns it; reading, the slice is made.
func packSlice[T any](k *packer, s *[]T, limit int) int {
	n := k.length(len(*s), limit)
	if k.reading {
		*s = nil
		if n > 0 {
			*s = make([]T, n)
		}
	}
	return n
}

// packRing packs the length of a ring and returns it; reading, the ring gets that many zero elements.
func packRing[T any](k *packer, r *ring[T], limit int) int {
	n := k.length(r.len(), limit)
	if k.reading {
		r.reset()
		var zero T
		for range n {
			r.push(zero)
		}
	}
	return n
}

// maxPackedLog bounds the packets and records of a record from outside.
const maxPackedLog = 1 << 20

// pack packs a packet-number space.
func (s *space) pack(k *packer) {
	pack(k, &s.next)
	pack(k, &s.sendLimit)
	pack(k, &s.gapFrom)
	pack(k, &s.gapEnd)
	packInt(k, &s.largestAcked)
	k.time(&s.lossTime)
	k.time(&s.lastEliciting)
	packInt(k, &s.eliciting)
	pack(k, &s.ackOnly)
	pack(k, &s.tagLen)
	k.flags(&s.canRead, &s.canWrite, &s.recv.now)
	r := &s.recv
	packInt(k, &r.largest)
	k.time(&r.largestTime)
	pack(k, &r.unacked)
	pack(k, &r.threshold)
	k.time(&r.deadline)
	for _, v := range []*uint64{&r.ecn.ECT0, &r.ecn.ECT1, &r.ecn.CE} {
		pack(k, v)
	}
	for i := range packSlice(k, &r.ranges, maxReceivedRanges) {
		pack(k, &r.ranges[i].Smallest)
		pack(k, &r.ranges[i].Largest)
	}
	l := &s.sent
	pack(k, &l.base)
	pack(k, &l.recBase)
	for i := range packRing(k, &l.packets, maxPackedLog) {
		p := l.packets.at(i)
		k.time(&p.time)
		pack(k, &p.first)
		pack(k, &p.records)
		pack(k, &p.size)
		pack(k, &p.state)
		pack(k, &p.flags)
	}
	for i := range packRing(k, &l.records, maxPackedLog) {
		r := l.records.at(i)
		pack(k, &r.kind)
		pack(k, &r.channel)
		pack(k, &r.n)
		pack(k, &r.off)
		pack(k, &r.id)
	}
}

// packTicket packs what may be left of the handshake: a session ticket that is not acknowledged.
func (c *Conn) packTicket(k *packer) {
	has := c.hs != nil
	k.flags(&has)
	if !has {
		return
	}
	if k.reading {
		c.hs = &handshake{dropped: [2]bool{true, true}, params: true, havePeer: true, serverValidated: true, helloDone: true}
	}
	h := c.hs
	k.time(&h.deadline)
	k.id(&h.peerSource)
	s := &h.crypto[wire.LevelOneRTT]
	k.bytes(&s.out, maxCryptoBuffer)
	pack(k, &s.next)
	k.spans(&s.resend)
	k.spans(&s.done)
	k.bytes(&s.in, maxCryptoBuffer)
	pack(k, &s.base)
	k.spans(&s.have)
	if k.reading && (int(s.next) > len(s.out) || !s.resend.within(uint32(len(s.out))) || !s.have.within(s.base+uint32(len(s.in)))) {
		k.bad = true
	}
}

// within reports whether every span ends at or below end.
func (s rangeset) within(end uint32) bool { return len(s) == 0 || s[len(s)-1].to <= end }

// packMove packs a pending path change.
func (c *Conn) packMove(k *packer) {
	has := c.move != nil
	k.flags(&has)
	if !has {
		return
	}
	if k.reading {
		c.move = &migration{}
	}
	m := c.move
	k.path(&m.old)
	packInt(k, &m.amplify)
	pack(k, &m.challenge[newPath])
	pack(k, &m.challenge[oldPath])
	pack(k, &m.tries)
	k.time(&m.deadline)
	pack(k, &m.respond)
	k.path(&m.respondTo)
	k.flags(&m.sameHost, &m.due[newPath], &m.due[oldPath], &m.respondDue, &m.validating, &m.oldValidated)
}
