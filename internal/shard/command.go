package shard

import (
	"unsafe"

	"godwit.example/godwit/internal/mailbox"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// item is the mailbox's header as shard and senders see it. It holds no pointers.
type item struct {
	kind    itemKind
	channel uint16
	slot    uint32
	gen     uint32
	count   uint32 // itemConsumed: messages
	key     uint64
	tag     uint64
	ttl     mono.Duration
	code    uint64 // itemClose; itemConsumed: bytes
	group   uint64 // itemGroup and those behind it
	_       [8]byte
}

type itemKind uint8

const (
	itemSend        itemKind = iota
	itemStreamWrite          // key = stream
	itemClose
	itemShutdown
	itemAbort // a close with a transport code
	itemConsumed
	itemPing
	itemGroup // a message for all members of a group; slot and gen name one that is left out
	itemJoin
	itemLeave
	itemDisband
	itemStream // channel = proto.StreamOps, key = stream, tag = size, count = bytes taken
)

// the header must fill the mailbox's exactly
var _ = [1]struct{}{}[unsafe.Sizeof(item{})-mailbox.HeaderLen]

func (i *item) header() *mailbox.Header { return (*mailbox.Header)(unsafe.Pointer(i)) }

func itemOf(h *mailbox.Header) *item { return (*item)(unsafe.Pointer(h)) }

// Most items are messages with neither key nor tag nor TTL. Their headers are two numbers: this one and the generation.
func shortSend(slot uint32, channel uint16) uint64 { return uint64(slot) | uint64(channel)<<32 }

// maxRun is the most messages that a connection is given at once.
const maxRun = 64

// Status is what became of a send.
type Status uint8

// The statuses of a send.
const (
	Sent       Status = iota
	WouldBlock        // no credit, or the mailbox is full; App.Writable follows
	TooLarge          // for the peer: see MaxMessage
	Gone              // the connection is closed, or never was
	NotYet            // the handshake is not complete
)

// Outbound is a message on its way to the shard.
type Outbound struct {
	Payload  []byte
	Key      uint64
	Tag      uint64
	TTL      mono.Duration
	Channel  uint16
	Reliable bool // it is refused when the connection's buffer is full; others push out older ones
}

// Send queues a message of any goroutine. The payload is copied.
func (s *Shard) Send(r Ref, m *Outbound) Status {
	slot := s.slots.at(r.Slot)
	if w := slot.word.Load(); w != uint64(r.Gen)<<32|uint64(slotOpen) {
		if w == uint64(r.Gen)<<32|uint64(slotHandshake) {
			return NotYet
		}
		return Gone
	}
	size := len(m.Payload)
	if size > slot.MaxSend(m.Reliable) {
		return TooLarge
	}
	n := int64(size + wire.CreditOverhead)
	if !slot.reserve(n, m.Reliable, s.sendBuffer, s.mailShare) {
		return s.refuse(slot, r, m, false)
	}
	if m.Key|m.Tag|uint64(m.TTL) == 0 && size <= mailbox.MaxShort {
		if s.mailbox.PutShort(shortSend(r.Slot, m.Channel), r.Gen, m.Payload) {
			if mutant.On(mutant.WakesAlways) {
				s.socket.Wake()
			}
			return Sent
		}
	} else if size > mailbox.MaxInPlace {
		var i item
		i.fill(r, m)
		if s.mailbox.Put(i.header(), m.Payload) {
			return Sent
		}
	} else if h, room := s.mailbox.Begin(size); h != nil {
		itemOf(h).fill(r, m)
		copy(room, m.Payload)
		s.mailbox.Commit(size)
		return Sent
	}
	slot.account.Add(-(n<<accountBits | n))
	return s.refuse(slot, r, m, true)
}

// fill makes i a message to be sent, whatever it was before; what only other kinds have stays.
func (i *item) fill(r Ref, m *Outbound) {
	i.kind, i.channel, i.slot, i.gen = itemSend, m.Channel, r.Slot, r.Gen
	i.key, i.tag, i.ttl = m.Key, m.Tag, m.TTL
}

// reserve takes room for a message in the connection's send buffer and in its share of the mailbox. A message that is larger than either
// may pass alone, and an unreliable one always enters the buffer: the connection then drops its oldest.
func (s *Slot) reserve(n int64, reliable bool, buffer, share int64) bool {
	a := s.account.Add(n<<accountBits | n)
	used, mail := a&accountMask, a>>accountBits
	if reliable && used > buffer && used != n || mail > share && mail != n {
		s.account.Add(-(n<<accountBits | n))
		return false
	}
	return true
}

// refuse notes that the sender waits for room. If the connection holds nothing that will be given back, or it came back between the
// refusal and the note, the shard is asked to look. An unreliable message that finds no room is lost on its way, and counted.
func (s *Shard) refuse(slot *Slot, r Ref, m *Outbound, mailboxFull bool) Status {
	if !m.Reliable {
		s.dropped.Add(1)
		return Sent
	}
	slot.want.Store(1)
	if a := slot.account.Load(); mailboxFull || a&accountMask <= s.sendBuffer/2 {
		s.mu.Lock()
		s.refused = append(s.refused, r)
		s.posted.Store(true)
		s.mu.Unlock()
		s.socket.Wake()
	}
	return WouldBlock
}

// Slot returns what other goroutines may see of a connection.
func (s *Shard) Slot(r Ref) *Slot { return s.slots.at(r.Slot) }

// Close ends a connection at once; Shutdown first waits for acknowledgments. Both come after everything sent before.
func (s *Shard) Close(r Ref, graceful bool, code uint64, reason string) {
	i := item{kind: itemClose, slot: r.Slot, gen: r.Gen, code: code}
	if graceful {
		i.kind = itemShutdown
	}
	s.close(r, &i, reason)
}

// Abort ends a connection at once with a code of the protocol.
func (s *Shard) Abort(r Ref, code uint64, reason string) {
	s.close(r, &item{kind: itemAbort, slot: r.Slot, gen: r.Gen, code: code}, reason)
}

func (s *Shard) close(r Ref, i *item, reason string) {
	s.slots.at(r.Slot).shut(r.Gen)
	if s.mailbox.Put(i.header(), []byte(reason)) {
		return
	}
	late := *i
	s.Do(func(now mono.Time) { s.closeItem(now, late, reason) })
}

func (s *Shard) closeItem(now mono.Time, i item, reason string) {
	p := s.find(i.slot, i.gen)
	if p == nil {
		return
	}
	slot := i.slot & slotMask
	s.handOut(now, slot, p)
	s.leaveAll(slot, p)
	if i.kind == itemShutdown {
		p.conn.Shutdown(now, i.code, reason)
	} else {
		p.conn.Close(now, i.kind == itemClose, i.code, reason)
	}
	s.drain(now, slot, p)
	s.touch(slot, p)
}

// Consumed says that the application is done with messages for which App.Message returned false.
func (s *Shard) Consumed(r Ref, channel uint16, payload, count int) {
	i := item{kind: itemConsumed, channel: channel, slot: r.Slot, gen: r.Gen, count: uint32(count), code: uint64(payload)}
	if !s.mailbox.Put(i.header(), nil) {
		late := i // what a function value holds is on the heap, and i should not be
		s.Do(func(now mono.Time) { s.consumed(now, &late) })
	}
}

func (s *Shard) consumed(now mono.Time, i *item) {
	if p := s.find(i.slot, i.gen); p != nil {
		p.conn.Consumed(now, i.channel, int(i.code)+int(i.count-1)*wire.CreditOverhead)
		s.touch(i.slot&slotMask, p)
	}
}

// Ping asks the peer for a sign of life.
func (s *Shard) Ping(r Ref) {
	i := item{kind: itemPing, slot: r.Slot, gen: r.Gen}
	s.mailbox.Put(i.header(), nil)
}

// commands takes everything out of the mailbox.
func (s *Shard) commands(now mono.Time) {
	s.spares = s.chunks.TakeSpare(s.spares[:0])
	s.bufs = s.mailbox.Swap(s.bufs[:0], s.spares)
	for _, buf := range s.bufs {
		var id mem.ChunkID
		if mailbox.Own(buf) {
			id = s.chunks.AddOwn(buf)
		} else {
			id = s.chunks.Add(buf)
		}
		s.items(now, id, buf)
		s.chunks.Release(id)
	}
}

// items executes the items of one chunk. What they take off a connection's mailbox share is summed up while they are for the
// same one.
func (s *Shard) items(now mono.Time, id mem.ChunkID, buf []byte) {
	last := noSlot
	mail, at := int64(0), 0
	for rest := buf; len(rest) > 0; {
		if mailbox.IsShort(rest) {
			slot, cost, n := s.run(now, id, rest, uint32(at))
			if slot != last {
				s.unmail(last, mail)
				last, mail = slot, 0
			}
			mail += cost
			at += n
			rest = rest[n:]
			continue
		}
		h, payload, off, next := mailbox.Next(rest)
		switch i := itemOf(h); i.kind {
		case itemSend, itemStreamWrite:
			if i.slot != last {
				s.unmail(last, mail)
				last, mail = i.slot, 0
			}
			mail += int64(len(payload) + wire.CreditOverhead)
			if i.kind == itemSend {
				s.send(now, i, id, payload, uint32(at+off))
			} else {
				s.streamWrite(now, i, id, payload, uint32(at+off))
			}
		case itemGroup:
			s.fanOut(now, i, id, payload, uint32(at+off))
		default:
			s.command(now, i, payload)
		}
		at += len(rest) - len(next)
		rest = next
	}
	s.unmail(last, mail)
}

// run gives a connection the messages that a chunk begins with, as many as are for the same channel of it: a handler answers a packet with a
// run of them. It returns what they take of the connection's mailbox share, and of the chunk, in which they lie off bytes behind its start.
func (s *Shard) run(now mono.Time, id mem.ChunkID, buf []byte, off uint32) (slot uint32, cost int64, n int) {
	first, gen, _, _ := mailbox.NextShort(buf)
	count := 0
	for len(buf) > n && count < maxRun && mailbox.IsShort(buf[n:]) {
		head, g, payload, rest := mailbox.NextShort(buf[n:])
		if head != first || g != gen {
			break
		}
		s.pieces[count] = proto.Piece{Offset: off + uint32(n) + mailbox.ShortOffset, Size: uint32(len(payload))}
		count++
		cost += int64(len(payload) + wire.CreditOverhead)
		n = len(buf) - len(rest)
	}
	slot = uint32(first)
	s.sendRun(now, Ref{slot, gen}, uint16(first>>32), id, s.pieces[:count], cost)
	return slot, cost, n
}

// sendRun gives messages of one channel to their connection. What it does not take as it is, send gives to it.
func (s *Shard) sendRun(now mono.Time, r Ref, channel uint16, id mem.ChunkID, run []proto.Piece, cost int64) {
	slot := r.Slot & slotMask
	p := s.find(r.Slot, r.Gen)
	if p == nil {
		s.slots.at(slot).account.Add(-cost)
		return
	}
	s.handOut(now, slot, p) // what was sent before
	taken := p.conn.SendRun(channel, id, run)
	p.held += cost
	if taken < len(run) {
		i := item{channel: channel, slot: r.Slot, gen: r.Gen}
		chunk := s.chunks.Bytes(id)
		for _, piece := range run[taken:] {
			p.held -= int64(piece.Size) + wire.CreditOverhead // send counts it
			s.send(now, &i, id, chunk[piece.Offset:][:piece.Size:piece.Size], piece.Offset)
		}
	}
	s.touch(slot, p)
}

// unmail gives back a connection's share of the mailbox.
func (s *Shard) unmail(slot uint32, n int64) {
	if slot == noSlot {
		return
	}
	slot &= slotMask
	shared := s.slots.at(slot)
	a := shared.account.Add(-n << accountBits)
	if shared.want.Load() != 0 && a&accountMask <= s.sendBuffer/2 {
		if p := s.awake(slot); p != nil {
			s.writable(slot, p, shared)
		}
	}
}

// send gives a message to its connection. Every credit that a sender reserved is given back once: here, by the connection, or
// when the connection is freed.
func (s *Shard) send(now mono.Time, i *item, id mem.ChunkID, payload []byte, off uint32) {
	slot := i.slot & slotMask
	cost := int64(len(payload) + wire.CreditOverhead)
	p := s.find(i.slot, i.gen)
	if p == nil {
		s.slots.at(slot).account.Add(-cost)
		return
	}
	s.handOut(now, slot, p) // what was sent before
	m := &s.message
	m.Channel, m.Key, m.Tag, m.TTL = i.channel, i.key, i.tag, i.ttl
	m.Chunk, m.Offset, m.Payload = id, off, payload
	p.held += cost
	if r := p.conn.Send(now, m); r != proto.SendOK {
		s.counters.SendsFailed++
		s.credit(slot, p, cost)
		if i.tag != 0 && !p.ended {
			s.outcome(p, Ref{slot | s.index, p.gen}, i.tag, proto.Unknown)
		}
	}
	if len(s.shared.Events) > 0 {
		s.drain(now, slot, p) // a message may push out another one
	}
	s.touch(slot, p)
}

// command executes the rarer items.
func (s *Shard) command(now mono.Time, i *item, payload []byte) {
	switch i.kind {
	case itemClose, itemShutdown, itemAbort:
		s.closeItem(now, *i, string(payload))
	case itemConsumed:
		s.consumed(now, i)
	case itemPing:
		if p := s.find(i.slot, i.gen); p != nil {
			p.conn.Ping(now)
			s.touch(i.slot&slotMask, p)
		}
	case itemJoin:
		s.join(now, i)
	case itemLeave:
		s.leave(now, i)
	case itemDisband:
		s.disband(now, i)
	case itemStream:
		s.stream(now, i)
	}
}

// credit returns what a connection no longer holds to its senders. A member keeps a little of it for what its groups will be sent, unless a
// sender waits.
func (s *Shard) credit(slot uint32, p *peer, n int64) {
	shared := s.slots.at(slot)
	keep := int64(0)
	if p.seats != 0 && shared.want.Load() == 0 {
		if p.ahead+n <= 2*s.chargeAhead {
			p.ahead += n
			return
		}
		keep = s.chargeAhead
	}
	n += p.ahead - keep
	p.ahead = keep
	p.held -= n
	a := shared.account.Add(-n)
	if shared.want.Load() != 0 && a&accountMask <= s.sendBuffer/2 {
		s.writable(slot, p, shared)
	}
}

// outcome tells what became of a tagged message.
func (s *Shard) outcome(p *peer, r Ref, tag uint64, o proto.Outcome) {
	s.enter(r, CallOutcome)
	p.app.Outcome(s, r, tag, o)
	s.calling = false
}

// writable tells a refused sender that there is room again, once. All the room there is is then in the account.
func (s *Shard) writable(slot uint32, p *peer, shared *Slot) {
	if p.ahead > 0 {
		shared.account.Add(-p.ahead)
		p.held -= p.ahead
		p.ahead = 0
	}
	if p.open && !p.ended && shared.want.Swap(0) != 0 {
		s.enter(Ref{slot | s.index, p.gen}, CallWritable)
		p.app.Writable(s, s.serving)
		s.calling = false
	}
}

// answerRefused serves senders that were refused for another reason than their connection's buffer.
func (s *Shard) answerRefused(refs []Ref) {
	for _, r := range refs {
		p := s.find(r.Slot, r.Gen)
		if p == nil {
			continue
		}
		slot := r.Slot & slotMask
		if shared := s.slots.at(slot); shared.account.Load()&accountMask <= s.sendBuffer/2 {
			s.writable(slot, p, shared)
		}
	}
}
