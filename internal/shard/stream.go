package shard

import (
	"godwit.example/godwit/internal/mailbox"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// MaxStreamWrite is the most that one StreamWrite takes.
const MaxStreamWrite = 16 << 10

// StreamWrite queues bytes of a stream, which it copies; any goroutine may call it, one at a time for each stream. It takes nothing of the
// connection's send buffer: the caller bounds what it has written and was not told of by EventStreamWritable. After WouldBlock an
// EventStreamWritable of no bytes follows.
func (s *Shard) StreamWrite(r Ref, id uint64, payload []byte) Status {
	slot := s.slots.at(r.Slot)
	if slot.word.Load() != uint64(r.Gen)<<32|uint64(slotOpen) {
		return Gone
	}
	n := int64(len(payload) + wire.CreditOverhead)
	if mail := slot.account.Add(n<<accountBits) >> accountBits; mail <= s.mailShare || mail == n {
		i := item{kind: itemStreamWrite, slot: r.Slot, gen: r.Gen, key: id}
		if s.mailbox.Put(i.header(), payload) {
			return Sent
		}
	}
	slot.account.Add(-(n << accountBits))
	s.Do(func(mono.Time) { // by then the mailbox was taken
		if p := s.find(r.Slot, r.Gen); p != nil {
			s.streamEvent(p, r, &proto.Event{Kind: proto.EventStreamWritable, ID: id})
		}
	})
	return WouldBlock
}

// Stream does something else to a stream.
func (s *Shard) Stream(r Ref, cmd proto.StreamCommand) {
	i := item{
		kind: itemStream, slot: r.Slot, gen: r.Gen, key: cmd.ID, tag: cmd.Size, code: cmd.Code,
		channel: uint16(cmd.Ops), count: uint32(cmd.Read),
	}
	if !s.mailbox.Put(i.header(), nil) {
		s.Do(func(now mono.Time) { s.stream(now, &i) })
	}
}

// StreamLimit has App.Stream told, as by an EventStreamLimit, how many streams this end may open.
func (s *Shard) StreamLimit(r Ref) {
	s.Do(func(mono.Time) {
		if p := s.find(r.Slot, r.Gen); p != nil {
			ev := p.conn.StreamLimit()
			s.streamEvent(p, r, &ev)
		}
	})
}

// streamWrite gives bytes of a stream to its connection. What that does not take is given back at once.
func (s *Shard) streamWrite(now mono.Time, i *item, id mem.ChunkID, payload []byte, off uint32) {
	p := s.find(i.slot, i.gen)
	if p == nil {
		return
	}
	slot := i.slot & slotMask
	m := &s.message
	m.Chunk, m.Offset, m.Payload = id, off, payload
	if r := p.conn.WriteStream(i.key, m); r != proto.SendOK {
		s.streamEvent(p, Ref{slot | s.index, p.gen}, &proto.Event{
			Kind: proto.EventStreamWritable, ID: i.key, N: uint32(len(payload) + wire.CreditOverhead),
		})
		if r == proto.SendBlocked { // a stream has no holes
			p.conn.Stream(&proto.StreamCommand{ID: i.key, Ops: proto.StreamReset, Code: uint64(wire.InternalError)})
		}
	}
	if len(s.shared.Events) > 0 {
		s.drain(now, slot, p)
	}
	s.touch(slot, p)
}

func (s *Shard) stream(now mono.Time, i *item) {
	p := s.find(i.slot, i.gen)
	if p == nil {
		return
	}
	slot := i.slot & slotMask
	p.conn.Stream(&proto.StreamCommand{ID: i.key, Size: i.tag, Code: i.code, Read: int(i.count), Ops: proto.StreamOps(i.channel)})
	if len(s.shared.Events) > 0 {
		s.drain(now, slot, p)
	}
	s.touch(slot, p)
}

// streamEvent tells the application about a stream. Bytes that it is done with at once return to the peer as credit.
func (s *Shard) streamEvent(p *peer, r Ref, ev *proto.Event) {
	if p.ended || !p.open {
		return
	}
	s.serving, s.calling = r, true
	done := p.app.Stream(s, r, ev)
	s.calling = false
	if done && ev.Kind == proto.EventStreamData {
		p.conn.Stream(&proto.StreamCommand{ID: ev.ID, Ops: proto.StreamRead, Read: len(ev.Payload)})
	}
}

// a write is put in place as it lies
var _ = [1]struct{}{}[MaxStreamWrite/(mailbox.MaxInPlace+1)]
