package mailbox

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// header returns a header that names its sender and its place in that
// sender's order.
func header(sender, number uint64) *Header {
	var h Header
	binary.LittleEndian.PutUint64(h[:], sender)
	binary.LittleEndian.PutUint64(h[8:], number)
	return &h
}

func named(h *Header) (sender, number uint64) {
	return binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])
}

func TestItemsArriveInOrderWithTheirHeaders(t *testing.T) {
	m := New(1<<20, func() {})
	payloads := [][]byte{nil, []byte("a"), bytes.Repeat([]byte("b"), 8), bytes.Repeat([]byte("c"), 5000), bytes.Repeat([]byte("d"), 100_000), []byte("e")}
	for i, p := range payloads {
		if !m.Put(header(7, uint64(i)), p) {
			t.Fatalf("item %d was refused", i)
		}
	}
	i := 0
	for _, buf := range m.Swap(nil, nil) {
		for whole := buf; len(buf) > 0; {
			h, p, off, rest := Next(buf)
			if s, n := named(h); s != 7 || n != uint64(i) || !bytes.Equal(p, payloads[i]) {
				t.Fatalf("item %d arrived as %d with %d bytes", i, n, len(p))
			}
			if uintptr(unsafe.Pointer(h))%8 != 0 {
				t.Errorf("the header of item %d is not aligned", i)
			}
			at := len(whole) - len(buf) + off
			if len(p) > 0 && &whole[at] != &p[0] {
				t.Errorf("the payload of item %d does not lie at its offset", i)
			}
			buf = rest
			i++
		}
	}
	if i != len(payloads) {
		t.Errorf("%d items arrived", i)
	}
	if bufs := m.Swap(nil, nil); len(bufs) != 0 {
		t.Errorf("an empty mailbox gave %d pieces", len(bufs))
	}
}

func TestShortItemsArriveAmongOthers(t *testing.T) {
	m := New(1<<20, func() {})
	const items = 3000
	size := func(i int) int { return i * 37 % 3000 }
	for i := range uint64(items) {
		p := bytes.Repeat([]byte{byte(i)}, size(int(i)))
		if i%3 == 0 && !m.Put(header(7, i), p) || i%3 != 0 && !m.PutShort(1<<63|i, ^uint32(i), p) {
			if i < 600 {
				t.Fatalf("item %d was refused", i)
			}
			break
		}
	}
	i := 0
	for _, buf := range m.Swap(nil, nil) {
		for len(buf) > 0 {
			var p []byte
			start, short := buf, IsShort(buf)
			if short {
				var id uint64
				var number uint32
				id, number, p, buf = NextShort(buf)
				if id != 1<<63|uint64(i) || number != ^uint32(i) {
					t.Fatalf("item %d arrived with the header %x %x", i, id, number)
				}
				if len(p) > 0 && &p[0] != &start[ShortOffset] {
					t.Errorf("the payload of item %d does not lie at its offset", i)
				}
			} else {
				var h *Header
				h, p, _, buf = Next(buf)
				if _, n := named(h); n != uint64(i) {
					t.Fatalf("item %d arrived as %d", i, n)
				}
			}
			if short != (i%3 != 0) || !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, size(i))) || cap(p) != len(p) {
				t.Fatalf("item %d arrived as another", i)
			}
			i++
		}
	}
	if i != int(m.Stats().Items) || i < 600 {
		t.Errorf("%d items arrived of %d", i, m.Stats().Items)
	}
}

func TestShortItemsCountAgainstTheLimit(t *testing.T) {
	m := New(2*shortLen(64), func() {})
	p := make([]byte, 64)
	for range 2 {
		if !m.PutShort(1, 2, p) {
			t.Fatal("an item was refused that had room")
		}
	}
	if m.PutShort(1, 2, nil) {
		t.Error("an item was taken beyond the limit")
	}
	if s := m.Stats(); s.Items != 2 || s.Refused != 1 {
		t.Errorf("counters are %+v", s)
	}
	m.Swap(nil, nil)
	if !m.PutShort(1, 2, p) {
		t.Error("an item was refused after the swap")
	}
	if m = New(1<<20, func() {}); !m.PutShort(1, 2, make([]byte, MaxShort)) || shortLen(MaxShort) != ChunkSize {
		t.Error("the longest short item does not fill a buffer")
	}
}

func TestAFullMailboxRefusesAndCounts(t *testing.T) {
	m := New(3*itemLen(100), func() {})
	p := make([]byte, 100)
	for i := range 3 {
		if !m.Put(header(0, 0), p) {
			t.Fatalf("item %d was refused", i)
		}
	}
	if m.Put(header(0, 0), p) || m.Put(header(0, 0), make([]byte, 100_000)) {
		t.Error("an item was taken beyond the limit")
	}
	if s := m.Stats(); s.Refused != 2 || s.Items != 3 {
		t.Errorf("counters are %+v", s)
	}
	m.Force(header(0, 1))
	n := 0
	for _, buf := range m.Swap(nil, nil) {
		for len(buf) > 0 {
			var h *Header
			h, _, _, buf = Next(buf)
			if n++; n == 4 && *h != *header(0, 1) {
				t.Error("what was forced in is another item")
			}
		}
	}
	if n != 4 {
		t.Errorf("%d items arrived", n)
	}
	if !m.Put(header(0, 0), p) {
		t.Error("an item was refused after the swap")
	}
}

