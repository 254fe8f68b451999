// Package mem holds the memory of a shard: a pool of blocks in five sizes,
// carved outside the Go heap where the collector never looks, and the table
// of the senders' chunks, counted by the messages that still lie in them.
//
// Everything here has a single owner, the shard, and uses no atomics. Blocks
// and chunks are named by pointer-free numbers, so that a connection which
// holds thousands of them costs the collector nothing and can be packed.
package mem

import (
	"math/bits"

	"godwit.example/godwit/internal/invariant"
)

// NumTiers is the number of block sizes.
const NumTiers = 5

// TierSize is the block size of each tier in bytes. Larger blocks come from
// the Go heap one by one.
var TierSize = [NumTiers]int{128, 512, 2048, 16384, 65536}

// PageSize is the step in which a tier grows: one page of blocks.
const PageSize = 64 << 10

// maxRegion bounds how much address space is asked for at once. What is not
// carved yet is not touched, so it costs nothing but addresses.
const maxRegion = 1 << 20

// A Ref names a block of a Pool; 0 names none. It is not a pointer: it keeps
// nothing alive, survives packing, and means nothing to any other pool.
//
// Its bits, highest first: large | page | generation (debug builds) | block.
type Ref uint32

const (
	blockBits = 9 // 512 blocks of 128 B in a page
	blockMask = 1<<blockBits - 1
	pageShift = blockBits + genBits
	maxPages  = 1 << (31 - pageShift)
	largeFlag = 1 << 31
)

// tierShift is log2 of TierSize.
var tierShift = [NumTiers]uint8{7, 9, 11, 14, 16}

// A page is 64 KiB of blocks of one tier. Its free blocks are a bitmap and
// not a list within them: the lowest free block is taken first, which keeps
// the touched memory compact, a free block is not touched at all, and a block
// released twice is noticed in every build.
type page struct {
	//lint:ignore U1000 empty but in debug builds
	pageDebug
	mem        []byte
	free       [(blockMask + 1) / 64]uint64
	prev, next uint32 // in the tier's list of pages with free blocks, or in a list of unused pages
	used       uint16
	blocks     uint16
	tier       uint8
	shift      uint8
	word       uint8 // no word of free below this one has a free block
}

type tier struct {
	head  uint32 // first page with free blocks
	empty uint32 // the one page kept although no block of it is in use
	stats TierStats
}

// TierStats counts what one tier did.
type TierStats struct {
	Size      int    // bytes of a block; 0 for large blocks
	InUse     int    // blocks
	HighWater int    // blocks
	Gets      uint64 // calls of Get, refused ones included
	Hits      uint64 // of them served from memory that was already held
	Refusals  uint64 // of them refused: the limit, or no memory
}

// PoolStats is a snapshot of a Pool's counters.
type PoolStats struct {
	Tiers [NumTiers]TierStats
	Large TierStats
	Held  int64 // bytes of pages and large blocks held, in use or not
	Limit int64 // bytes, 0 = none
}

// A Pool hands out blocks of memory. It belongs to one shard and is not safe
// for concurrent use. Blocks are not zeroed.
type Pool struct {
	pages  []page // entry 0 is not used
	tiers  [NumTiers]tier
	dirty  uint32 // unused pages whose memory may be resident
	clean  uint32 // unused pages whose memory was given back
	region []byte // address space not carved yet
	step   int    // bytes of the next region
	source func(n int) []byte
	limit  int64
	held   int64

	large      [][]byte
	largeFree  []uint32
	largeStats TierStats
}

// NewPool returns a pool that takes its memory from pages, which returns n
// zeroed bytes aligned to a cache line that are never given back, or nil. The
// pool holds at most limit bytes; no limit if that is not positive.
func NewPool(pages func(n int) []byte, limit int64) *Pool {
	p := &Pool{pages: make([]page, 1, 16), source: pages, limit: max(limit, 0), step: PageSize}
	for i := range p.tiers {
		p.tiers[i].stats.Size = TierSize[i]
	}
	return p
}

// tierOf returns the smallest tier whose blocks hold n bytes.
func tierOf(n int) int {
	switch {
	case n <= 128:
		return 0
	case n <= 512:
		return 1
	case n <= 2048:
		return 2
	case n <= 16384:
		return 3
	}
	return 4
}

