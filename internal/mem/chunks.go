package mem

// ChunkSize is the capacity of the largest ordinary buffer of the senders.
const ChunkSize = 64 << 10

// maxSpares bounds the buffers kept for the senders: 512 KiB a shard.
const maxSpares = 8

// Buffers of their own that are kept until the senders take them: they are used again
// up to this size.
const (
	maxOwn       = 256 << 10
	maxOwnSpares = 256
)

// A ChunkID names a chunk of one Chunks table; 0 names none.
type ChunkID uint32

// Chunks is the table of the senders' memory that lies with a shard. A chunk
// is what one swap of the mailbox took from one buffer; each message in it
// holds a reference to it by its number. A mailbox that is swapped often
// hands over a buffer in many pieces, and fills the rest of it meanwhile, so
// that a few messages awaiting their acknowledgement pin a few hundred bytes
// and not a buffer each. Chunks sees by the addresses which pieces belong
// together; the buffer goes back to the senders when all its pieces are
// released and the pieces of another one have begun to arrive.
//
// A table belongs to one shard and one mailbox and is not safe for concurrent
// use. The zero value is an empty table.
type Chunks struct {
	table       []chunk // entry 0 is not used
	free        []ChunkID
	buffers     []buffer // entry 0 is not used
	freeBuffers []uint32
	open        uint32 // the buffer that the senders may still fill, 0 = none
	spares      [][]byte
	owned       [][]byte // spares that were buffers of their own
	inUse       int
}

type chunk struct {
	buf    []byte
	refs   uint32
	buffer uint32
}

// A buffer is as long as the pieces of it that arrived.
type buffer struct {
	whole  []byte
	pieces uint32
	own    bool // it is one piece, and not from the current buffer
}

// AddOwn enters a piece that is a buffer of its own, with one reference, which the
// caller holds. The buffer goes back to the senders when it is released; whether they use it again is for them to say.
func (c *Chunks) AddOwn(buf []byte) ChunkID {
	return c.enter(chunk{buf: buf, refs: 1, buffer: c.addBuffer(buf, true)})
}

// Add enters a piece of a buffer with one reference, which the caller holds.
// The pieces of a buffer arrive in their order and without gaps. What lies
// between the length and the capacity of buf belongs to the senders.
func (c *Chunks) Add(buf []byte) ChunkID {
	if !c.continues(buf) {
		c.closeOpen()
		c.open = c.addBuffer(buf, false)
	}
	b := &c.buffers[c.open]
	piece := chunk{buf: buf, refs: 1, buffer: c.open}
	if len(b.whole) == cap(b.whole) {
		c.open = 0
	}
	return c.enter(piece)
}

// enter gives a chunk a number.
func (c *Chunks) enter(piece chunk) ChunkID {
	c.inUse++
	if n := len(c.free); n > 0 {
		id := c.free[n-1]
		c.free = c.free[:n-1]
		c.table[id] = piece
		return id
	}
	if len(c.table) == 0 {
		c.table = append(c.table, chunk{})
	}
	c.table = append(c.table, piece)
	return ChunkID(len(c.table) - 1)
}

// continues reports whether buf follows the pieces of the open buffer, and
// joins it to them if so.
func (c *Chunks) continues(buf []byte) bool {
	if c.open == 0 || len(buf) == 0 {
		return false
	}
	b := &c.buffers[c.open]
	n := len(b.whole)
	if &b.whole[:n+1][n] != &buf[0] {
		return false
	}
	b.whole = b.whole[:n+len(buf)]
	b.pieces++
	return true
}

func (c *Chunks) addBuffer(buf []byte, own bool) uint32 {
	if n := len(c.freeBuffers); n > 0 {
		i := c.freeBuffers[n-1]
		c.freeBuffers = c.freeBuffers[:n-1]
		c.buffers[i] = buffer{buf, 1, own}
		return i
	}
	if len(c.buffers) == 0 {
		c.buffers = append(c.buffers, buffer{})
	}
	c.buffers = append(c.buffers, buffer{buf, 1, own})
	return uint32(len(c.buffers) - 1)
}

// closeOpen notes that the senders are done with the open buffer.
func (c *Chunks) closeOpen() {
	i := c.open
	c.open = 0
	if i != 0 && c.buffers[i].pieces == 0 {
		c.recycle(i)
	}
}

// recycle makes a spare of a buffer without pieces, unless it is an unusual
// one or there are spares enough.
func (c *Chunks) recycle(i uint32) {
	b := &c.buffers[i]
	switch {
	case b.own:
		if cap(b.whole) <= maxOwn && len(c.owned) < maxOwnSpares {
			c.owned = append(c.owned, b.whole[:0])
		}
	case cap(b.whole) <= ChunkSize && len(c.spares) < maxSpares:
		c.spares = append(c.spares, b.whole[:0])
	}
	b.whole = nil
	c.freeBuffers = append(c.freeBuffers, i)
}

// Bytes returns the chunk's memory as it was added.
func (c *Chunks) Bytes(id ChunkID) []byte {
	k := &c.table[id]
	if k.refs == 0 {
		panic("BUG: mem: a chunk was used after its release")
	}
	return k.buf
}

// Retain adds a reference.
func (c *Chunks) Retain(id ChunkID) { c.RetainAll(id, 1) }

// RetainAll adds n references.
func (c *Chunks) RetainAll(id ChunkID, n int) {
	k := &c.table[id]
	if k.refs == 0 {
		panic("BUG: mem: a chunk was used after its release")
	}
	k.refs += uint32(n)
}

// Release drops a reference; 0 is ignored.
func (c *Chunks) Release(id ChunkID) { c.ReleaseAll(id, 1) }

// ReleaseAll drops n references; 0 is ignored.
func (c *Chunks) ReleaseAll(id ChunkID, n int) {
	if id == 0 || n == 0 {
		return
	}
	k := &c.table[id]
	if int64(k.refs) < int64(n) {
		panic("BUG: mem: a chunk that is not in use was released")
	}
	k.refs -= uint32(n)
	if k.refs == 0 {
		c.drop(id)
	}
}

// drop removes a chunk without references.
func (c *Chunks) drop(id ChunkID) {
	k := &c.table[id]
	poison(k.buf)
	k.buf = nil
	c.free = append(c.free, id)
	c.inUse--
	b := &c.buffers[k.buffer]
	b.pieces--
	if b.pieces == 0 && k.buffer != c.open {
		c.recycle(k.buffer)
	}
}

// TakeSpare moves the spare buffers, all empty, behind dst.
func (c *Chunks) TakeSpare(dst [][]byte) [][]byte {
	dst = append(append(dst, c.spares...), c.owned...)
	clear(c.spares)
	clear(c.owned)
	c.spares, c.owned = c.spares[:0], c.owned[:0]
	return dst
}

// InUse returns the number of chunks with references. Tests assert that it
// returns to zero.
func (c *Chunks) InUse() int { return c.inUse }