func TestAPutWakesASleepingShardOnce(t *testing.T) {
	wakes := 0
	m := New(1<<20, func() { wakes++ })
	m.Put(header(0, 0), nil)
	if wakes != 0 || m.Sleep() {
		t.Fatal("a shard that has work was let to sleep, or woken while awake")
	}
	m.Swap(nil, nil)
	if !m.Sleep() {
		t.Fatal("a shard without work may not sleep")
	}
	m.Put(header(0, 0), nil)
	m.Put(header(0, 0), make([]byte, 100_000))
	if wakes != 1 {
		t.Errorf("%d wake-ups for one sleep", wakes)
	}
	m.Swap(nil, nil)
	if !m.Sleep() {
		t.Fatal("a shard without work may not sleep")
	}
	m.Awake()
	m.Put(header(0, 0), nil)
	if s := m.Stats(); wakes != 1 || s.Wakes != 1 {
		t.Errorf("a shard that is awake was woken: %+v", s)
	}
}

func TestAnIdleMailboxIsSmallAndABusyOneGrows(t *testing.T) {
	m := New(1<<20, func() {})
	m.Put(header(0, 0), nil)
	if n := cap(m.current); n != firstChunk {
		t.Errorf("the first buffer has %d bytes", n)
	}
	for range 3000 {
		m.Put(header(0, 0), make([]byte, 64))
		m.Swap(nil, nil)
	}
	if n := cap(m.current); n != ChunkSize {
		t.Errorf("after 400 kB the buffer has %d bytes", n)
	}
	// 4, 8, 16 and 32 KiB, then 64 KiB each.
	if n := m.Stats().Buffers; n > 11 {
		t.Errorf("%d buffers for 400 kB: pieces are not dense", n)
	}
	m.Swap(nil, [][]byte{make([]byte, 0, ChunkSize), make([]byte, 0, 4096)})
	if n := len(m.spares); n != 1 {
		t.Errorf("%d spares kept; the small one is of no use", n)
	}
	m.Trim()
	if len(m.spares) != 0 || m.size != firstChunk {
		t.Error("Trim left spares")
	}
}

// A modelShard keeps each piece for a while, checks then that the senders left
// it alone, and gives a buffer back when it holds no piece of it and the
// pieces of another one have begun to arrive.
type modelShard struct {
	kept    []keptPiece
	buffers map[*byte]*modelBuffer // by the address of their last byte
	newest  *modelBuffer
	spares  [][]byte
}

type keptPiece struct {
	piece, copied []byte
	of            *modelBuffer
}

type modelBuffer struct {
	whole  []byte
	pieces int
}

func endOf(b []byte) *byte { return &b[:cap(b)][cap(b)-1] }

func (s *modelShard) take(pieces [][]byte) {
	for _, p := range pieces {
		b := s.buffers[endOf(p)]
		if b == nil {
			b = &modelBuffer{whole: p[:0]}
			s.buffers[endOf(p)] = b
		}
		if !Own(p) {
			if old := s.newest; old != nil && old != b && old.pieces == 0 {
				s.giveBack(old)
			}
			s.newest = b
		}
		b.pieces++
		s.kept = append(s.kept, keptPiece{p, bytes.Clone(p), b})
	}
}

func (s *modelShard) giveBack(b *modelBuffer) {
	delete(s.buffers, endOf(b.whole))
	s.spares = append(s.spares, b.whole)
}

func (s *modelShard) release(t *rapid.T, i int) {
	k := s.kept[i]
	s.kept = append(s.kept[:i], s.kept[i+1:]...)
	if !bytes.Equal(k.piece, k.copied) {
		t.Fatal("a piece changed while the shard held it")
	}
	if k.of.pieces--; k.of.pieces == 0 && k.of != s.newest {
		s.giveBack(k.of)
	}
}

func TestMailboxBehavesAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1000, 400_000).Draw(t, "limit")
		m := New(limit, func() {})
		shard := modelShard{buffers: map[*byte]*modelBuffer{}}
		var sent, received, pending int
		var lengths []int
		length := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 5000), rapid.IntRange(60_000, 140_000))
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n := length.Draw(t, "n")
				for range rapid.IntRange(1, 20).Draw(t, "times") {
					ok := m.Put(header(1, uint64(sent)), bytes.Repeat([]byte{byte(sent)}, n))
					if want := pending+itemLen(n) <= limit; ok != want {
						t.Fatalf("Put gave %v with %d of %d bytes pending", ok, pending, limit)
					}
					if ok {
						lengths = append(lengths, n)
						pending += itemLen(n)
						sent++
					}
				}
			},
			"lease": func(t *rapid.T) {
				n := length.Draw(t, "n")
				b := m.Lease(n)
				for i := range n {
					b[PayloadOffset+i] = byte(sent)
				}
				n -= rapid.IntRange(0, n).Draw(t, "shorter")
				ok := m.PutLease(header(1, uint64(sent)), b, n)
				if want := pending+cap(b) <= limit; ok != want {
					t.Fatalf("PutLease gave %v with %d of %d bytes pending", ok, pending, limit)
				}
				if !ok {
					m.Return(b)
					return
				}
				lengths = append(lengths, n)
				pending += cap(b)
				sent++
			},
			"swap": func(t *rapid.T) {
				pieces := m.Swap(nil, shard.spares)
				shard.spares = shard.spares[:0]
				shard.take(pieces)
				for _, buf := range pieces {
					for len(buf) > 0 {
						h, p, _, rest := Next(buf)
						if _, n := named(h); n != uint64(received) || len(p) != lengths[n] || len(p) > 0 && (p[0] != byte(n) || p[len(p)-1] != byte(n)) {
							t.Fatalf("item %d arrived as %d with %d bytes", received, n, len(p))
						}
						received++
						buf = rest
					}
				}
				if received != sent {
					t.Fatalf("%d items of %d arrived", received, sent)
				}
				pending = 0
			},
			"release": func(t *rapid.T) {
				for range rapid.IntRange(0, len(shard.kept)).Draw(t, "times") {
					shard.release(t, rapid.IntRange(0, len(shard.kept)-1).Draw(t, "which"))
				}
			},
		})
	})
}

func TestManySendersKeepTheirOrder(t *testing.T) {
	const senders, each = 4, 20_000
	wake := make(chan struct{}, 1)
	m := New(1<<20, func() { wake <- struct{}{} })
	var wg sync.WaitGroup
	for s := range uint64(senders) {
		wg.Go(func() {
			payload := bytes.Repeat([]byte{byte(s)}, 64)
			for n := uint64(0); n < each; {
				if m.Put(header(s, n), payload[:n%64]) {
					n++
				}
			}
		})
	}
	var next [senders]uint64
	var pieces [][]byte
	for got := 0; got < senders*each; {
		pieces = m.Swap(pieces[:0], nil)
		if len(pieces) == 0 && m.Sleep() {
			<-wake
			m.Awake()
		}
		for _, buf := range pieces {
			for len(buf) > 0 {
				h, p, _, rest := Next(buf)
				s, n := named(h)
				if n != next[s] || len(p) != int(n%64) || len(p) > 0 && p[0] != byte(s) {
					t.Fatalf("sender %d: item %d arrived in place of %d", s, n, next[s])
				}
				next[s]++
				got++
				buf = rest
			}
		}
	}
	wg.Wait()
}

// reuse gives buffers back at once: all but the newest, which is current.
type reuse struct {
	newest         []byte
	pieces, spares [][]byte
}

func (r *reuse) swap(m *Mailbox) (items int) {
	r.pieces = m.Swap(r.pieces[:0], r.spares)
	r.spares = r.spares[:0]
	for _, buf := range r.pieces {
		if r.newest == nil || endOf(r.newest) != endOf(buf) {
			if r.newest != nil {
				r.spares = append(r.spares, r.newest[:0])
			}
			r.newest = buf
		}
		for len(buf) > 0 {
			if IsShort(buf) {
				_, _, _, buf = NextShort(buf)
			} else {
				_, _, _, buf = Next(buf)
			}
			items++
		}
	}
	return items
}

func TestPutAndSwapDoNotAllocateOnTheSteadyPath(t *testing.T) {
	m := New(1<<20, func() {})
	var r reuse
	h := header(1, 2)
	payload := make([]byte, 100)
	round := func() {
		for range 1000 {
			m.Put(h, payload)
			m.PutShort(1, 2, payload)
		}
		if n := r.swap(m); n != 2000 {
			t.Fatalf("%d items arrived", n)
		}
	}
	for range 10 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkItem is the whole way of an item: PutShort, its share of Swap, NextShort.
func BenchmarkItem(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(map[int]string{1: "batch 1", 16: "batch 16", 256: "batch 256"}[batch], func(b *testing.B) {
			m := New(1<<20, func() {})
			payload := make([]byte, 64)
			var r reuse
			n := 0
			for b.Loop() {
				m.PutShort(1, 2, payload)
				if n++; n == batch {
					n = 0
					r.swap(m)
				}
			}
			b.ReportMetric(float64(m.Stats().Buffers), "buffers")
		})
	}
}
