package mailbox

import "encoding/binary"

// leaseSizes are the capacities of the buffers for leases. None is a power of
// two, so that they are told from ordinary ones when they come back. A larger
// item gets a buffer that is not used again.
var leaseSizes = [...]int{768, 3 << 10, 12 << 10, 48 << 10, 192 << 10}

// leaseSpares bounds the bytes of empty buffers kept of each size.
const leaseSpares = 384 << 10

// Lease returns a buffer for one item of up to so many payload bytes, which the
// caller writes behind PayloadOffset before it puts the buffer in with PutLease or
// gives it up with Return. It takes nothing of the mailbox's room, and one that
// is forgotten is garbage.
func (m *Mailbox) Lease(payload int) []byte {
	n := itemLen(payload)
	for i, size := range leaseSizes {
		if n > size {
			continue
		}
		m.mu.Lock()
		list := m.leases[i]
		if last := len(list) - 1; last >= 0 {
			b := list[last]
			list[last] = nil
			m.leases[i] = list[:last]
			m.mu.Unlock()
			return b[:n]
		}
		m.stats.Buffers++
		m.mu.Unlock()
		return make([]byte, n, size)
	}
	return make([]byte, n)
}

// PutLease is Put for a payload that was written into a buffer of Lease. The buffer, all
// of it, counts against the limit. If there is no room it stays the caller's.
func (m *Mailbox) PutLease(h *Header, b []byte, payload int) bool {
	b = b[:itemLen(payload)]
	binary.LittleEndian.PutUint64(b, uint64(payload)|ownFlag)
	*(*Header)(b[prefixLen:]) = *h
	m.mu.Lock()
	return m.putOwn(b)
}

// putOwn ends a Put of an item that fills a buffer of its own. It lies between two
// pieces of the current buffer.
func (m *Mailbox) putOwn(b []byte) bool {
	if cap(b) > m.limit-m.pending {
		m.stats.Refused++
		m.mu.Unlock()
		return false
	}
	if len(m.current) > m.from {
		m.full = append(m.full, m.current[m.from:])
		m.from = len(m.current)
	}
	m.full = append(m.full, b)
	return m.delivered(cap(b))
}

// Return gives up a buffer of Lease.
func (m *Mailbox) Return(b []byte) {
	m.mu.Lock()
	m.keepLease(b)
	m.mu.Unlock()
}

// keepLease keeps an empty buffer for the next lease of its size. It reports whether it is one.
func (m *Mailbox) keepLease(b []byte) bool {
	for i, size := range leaseSizes {
		if cap(b) == size {
			if (len(m.leases[i])+1)*size <= leaseSpares {
				m.leases[i] = append(m.leases[i], b[:0])
			}
			return true
		}
	}
	return false
}

// Own reports whether a piece is a buffer of its own, with one item, and no
// part of the buffer that the pieces around it belong to.
func Own(piece []byte) bool {
	return binary.LittleEndian.Uint32(piece)&ownFlag != 0
}
