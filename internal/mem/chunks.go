package mem

// ChunkSize is the capacity of a sender's ordinary chunk.
const ChunkSize = 64 << 10

// maxSpares bounds the buffers kept for the senders: 1 MiB a shard.
const maxSpares = 16

// A ChunkID names a chunk of one Chunks table; 0 names none.
type ChunkID uint32

// Chunks is the table of the senders' buffers that lie with a shard. A buffer
// crosses the mailbox once, full of messages, and goes back to the senders
// when the last of them is done with: each message holds a reference by the
// chunk's number. It belongs to one shard and is not safe for concurrent use.
// The zero value is an empty table.
type Chunks struct {
	table  []chunk // entry 0 is not used
	free   []ChunkID
	spares [][]byte
	inUse  int
}

type chunk struct {
	buf  []byte
	refs uint32
}

// Add enters a buffer with one reference, which the caller holds.
func (c *Chunks) Add(buf []byte) ChunkID {
	c.inUse++
	if n := len(c.free); n > 0 {
		id := c.free[n-1]
		c.free = c.free[:n-1]
		c.table[id] = chunk{buf, 1}
		return id
	}
	if len(c.table) == 0 {
		c.table = append(c.table, chunk{})
	}
	c.table = append(c.table, chunk{buf, 1})
	return ChunkID(len(c.table) - 1)
}

// Bytes returns the chunk's buffer as it was added.
func (c *Chunks) Bytes(id ChunkID) []byte {
	k := &c.table[id]
	if k.refs == 0 {
		panic("BUG: mem: a chunk was used after its release")
	}
	return k.buf
}

// Retain adds a reference.
func (c *Chunks) Retain(id ChunkID) {
	k := &c.table[id]
	if k.refs == 0 {
		panic("BUG: mem: a chunk was used after its release")
	}
	k.refs++
}

// Release drops a reference; 0 is ignored. With the last one the buffer
// becomes a spare, if it is an ordinary one and spares are wanted.
func (c *Chunks) Release(id ChunkID) {
	if id == 0 {
		return
	}
	k := &c.table[id]
	if k.refs == 0 {
		panic("BUG: mem: a chunk that is not in use was released")
	}
	k.refs--
	if k.refs > 0 {
		return
	}
	poison(k.buf)
	if cap(k.buf) == ChunkSize && len(c.spares) < maxSpares {
		c.spares = append(c.spares, k.buf[:0])
	}
	k.buf = nil
	c.free = append(c.free, id)
	c.inUse--
}

// TakeSpare moves the spare buffers, all empty, behind dst.
func (c *Chunks) TakeSpare(dst [][]byte) [][]byte {
	dst = append(dst, c.spares...)
	clear(c.spares)
	c.spares = c.spares[:0]
	return dst
}

// InUse returns the number of chunks with references. Tests assert that it
// returns to zero.
func (c *Chunks) InUse() int { return c.inUse }
