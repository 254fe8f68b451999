package netem

import "godwit.example/godwit/internal/mono"

// chunkSize is several times the largest datagram, 65,507 bytes.
const chunkSize = 256 << 10

// store keeps the bytes of datagrams side by side in chunks, so that a train stays one piece of memory. A chunk is used again when none
// of its datagrams is left; one that takes long keeps its whole chunk.
type store struct {
	chunks [][]byte
	refs   []uint32 // datagrams in each chunk
	free   []uint32
	most   int    // chunks
	cur    uint32 // is being filled,
	used   int    // so far
	filled bool   // there is such a chunk
}

// place is where a datagram lies.
type place struct{ chunk, offset, size uint32 }

// put copies a datagram, which lies right behind the last one if both have room in one chunk. It reports false if the store is full.
func (s *store) put(data []byte) (place, bool) {
	if s.filled && s.refs[s.cur] == 0 {
		s.used = 0 // all have gone: its memory is in the cache
	}
	if !s.filled || s.used+len(data) > chunkSize {
		if !s.next() {
			return place{}, false
		}
	}
	p := place{s.cur, uint32(s.used), uint32(len(data))}
	s.used += copy(s.chunks[s.cur][s.used:], data)
	s.refs[s.cur]++
	return p, true
}

// next begins another chunk.
func (s *store) next() bool {
	switch {
	case len(s.free) > 0:
		s.cur, s.free = s.free[len(s.free)-1], s.free[:len(s.free)-1]
	case len(s.chunks) < s.most:
		s.cur = uint32(len(s.chunks))
		s.chunks = append(s.chunks, make([]byte, chunkSize))
		s.refs = append(s.refs, 0)
	default:
		return false
	}
	s.used, s.filled = 0, true
	return true
}

func (s *store) bytes(p place) []byte { return s.chunks[p.chunk][p.offset : p.offset+p.size] }

// drop forgets a datagram.
func (s *store) drop(p place) {
	s.refs[p.chunk]--
	if s.refs[p.chunk] == 0 && p.chunk != s.cur {
		s.free = append(s.free, p.chunk)
	}
}

// schedule gives what it holds in the order of its times, and of equal times what was pushed first. It is a binary heap.
type schedule struct {
	heap []arrival
	seq  uint32
}

// arrival is when the datagram of a slot is due.
type arrival struct {
	at   mono.Time
	seq  uint32 // wraps around: far fewer than half of its numbers are in the heap
	slot uint32
}

func (a arrival) before(b arrival) bool {
	return a.at < b.at || a.at == b.at && int32(a.seq-b.seq) < 0
}

// next is when the first is due.
func (s *schedule) next() mono.Time {
	if len(s.heap) == 0 {
		return mono.Never
	}
	return s.heap[0].at
}

func (s *schedule) push(at mono.Time, slot uint32) {
	a := arrival{at, s.seq, slot}
	s.seq++
	s.heap = append(s.heap, a)
	i := len(s.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !a.before(s.heap[parent]) {
			break
		}
		s.heap[i] = s.heap[parent]
		i = parent
	}
	s.heap[i] = a
}

// pop takes the first one off; there must be one.
func (s *schedule) pop() arrival {
	first, n := s.heap[0], len(s.heap)-1
	a := s.heap[n]
	s.heap = s.heap[:n]
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			if n > 0 {
				s.heap[i] = a
			}
			return first
		}
		if child+1 < n && s.heap[child+1].before(s.heap[child]) {
			child++
		}
		if !s.heap[child].before(a) {
			s.heap[i] = a
			return first
		}
		s.heap[i] = s.heap[child]
		i = child
	}
}
