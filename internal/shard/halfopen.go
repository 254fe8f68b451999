package shard

import (
	"hash/maphash"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// What unauthenticated datagrams may hold on to.
const (
	halfOpenLife    = 3 * mono.Second
	cryptoBuffer    = 4 << 10
	sourceLimit     = 8 // entries of one /24 or /48 that make a Retry necessary
	occupancyShare  = 4 // a table more than a quarter full makes a Retry necessary
	minInitialDCID  = 8 // bytes, RFC 9000 §7.2
	halfOpenBuckets = 2 // buckets an entry
)

// halfOpen is the fixed table of handshakes whose client has not shown that it receives at its address. Nothing
// else is held for an unproven peer: each entry owns one CRYPTO buffer and stands for one slot. Entries are found by a
// keyed hash of the client's address and the connection ID it chose. The ClientHello has to be whole within three seconds, and the answer
// to ours has to come within three seconds.
type halfOpen struct {
	entries []halfEntry
	buffers []byte
	buckets []int32 // entry+1
	mask    uint64
	free    int32 // entry+1, linked by chain
	oldest  int32 // entry+1, linked by newer
	newest  int32
	used    int
	soft    int
}

type halfEntry struct {
	remote  wire.Addr
	dcid    wire.ConnID // that the client's Initials carry
	odcid   wire.ConnID // of its first Initial: the same unless a Retry came between
	hash    uint64
	at      mono.Time
	slot    uint32
	chain   int32
	older   int32
	newer   int32
	retried bool // a cookie has proven the address
	soft    bool // see soften
	renewed bool
}

// init allocates the table once; its buffers lie outside the Go heap, and their pages are touched as entries are used.
func (t *halfOpen) init(n int, pages func(int) []byte) {
	size := 1
	for size < n*halfOpenBuckets {
		size *= 2
	}
	t.entries = make([]halfEntry, n)
	if t.buffers = pages(n * cryptoBuffer); t.buffers == nil {
		t.buffers = make([]byte, n*cryptoBuffer)
	}
	t.buckets = make([]int32, size)
	t.mask = uint64(size - 1)
	for i := n - 1; i >= 0; i-- {
		t.entries[i].chain = t.free
		t.free = int32(i + 1)
	}
}

// hash keys an entry. The seed is drawn at random, so that no peer can choose where its entries fall.
func (s *Shard) hash(remote *wire.Addr, dcid []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.hashSeed)
	h.Write(remote[:])
	h.Write(dcid)
	return h.Sum64()
}

// find returns the slot of the handshake that an Initial belongs to.
func (t *halfOpen) find(hash uint64, remote *wire.Addr, dcid []byte) (slot uint32, ok bool) {
	if t.used == 0 {
		return 0, false
	}
	for i := t.buckets[hash&t.mask]; i != 0; i = t.entries[i-1].chain {
		e := &t.entries[i-1]
		if e.hash == hash && e.remote == *remote && string(e.dcid.Bytes()) == string(dcid) {
			return e.slot, true
		}
	}
	return 0, false
}

// soften says that an entry's client has proven its address and that its buffer is no longer needed. What remains of the entry leads
// repeated Initials to their connection; it counts for no limit, and gives way when its place is needed.
func (t *halfOpen) soften(i int) {
	if e := &t.entries[i]; !e.soft {
		e.soft = true
		t.soft++
	}
}

// reclaim returns the oldest soft entry if the table has no free one, or -1.
func (t *halfOpen) reclaim() int {
	if t.free != 0 || t.soft == 0 {
		return -1
	}
	i := t.oldest
	for !t.entries[i-1].soft {
		i = t.entries[i-1].newer
	}
	return int(i - 1)
}

// full reports whether no entry is left.
func (t *halfOpen) full() bool { return t.free == 0 }

// crowded reports whether a client at this address has to show a Retry cookie first.
func (t *halfOpen) crowded(remote *wire.Addr) bool {
	hard := t.used - t.soft
	if hard*occupancyShare > len(t.entries) {
		return true
	}
	if hard < sourceLimit {
		return false
	}
	prefix := 6 // a /48
	if remote.Is4() {
		prefix = 15 // a /24 behind the twelve bytes of the mapping
	}
	n := 0
	for i := t.newest; i != 0; i = t.entries[i-1].older {
		if e := &t.entries[i-1]; !e.soft && string(e.remote[:prefix]) == string(remote[:prefix]) {
			if n++; n >= sourceLimit {
				return true
			}
		}
	}
	return false
}

// add takes an entry and returns its number. The table must not be full.
func (t *halfOpen) add(now mono.Time, hash uint64, e halfEntry) int {
	i := t.free
	t.free = t.entries[i-1].chain
	e.hash = hash
	b := &t.buckets[hash&t.mask]
	e.chain, *b = *b, i
	t.entries[i-1] = e
	t.append(now, i)
	t.used++
	return int(i - 1)
}

// append makes an entry, which is in no list, the newest.
func (t *halfOpen) append(now mono.Time, i int32) {
	e := &t.entries[i-1]
	e.at, e.older, e.newer = now, t.newest, 0
	if t.newest != 0 {
		t.entries[t.newest-1].newer = i
	} else {
		t.oldest = i
	}
	t.newest = i
}

// unlist takes an entry out of the list by age.
func (t *halfOpen) unlist(e *halfEntry) {
	if e.newer != 0 {
		t.entries[e.newer-1].older = e.older
	} else {
		t.newest = e.older
	}
	if e.older != 0 {
		t.entries[e.older-1].newer = e.newer
	} else {
		t.oldest = e.newer
	}
}

// renew begins an entry's time anew, once: our answer is ready, and what it took ourselves is not the client's fault.
func (t *halfOpen) renew(now mono.Time, i int) {
	if e := &t.entries[i]; !e.renewed {
		e.renewed = true
		t.unlist(e)
		t.append(now, int32(i+1))
	}
}

// buffer returns the CRYPTO buffer of an entry.
func (t *halfOpen) buffer(i int) []byte {
	return t.buffers[i*cryptoBuffer : i*cryptoBuffer : (i+1)*cryptoBuffer]
}

// remove gives an entry back.
func (t *halfOpen) remove(i int) {
	e := &t.entries[i]
	at := &t.buckets[e.hash&t.mask]
	for *at != int32(i+1) {
		at = &t.entries[*at-1].chain
	}
	*at = e.chain
	t.unlist(e)
	if e.soft {
		t.soft--
	}
	*e = halfEntry{chain: t.free}
	t.free = int32(i + 1)
	t.used--
}

// deadline is when the oldest entry ends.
func (t *halfOpen) deadline() mono.Time {
	if t.oldest == 0 {
		return mono.Never
	}
	return t.entries[t.oldest-1].at.Add(halfOpenLife)
}

// expire returns the slot of an entry whose time is over, or noSlot. The caller removes the entry.
func (t *halfOpen) expire(now mono.Time) (slot uint32) {
	if t.oldest == 0 || now < t.deadline() {
		return noSlot
	}
	return t.entries[t.oldest-1].slot
}
