package shard

import (
	"encoding/binary"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/wire"
)

// A server's connection that has been idle for Config.Hibernate is packed into a record without pointers outside the Go heap, and has neither a
// peer nor cipher objects. Its slot, its connection IDs and its deadline stay. A command, a timer or an authentic packet unpacks it: to the
// protocol and to the application nothing has happened.
//
// A record is: when it was packed, the socket, the length of the keys and of all, the keys, the connection.
const (
	recordTime   = 0
	recordSocket = 8
	recordKeys   = 12
	recordSize   = 14
	recordHead   = 16

	maxRecord = 2048 // what takes more stays awake
)

// hibernate packs a connection, if it is at rest and nobody holds its peer. It reports whether it did.
func (s *Shard) hibernate(now mono.Time, slot uint32, p *peer) bool {
	if p.app != s.cfg.App || p.ownSock || !p.open || p.ended || p.left || p.dirty || p.hs != nil || p.dial != nil || p.half >= 0 ||
		p.seats != 0 || p.held != 0 || p.keys.HasPrevious() || p.conn.Client() || !p.conn.AtRest() {
		return false
	}
	deadline := p.conn.NextDeadline()
	var head [recordHead]byte
	b := p.keys.Append(append(s.record[:0], head[:]...), true)
	keys := len(b)
	b = p.conn.Pack(now, b)
	s.record = b[:0]
	binary.NativeEndian.PutUint64(b[recordTime:], uint64(now))
	binary.NativeEndian.PutUint32(b[recordSocket:], p.socket)
	binary.NativeEndian.PutUint16(b[recordKeys:], uint16(keys-recordHead))
	binary.NativeEndian.PutUint16(b[recordSize:], uint16(len(b)))
	defer clear(b) // the keys are in it
	var ref mem.Ref
	var block []byte
	if len(b) <= maxRecord {
		ref, block = s.records.Get(len(b))
	}
	if block == nil {
		if p.conn.Unpack(now, &s.shared, slot, b[keys:]) == 0 {
			panic("BUG: shard: a connection that was just packed does not unpack")
		}
		return false
	}
	copy(block, b)
	s.slots.at(slot).record = ref
	if deadline != p.deadline {
		s.wheel.Set(slot, deadline)
	}
	p.keys.Erase()
	s.unseat(slot, p)
	s.hibernating++
	s.counters.Hibernations++
	return true
}

// recordOf returns the record of a slot that hibernates, its keys and the rest; nil if none does.
func (s *Shard) recordOf(slot uint32) (b, keys, conn []byte) {
	ref := s.slots.at(slot).record
	if ref == 0 {
		return nil, nil, nil
	}
	b = s.records.Bytes(ref)
	b = b[:binary.NativeEndian.Uint16(b[recordSize:])]
	end := recordHead + int(binary.NativeEndian.Uint16(b[recordKeys:]))
	return b, b[recordHead:end], b[end:]
}

// wake unpacks the connection of a slot, nil if none hibernates there.
func (s *Shard) wake(slot uint32) *peer {
	_, keys, _ := s.recordOf(slot)
	if keys == nil {
		return nil
	}
	if s.sleeper.Parse(keys) != len(keys) {
		panic("BUG: shard: the keys of a record do not unpack")
	}
	return s.unpack(slot)
}

// unpack gives the connection of a slot that hibernates its peer again, with the keys of sleeper.
func (s *Shard) unpack(slot uint32) *peer {
	b, _, conn := s.recordOf(slot)
	shared := s.slots.at(slot)
	gen, _ := shared.state()
	p := s.seat(slot)
	*p = peer{
		gen: gen, app: s.cfg.App, socket: binary.NativeEndian.Uint32(b[recordSocket:]), half: -1, open: true, proven: true,
		keysDrop: mono.Never, coldAt: s.now.Add(s.coldAfter),
	}
	p.keys, s.sleeper = s.sleeper, protect.Keys{}
	p.packets = p.keys.Packets()
	if p.conn.Unpack(mono.Time(binary.NativeEndian.Uint64(b[recordTime:])), &s.shared, slot, conn) != len(conn) {
		panic("BUG: shard: a record does not unpack")
	}
	s.discard(slot)
	s.counters.Wakes++
	s.touch(slot, p)
	return p
}

// discard gives back the record of a slot.
func (s *Shard) discard(slot uint32) {
	b, _, _ := s.recordOf(slot)
	clear(b)
	shared := s.slots.at(slot)
	s.records.Put(shared.record)
	shared.record = 0
	s.hibernating--
}

// stir takes a packet for a connection that hibernates. Only its keys are unpacked for that: a packet that is not authentic does not wake it,
// and there is a limit to how many of them are tried.
func (s *Shard) stir(now mono.Time, slot uint32, b []byte, pnOff int) {
	_, keys, _ := s.recordOf(slot)
	if keys == nil || !s.limits.forged.any(now) {
		s.counters.WakesShed++
		return
	}
	k := &s.sleeper
	if k.Parse(keys) != len(keys) {
		panic("BUG: shard: the keys of a record do not unpack")
	}
	opened := s.scratch.Open(k, b, pnOff, wire.LevelOneRTT, &s.packet)
	switch opened {
	case protect.OpenOK, protect.OpenReserved, protect.OpenKeyUpdate:
	case protect.OpenDuplicate:
		s.counters.DuplicatePackets++
		k.Erase()
		return
	default:
		s.limits.forged.take(now)
		s.counters.FailedPackets++
		k.Erase()
		return
	}
	p := s.unpack(slot)
	p.conn.HandleDatagram(now, &s.path, len(b))
	s.packet.Size = len(b)
	s.take(now, slot, p, opened, b, pnOff, wire.LevelOneRTT)
	s.drain(now, slot, p)
}
