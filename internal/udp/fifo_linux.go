package udp

// fifo is a queue of socket numbers. Each socket is in it at most once, so it
// never holds more than there are sockets; grow makes room for them.
type fifo struct {
	ring []uint32 // a power of two long
	head uint32
	n    uint32
}

func (q *fifo) len() int { return int(q.n) }

func (q *fifo) push(v uint32) {
	q.ring[(q.head+q.n)&uint32(len(q.ring)-1)] = v
	q.n++
}

func (q *fifo) pop() uint32 {
	v := q.ring[q.head&uint32(len(q.ring)-1)]
	q.head++
	q.n--
	return v
}

func (q *fifo) grow(sockets int) {
	if sockets <= len(q.ring) {
		return
	}
	size := max(8, 2*len(q.ring))
	for size < sockets {
		size *= 2
	}
	ring := make([]uint32, size)
	for i := range q.n {
		ring[i] = q.ring[(q.head+i)&uint32(len(q.ring)-1)]
	}
	q.ring, q.head = ring, 0
}