// Get returns a block of n bytes, with the capacity of its tier, or (0, nil)
// if the pool's limit or its source refuses.
func (p *Pool) Get(n int) (Ref, []byte) {
	if n > PageSize {
		return p.getLarge(n)
	}
	t := &p.tiers[tierOf(n)]
	t.stats.Gets++
	if t.head == 0 {
		if !p.grow(tierOf(n)) {
			t.stats.Refusals++
			return 0, nil
		}
	} else {
		t.stats.Hits++
	}
	i := t.head
	pg := &p.pages[i]
	w := pg.word
	for pg.free[w] == 0 {
		w++
	}
	bit := bits.TrailingZeros64(pg.free[w])
	pg.free[w] &^= 1 << bit
	pg.word = w
	pg.used++
	if i == t.empty {
		t.empty = 0
	}
	if pg.used == pg.blocks {
		p.unlink(t, i)
	}
	t.stats.InUse++
	if t.stats.InUse > t.stats.HighWater {
		t.stats.HighWater = t.stats.InUse
	}
	block := uint32(w)<<6 | uint32(bit)
	b := pg.bytes(block)
	r := Ref(i<<pageShift | pg.taken(block, b) | block)
	return r, b[:n]
}

// Bytes returns the whole block: its tier's size, or the size asked for if it
// is a large one.
func (p *Pool) Bytes(r Ref) []byte {
	if r&largeFlag != 0 {
		return p.large[r&^largeFlag]
	}
	pg := &p.pages[r>>pageShift]
	if invariant.Enabled {
		pg.checkLive(r)
	}
	return pg.bytes(uint32(r) & blockMask)
}

// Put releases the block r, which must be in use; 0 is ignored.
func (p *Pool) Put(r Ref) {
	if r&largeFlag != 0 {
		p.putLarge(uint32(r &^ largeFlag))
		return
	}
	if r == 0 {
		return
	}
	i := uint32(r) >> pageShift
	pg := &p.pages[i]
	if invariant.Enabled {
		pg.checkLive(r)
	}
	block := uint32(r) & blockMask
	w, bit := block>>6, uint64(1)<<(block&63)
	if pg.free[w]&bit != 0 || block >= uint32(pg.blocks) {
		panic("BUG: mem: a block that is not in use was released")
	}
	pg.released(block, pg.bytes(block))
	pg.free[w] |= bit
	pg.word = min(pg.word, uint8(w))
	t := &p.tiers[pg.tier]
	t.stats.InUse--
	if pg.used == pg.blocks {
		p.link(t, i)
	}
	pg.used--
	if pg.used == 0 {
		p.emptied(t, i)
	}
}

// emptied decides where a page without used blocks goes. The tier's only page
// with free blocks stays, so that a block taken and released in turn does not
// move a page each time; any other returns to all tiers.
func (p *Pool) emptied(t *tier, i uint32) {
	if t.head == i && p.pages[i].next == 0 {
		t.empty = i
		return
	}
	p.retire(t, i)
}

// retire takes an empty page from its tier.
func (p *Pool) retire(t *tier, i uint32) {
	if t.empty == i {
		t.empty = 0
	}
	p.unlink(t, i)
	p.pages[i].blocks = 0
	p.pages[i].next = p.dirty
	p.dirty = i
}

// grow gives the tier a page and reports whether it could.
func (p *Pool) grow(which int) bool {
	t := &p.tiers[which]
	i := p.dirty
	switch {
	case i != 0:
		p.dirty = p.pages[i].next
		t.stats.Hits++
	case p.limit != 0 && p.held+PageSize > p.limit:
		if i = p.steal(); i == 0 {
			return false
		}
		t.stats.Hits++
	case p.clean != 0:
		i = p.clean
		p.clean = p.pages[i].next
		p.held += PageSize
	default:
		if i = p.carve(); i == 0 {
			return false
		}
		p.held += PageSize
	}
	pg := &p.pages[i]
	pg.tier, pg.shift = uint8(which), tierShift[which]
	pg.blocks, pg.used, pg.word = uint16(int(PageSize)>>pg.shift), 0, 0
	pg.free = [len(pg.free)]uint64{}
	for n, w := int(pg.blocks), 0; n > 0; n, w = n-64, w+1 {
		pg.free[w] = ^uint64(0) >> (64 - min(n, 64))
	}
	pg.assigned()
	p.link(t, i)
	return true
}

