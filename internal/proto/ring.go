package proto

// ring is a growable double-ended queue over a power-of-two slice. The zero value is empty and holds no memory.
// Elements are pointer-free structs, so the collector never scans them.
type ring[T any] struct {
	buf  []T
	head uint32
	n    uint32
}

func (r *ring[T]) len() int { return int(r.n) }

// at returns element i, 0 being the front. The pointer is valid until the next push.
func (r *ring[T]) at(i int) *T { return &r.buf[(r.head+uint32(i))&uint32(len(r.buf)-1)] }

// push appends v at the back.
func (r *ring[T]) push(v T) {
	if int(r.n) == len(r.buf) {
		r.grow()
	}
	r.buf[(r.head+r.n)&uint32(len(r.buf)-1)] = v
	r.n++
}

// extend appends an element and returns it for the caller to fill in place, whatever it held before: a struct that is put together
// elsewhere and then copied costs more than all the rest of a push.
func (r *ring[T]) extend() *T {
	if int(r.n) == len(r.buf) {
		r.grow()
	}
	e := &r.buf[(r.head+r.n)&uint32(len(r.buf)-1)]
	r.n++
	return e
}

// reserve makes room for k elements behind the last one.
func (r *ring[T]) reserve(k int) {
	for len(r.buf) < int(r.n)+k {
		r.grow()
	}
}

// popFront drops the k first elements.
func (r *ring[T]) popFront(k int) {
	r.head = (r.head + uint32(k)) & uint32(max(len(r.buf)-1, 0))
	r.n -= uint32(k)
}

// reset forgets the elements and gives the memory back.
func (r *ring[T]) reset() { *r = ring[T]{} }

func (r *ring[T]) grow() {
	size := len(r.buf) * 2
	if size == 0 {
		size = 4
	}
	buf := make([]T, size)
	for i := range r.n {
		buf[i] = r.buf[(r.head+i)&uint32(len(r.buf)-1)]
	}
	r.buf, r.head = buf, 0
}
