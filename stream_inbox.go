package godwit

import "sync"

// inbox holds the bytes that have come for a stream and that its reader has not taken, in blocks of a pool that all streams share: a stream
// without such bytes has none.
type inbox struct {
	blocks []*inboxBlock // the oldest first
	off    int           // bytes of the first that are taken
	end    int           // bytes of the last that are filled
	size   int
}

type inboxBlock [8 << 10]byte

var inboxBlocks = sync.Pool{New: func() any { return new(inboxBlock) }}

// put appends a copy of p.
func (b *inbox) put(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		if len(b.blocks) == 0 || b.end == len(inboxBlock{}) {
			b.blocks, b.end = append(b.blocks, inboxBlocks.Get().(*inboxBlock)), 0
		}
		n := copy(b.blocks[len(b.blocks)-1][b.end:], p)
		b.end += n
		p = p[n:]
	}
}

// take moves bytes to p, as many as there are and fit.
func (b *inbox) take(p []byte) (n int) {
	emptied := 0
	for n < len(p) && b.size > 0 {
		first := b.blocks[emptied]
		k := copy(p[n:], first[b.off:min(len(first), b.off+b.size)])
		n += k
		b.off += k
		b.size -= k
		if b.off == len(first) || b.size == 0 {
			inboxBlocks.Put(first)
			b.blocks[emptied] = nil
			emptied++
			b.off = 0
		}
	}
	b.blocks = b.blocks[:copy(b.blocks, b.blocks[emptied:])]
	return n
}

// drop forgets all bytes.
func (b *inbox) drop() {
	for _, block := range b.blocks {
		inboxBlocks.Put(block)
	}
	*b = inbox{}
}