// steal takes the empty page that some tier keeps, if there is one.
func (p *Pool) steal() uint32 {
	for k := range p.tiers {
		if i := p.tiers[k].empty; i != 0 {
			p.retire(&p.tiers[k], i)
			p.dirty = p.pages[i].next
			return i
		}
	}
	return 0
}

// carve cuts a new page from the address space.
func (p *Pool) carve() uint32 {
	if len(p.pages) == maxPages {
		return 0
	}
	if len(p.region) < PageSize {
		p.region = p.source(p.step)
		if len(p.region) < PageSize {
			return 0
		}
		p.step = min(2*p.step, maxRegion)
	}
	p.pages = append(p.pages, page{mem: p.region[:PageSize:PageSize]})
	p.region = p.region[PageSize:]
	return uint32(len(p.pages) - 1)
}

// link puts page i at the head of the tier's pages with free blocks.
func (p *Pool) link(t *tier, i uint32) {
	pg := &p.pages[i]
	pg.prev, pg.next = 0, t.head
	if t.head != 0 {
		p.pages[t.head].prev = i
	}
	t.head = i
}

func (p *Pool) unlink(t *tier, i uint32) {
	pg := &p.pages[i]
	if pg.prev != 0 {
		p.pages[pg.prev].next = pg.next
	} else {
		t.head = pg.next
	}
	if pg.next != 0 {
		p.pages[pg.next].prev = pg.prev
	}
	pg.prev, pg.next = 0, 0
}

// bytes returns one block of the page.
func (pg *page) bytes(block uint32) []byte {
	from := int(block) << pg.shift
	to := from + 1<<pg.shift
	return pg.mem[from:to:to]
}

// getLarge serves what no tier holds from the Go heap.
func (p *Pool) getLarge(n int) (Ref, []byte) {
	s := &p.largeStats
	s.Gets++
	if p.limit != 0 && p.held+int64(n) > p.limit {
		s.Refusals++
		return 0, nil
	}
	var i uint32
	if free := len(p.largeFree); free > 0 {
		i = p.largeFree[free-1]
		p.largeFree = p.largeFree[:free-1]
	} else {
		i = uint32(len(p.large))
		p.large = append(p.large, nil)
	}
	b := make([]byte, n)
	p.large[i] = b
	p.held += int64(n)
	s.InUse++
	s.HighWater = max(s.HighWater, s.InUse)
	return largeFlag | Ref(i), b
}

func (p *Pool) putLarge(i uint32) {
	b := p.large[i]
	if b == nil {
		panic("BUG: mem: a block that is not in use was released")
	}
	poison(b)
	p.large[i] = nil
	p.largeFree = append(p.largeFree, i)
	p.held -= int64(len(b))
	p.largeStats.InUse--
}

// Trim gives back the memory of all pages without used blocks: it calls drop
// with each, whose content may then be lost (madvise with MADV_DONTNEED), and
// returns their bytes. The addresses stay with the pool, and their next use
// counts against the limit again. A shard trims when it has been idle.
func (p *Pool) Trim(drop func(page []byte)) (n int) {
	for k := range p.tiers {
		if i := p.tiers[k].empty; i != 0 {
			p.retire(&p.tiers[k], i)
		}
	}
	for p.dirty != 0 {
		i := p.dirty
		pg := &p.pages[i]
		p.dirty = pg.next
		drop(pg.mem)
		pg.next = p.clean
		p.clean = i
		p.held -= PageSize
		n += PageSize
	}
	return n
}

// Stats returns the pool's counters.
func (p *Pool) Stats() PoolStats {
	s := PoolStats{Large: p.largeStats, Held: p.held, Limit: p.limit}
	for i := range p.tiers {
		s.Tiers[i] = p.tiers[i].stats
	}
	return s
}

// InUse returns the number of blocks in use, large ones included. Tests
// assert that it returns to zero.
func (p *Pool) InUse() int {
	n := p.largeStats.InUse
	for i := range p.tiers {
		n += p.tiers[i].stats.InUse
	}
	return n
}
