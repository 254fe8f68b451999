// Package mailbox carries what many goroutines send to one shard, and wakes it
// only if it announced that it sleeps, and then once.
package mailbox

import (
	"encoding/binary"
	"sync"
)

const (
	// HeaderLen is the length of the header that travels with each payload.
	HeaderLen = 64

	// ChunkSize is the capacity of the largest ordinary buffer. A longer item
	// gets a buffer of its own.
	ChunkSize = 64 << 10

	// firstChunk is the capacity of the first buffer. Each buffer that fills
	// doubles the next one, so that an idle endpoint stays lean.
	firstChunk = 4 << 10

	// maxSpares bounds the empty buffers kept.
	maxSpares = 8

	// prefixLen is what precedes the header: the payload's length and what kind of item it is.
	prefixLen = 8

	// What the prefix holds: the length, flags, and in its upper half the number of a short item.
	lengthMask = 1<<30 - 1
	shortFlag  = 1 << 30 // the item has a short header
	ownFlag    = 1 << 31 // the item fills a buffer of its own
	numberBits = 32

	// MaxInPlace is the longest payload for Begin.
	MaxInPlace = ChunkSize - PayloadOffset

	// PayloadOffset is how far the payload lies behind the start of its item.
	PayloadOffset = prefixLen + HeaderLen

	// ShortOffset is the same of an item of PutShort.
	ShortOffset = prefixLen + 8

	// MaxShort is the longest payload for PutShort.
	MaxShort = ChunkSize - ShortOffset
)

// A Header is opaque to the mailbox and must hold no pointer. It is aligned
// to eight bytes on its way, so that the shard may look at it as a struct.
type Header [HeaderLen]byte

// A Mailbox carries items from any goroutine to one shard. A sender copies
// its item into the current buffer under a mutex; the shard swaps out what
// was filled and reads it in place. The buffers themselves become the memory
// that holds the payloads until they are acknowledged.
//
// A buffer that is swapped out half full stays current: its rest is filled
// while the shard reads what it was given. So a buffer crosses in pieces, one
// after the other; only the last of all pieces received belongs to a buffer
// that may still be written to, behind the piece's end.
type Mailbox struct {
	mu      sync.Mutex
	current []byte   // the buffer being filled; its length is what is filled
	from    int      // where the part of current begins that was not swapped
	full    [][]byte // filled pieces that were not swapped, oldest first
	pending int      // bytes of items not swapped
	asleep  bool

	limit  int
	size   int // capacity of the next buffer
	spares [][]byte
	leases [len(leaseSizes)][][]byte // empty buffers
	wake   func()
	stats  Stats
}

// Stats counts what passed a mailbox.
type Stats struct {
	Items   uint64
	Bytes   uint64 // of payloads that were copied in
	Refused uint64 // Put returned false: the shard is behind
	Wakes   uint64
	Buffers uint64 // buffers that had to be made
}

// New returns a mailbox that holds at most limitBytes of items, and at most a
// gigabyte, each counted with its header, that the shard has not swapped out. Put
// calls wake, on the sender's goroutine, when the shard sleeps.
func New(limitBytes int, wake func()) *Mailbox {
	return &Mailbox{limit: min(limitBytes, lengthMask), size: firstChunk, wake: wake}
}

// itemLen returns what an item takes of a buffer.
func itemLen(payload int) int { return (PayloadOffset + payload + 7) &^ 7 }

// shortLen is itemLen of an item of PutShort.
func shortLen(payload int) int { return (ShortOffset + payload + 7) &^ 7 }

// Put copies an item in and reports whether there was room. It may be called
// from any goroutine, never blocks for longer than another's copy, and keeps
// neither h nor payload. The items of one goroutine arrive in their order.
func (m *Mailbox) Put(h *Header, payload []byte) bool {
	if n := itemLen(len(payload)); n > ChunkSize {
		return m.putLarge(h, payload, n)
	}
	head, room := m.Begin(len(payload))
	if head == nil {
		return false
	}
	*head = *h
	copy(room, payload)
	m.Commit(len(payload))
	return true
}

// PutShort is Put for an item whose header is these two numbers, with a payload of
// at most MaxShort bytes. It is what most items are: a message of a hundred bytes
// crosses in two cache lines in place of three, and in one call.
func (m *Mailbox) PutShort(id uint64, number uint32, payload []byte) bool {
	n := shortLen(len(payload))
	m.mu.Lock()
	if n > m.limit-m.pending {
		m.stats.Refused++
		m.mu.Unlock()
		return false
	}
	at := len(m.current)
	if n > cap(m.current)-at {
		m.nextBuffer(n)
		at = 0
	}
	m.current = m.current[:at+n]
	b := m.current[at : at+n]
	binary.LittleEndian.PutUint64(b, uint64(len(payload))|shortFlag|uint64(number)<<numberBits)
	binary.LittleEndian.PutUint64(b[prefixLen:], id)
	copy(b[ShortOffset:], payload)
	m.stats.Bytes += uint64(len(payload))
	return m.delivered(n)
}

// Force is Put for an item without payload that must not be lost. It goes beyond the
// limit if need be, which is for few items only.
func (m *Mailbox) Force(h *Header) {
	m.mu.Lock()
	head, _ := m.place(0)
	*head = *h
	m.Commit(0)
}

// Begin is Put for a caller who writes an item where it is to lie: a header that
// is put together elsewhere and then copied costs more than all the rest. It
// returns where the header goes, which may hold anything, and where a payload of
// at most MaxInPlace bytes goes. Commit must follow at once: other senders wait
// for it. Without room the header is nil, and no Commit follows.
func (m *Mailbox) Begin(payload int) (h *Header, room []byte) {
	m.mu.Lock()
	if itemLen(payload) > m.limit-m.pending {
		m.stats.Refused++
		m.mu.Unlock()
		return nil, nil
	}
	return m.place(payload)
}

