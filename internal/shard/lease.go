package shard

import (
	"godwit.example/godwit/internal/mailbox"
	"godwit.example/godwit/internal/wire"
)

// Lease is a payload that its sender writes where the shard will read it. It belongs to one goroutine at a time, and so do its copies.
type Lease struct {
	buf  []byte // the mailbox's; nil when it is over
	size int
}

// Bytes returns the payload, nil when the lease is over.
func (l *Lease) Bytes() []byte {
	if l.buf == nil {
		return nil
	}
	end := mailbox.PayloadOffset + l.size
	return l.buf[mailbox.PayloadOffset:end:end]
}

// Truncate shortens the payload.
func (l *Lease) Truncate(n int) { l.size = max(min(n, l.size), 0) }

// Open reports whether the lease is neither committed nor returned.
func (l *Lease) Open() bool { return l.buf != nil }

// Lease returns memory for a message to a connection, which may hold anything. It refuses what Send would refuse at this moment, but
// keeps no room free.
func (s *Shard) Lease(r Ref, size int, reliable bool) (Lease, Status) {
	slot := s.slots.at(r.Slot)
	if status := slot.sendable(r.Gen); status != Sent {
		return Lease{}, status
	}
	if size > slot.MaxSend(reliable) {
		return Lease{}, TooLarge
	}
	if n := int64(size + wire.CreditOverhead); reliable {
		if used := slot.account.Load() & accountMask; used != 0 && used+n > s.sendBuffer {
			return Lease{}, s.refuse(slot, r, &Outbound{Reliable: true}, false)
		}
	}
	return Lease{s.mailbox.Lease(size), size}, Sent
}

// Commit sends a lease's payload as Send does m's, which is left alone. After WouldBlock the lease is still open.
func (s *Shard) Commit(r Ref, m *Outbound, l *Lease) Status {
	slot := s.slots.at(r.Slot)
	if status := slot.sendable(r.Gen); status != Sent {
		return status
	}
	n := int64(l.size + wire.CreditOverhead)
	if !slot.reserve(n, m.Reliable, s.sendBuffer, s.mailShare) {
		return s.refuse(slot, r, m, false)
	}
	var i item
	i.fill(r, m)
	if !s.mailbox.PutLease(i.header(), l.buf, l.size) {
		slot.account.Add(-(n<<accountBits | n))
		return s.refuse(slot, r, m, true)
	}
	l.buf = nil
	return Sent
}

// Return gives up a lease that is open.
func (s *Shard) Return(l *Lease) {
	if l.buf != nil {
		s.mailbox.Return(l.buf)
		l.buf = nil
	}
}

// sendable says whether the connection of that generation takes messages.
func (s *Slot) sendable(gen uint32) Status {
	switch s.State(gen) {
	case slotOpen:
		return Sent
	case slotHandshake:
		return NotYet
	}
	return Gone
}
