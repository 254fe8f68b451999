package shard

import (
	"encoding/binary"
	"sync/atomic"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// Slot is what other goroutines may see of a connection: a pointer-free record of atomics at an address that never changes. The
// first cache line is what a send touches.
type Slot struct {
	word    atomic.Uint64 // generation<<32 | state
	account atomic.Int64  // bytes reserved by senders: in all in the low half, in the mailbox in the high half
	maxSend atomic.Uint32 // largest message that the peer accepts and the send buffer holds
	want    atomic.Uint32 // 1: a send was refused and Writable is owed
	tag     atomic.Uint64
	groups  atomic.Int32 // memberships, and those on their way
	link    uint32       // the shard's: slot+1 of the next free slot
	record  mem.Ref      // the shard's: where a hibernated connection is
	_       [20]byte

	seq     atomic.Uint32 // odd while the addresses are written
	endGen  atomic.Uint32 // generation that the closing record belongs to
	remote  [3]atomic.Uint64
	endCode atomic.Uint64
	endInfo atomic.Uint32
	_       [20]byte
}

// States of a slot as senders see them.
const (
	slotFree      uint32 = iota
	slotHandshake        // nothing may be sent
	slotOpen
	slotShut   // this side has closed it; it may still deliver and be delivered to
	slotEnding // over, not yet forgotten
)

// endInfo bits.
const (
	endApp uint32 = 1 << iota
	endRemote
	endIdle
)

const (
	accountBits = 36
	accountMask = 1<<accountBits - 1
)

const slotChunk = 256

// slots is the table of a shard's Slots: chunks that appear as they are needed and stay.
type slots struct {
	chunks []atomic.Pointer[[slotChunk]Slot]
}

func newSlots(limit int) slots {
	return slots{chunks: make([]atomic.Pointer[[slotChunk]Slot], (limit+slotChunk-1)/slotChunk)}
}

// at returns a slot that exists: one whose number came from a Ref.
func (t *slots) at(slot uint32) *Slot {
	return &t.chunks[(slot&slotMask)/slotChunk].Load()[slot%slotChunk]
}

// add makes sure that the slot exists. Only the shard calls it.
func (t *slots) add(slot uint32) {
	if c := &t.chunks[slot/slotChunk]; c.Load() == nil {
		c.Store(new([slotChunk]Slot))
	}
}

// state returns the generation and state.
func (s *Slot) state() (gen, state uint32) {
	w := s.word.Load()
	return uint32(w >> 32), uint32(w)
}

func (s *Slot) setState(gen, state uint32) { s.word.Store(uint64(gen)<<32 | uint64(state)) }

// setRemote publishes the peer's address.
func (s *Slot) setRemote(a wire.Addr) {
	s.seq.Add(1)
	for i := range s.remote {
		s.remote[i].Store(binary.NativeEndian.Uint64(a[8*i:]))
	}
	s.seq.Add(1)
}

// getRemote returns the peer's address.
func (s *Slot) getRemote() (a wire.Addr) {
	for {
		n := s.seq.Load()
		for i := range s.remote {
			binary.NativeEndian.PutUint64(a[8*i:], s.remote[i].Load())
		}
		if n&1 == 0 && s.seq.Load() == n {
			return a
		}
	}
}

// MaxSend returns the largest message that may be sent on a channel of a reliable or an unreliable mode.
func (s *Slot) MaxSend(reliable bool) int {
	n := int(s.maxSend.Load())
	if !reliable {
		n = min(n, proto.MaxUnreliable)
	}
	return n
}

// State returns the state of the connection of that generation; one that was forgotten is free.
func (s *Slot) State(gen uint32) uint32 {
	if g, state := s.state(); g == gen {
		return state
	}
	return slotFree
}

// Tag returns the application's number on the connection of that generation.
func (s *Slot) Tag(gen uint32) uint64 {
	tag := s.tag.Load()
	if g, _ := s.state(); g != gen {
		return 0
	}
	return tag
}

// SetTag stores the application's number. A store that races with the slot's next use may land there, which is why a new connection's tag
// is cleared before Open, and the application is told about no other use of the slot before.
func (s *Slot) SetTag(gen uint32, tag uint64) {
	if g, state := s.state(); g == gen && state != slotFree {
		s.tag.Store(tag)
	}
}

// Remote returns the peer's address.
func (s *Slot) Remote(gen uint32) (a wire.Addr, ok bool) {
	a = s.getRemote()
	g, state := s.state()
	return a, g == gen && state != slotFree && state != slotHandshake
}

// End returns how the connection of that generation ended, if the slot remembers: it remembers the last one.
func (s *Slot) End(gen uint32) (c Closed, ok bool) {
	before := s.endGen.Load()
	info, code := s.endInfo.Load(), s.endCode.Load()
	if before != gen || s.endGen.Load() != gen {
		return c, false
	}
	return Closed{Code: code, App: info&endApp != 0, Remote: info&endRemote != 0, Idle: info&endIdle != 0}, true
}

// setEnd records how the connection of that generation ended.
func (s *Slot) setEnd(gen uint32, c *Closed) {
	var info uint32
	if c.App {
		info |= endApp
	}
	if c.Remote {
		info |= endRemote
	}
	if c.Idle {
		info |= endIdle
	}
	s.endGen.Store(0) // readers that overlap find no record
	s.endCode.Store(c.Code)
	s.endInfo.Store(info)
	s.endGen.Store(gen)
}

// shut ends sending on an open connection, so that a send after Close fails at once. It reports whether the connection was open.
func (s *Slot) shut(gen uint32) bool {
	open := uint64(gen)<<32 | uint64(slotOpen)
	return s.word.CompareAndSwap(open, uint64(gen)<<32|uint64(slotShut))
}