// place makes room for an item in the current buffer.
func (m *Mailbox) place(payload int) (h *Header, room []byte) {
	n := itemLen(payload)
	if n > cap(m.current)-len(m.current) {
		m.nextBuffer(n)
	}
	at := len(m.current)
	m.current = m.current[:at+n]
	m.stats.Bytes += uint64(payload)
	b := m.current[at:]
	binary.LittleEndian.PutUint64(b, uint64(payload))
	return (*Header)(b[prefixLen:]), b[PayloadOffset : PayloadOffset+payload]
}

// Commit ends what Begin began, with the same length.
func (m *Mailbox) Commit(payload int) { m.delivered(itemLen(payload)) }

// putLarge sends an item in a buffer of its own, which is filled before the
// mutex is taken: copying megabytes would stop all other senders.
func (m *Mailbox) putLarge(h *Header, payload []byte, n int) bool {
	m.mu.Lock()
	refused := n > m.limit-m.pending
	if refused {
		m.stats.Refused++
	}
	m.mu.Unlock()
	if refused {
		return false
	}
	b := make([]byte, n)
	binary.LittleEndian.PutUint64(b, uint64(len(payload))|ownFlag)
	*(*Header)(b[prefixLen:]) = *h
	copy(b[PayloadOffset:], payload)

	m.mu.Lock()
	m.stats.Buffers++
	m.stats.Bytes += uint64(len(payload))
	return m.putOwn(b[:n:n])
}

// delivered ends a Put of n bytes: it unlocks and wakes a sleeping shard.
func (m *Mailbox) delivered(n int) bool {
	m.pending += n
	m.stats.Items++
	wake := m.asleep
	if wake {
		m.asleep = false
		m.stats.Wakes++
	}
	m.mu.Unlock()
	if wake {
		m.wake()
	}
	return true
}

// retire ends the use of the current buffer.
func (m *Mailbox) retire() {
	if len(m.current) > m.from {
		m.full = append(m.full, m.current[m.from:])
	}
	m.current, m.from = nil, 0
}

// nextBuffer replaces the current buffer by one that has room for n bytes.
func (m *Mailbox) nextBuffer(n int) {
	if m.current != nil {
		m.size = min(2*m.size, ChunkSize)
	}
	for m.size < n {
		m.size *= 2
	}
	m.retire()
	for len(m.spares) > 0 {
		last := len(m.spares) - 1
		b := m.spares[last]
		m.spares[last] = nil
		m.spares = m.spares[:last]
		if cap(b) >= m.size {
			m.current = b[:0]
			return
		}
	}
	m.current = make([]byte, 0, m.size)
	m.stats.Buffers++
}

// Swap appends the pieces filled since the last call to full, oldest first,
// and takes back spare: empty buffers that the shard is done with. It is for
// the shard alone. The pieces hold whole items, for Next; those that Own knows are
// no part of the buffer around them.
func (m *Mailbox) Swap(full [][]byte, spare [][]byte) (bufs [][]byte) {
	m.mu.Lock()
	full = append(full, m.full...)
	clear(m.full)
	m.full = m.full[:0]
	if len(m.current) > m.from {
		full = append(full, m.current[m.from:])
		m.from = len(m.current)
	}
	m.pending = 0
	for _, b := range spare {
		if !m.keepLease(b) && len(m.spares) < maxSpares && cap(b) >= m.size {
			m.spares = append(m.spares, b)
		}
	}
	m.mu.Unlock()
	return full
}

// Trim drops the spare buffers and lets the next ones start small again. A
// shard trims when it has been idle.
func (m *Mailbox) Trim() {
	m.mu.Lock()
	clear(m.spares)
	m.spares = m.spares[:0]
	clear(m.leases[:])
	m.size = firstChunk
	m.mu.Unlock()
}

// Sleep announces that the shard is going to block, so that the next Put
// wakes it. If items are waiting it announces nothing and returns false.
func (m *Mailbox) Sleep() bool {
	m.mu.Lock()
	m.asleep = m.pending == 0
	asleep := m.asleep
	m.mu.Unlock()
	return asleep
}

// Awake ends the announcement: the shard runs, whatever woke it.
func (m *Mailbox) Awake() {
	m.mu.Lock()
	m.asleep = false
	m.mu.Unlock()
}

// Stats returns the counters.
func (m *Mailbox) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// IsShort reports whether the first item of a piece that is not empty is one of
// PutShort, for NextShort.
func IsShort(buf []byte) bool { return binary.LittleEndian.Uint32(buf)&shortFlag != 0 }

// NextShort takes the first item of a piece, which is one of PutShort: its numbers
// and its payload, which lies ShortOffset bytes behind the start of buf. rest is what
// follows the item.
func NextShort(buf []byte) (id uint64, number uint32, payload, rest []byte) {
	prefix := binary.LittleEndian.Uint64(buf)
	end := ShortOffset + int(prefix&lengthMask)
	return binary.LittleEndian.Uint64(buf[prefixLen:]), uint32(prefix >> numberBits), buf[ShortOffset:end:end], buf[(end+7)&^7:]
}

// Next takes the first item of a piece that is neither empty nor for NextShort. The header and the
// payload, which lies off bytes behind the start of buf, are views of the
// piece; rest is what follows the item.
func Next(buf []byte) (h *Header, payload []byte, off int, rest []byte) {
	n := int(binary.LittleEndian.Uint32(buf) & lengthMask)
	end := PayloadOffset + n
	return (*Header)(buf[prefixLen:]), buf[PayloadOffset:end:end], PayloadOffset, buf[(end+7)&^7:]
}
