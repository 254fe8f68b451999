package mailbox

import (
	"math/bits"
	"sync/atomic"
)

// cacheLine separates what one side writes from what the other side writes.
const cacheLine = 64

// A Ring is a bounded queue from one producer goroutine to one consumer
// goroutine, without locks. Each side keeps a copy of the other's index and
// looks at the original only when the copy says full or empty, so that the
// lines move between the cores once a batch and not once an item.
//
// A consumer that finds the ring empty sleeps so:
//
//	for {
//		if v, ok := r.Pop(); ok { return v }
//		if !r.Sleep() { continue }
//		select {
//		case <-r.Woken():
//		case <-ctx.Done(): r.Awake(); return ctx.Err()
//		}
//	}
//
// A wake-up may be stale, left over from a sleep that ended otherwise.
type Ring[T any] struct {
	slots []T
	mask  uint64
	woken chan struct{}

	_          [cacheLine]byte
	tail       atomic.Uint64 // written by the producer
	headCopied uint64        // the producer's copy of head

	_          [cacheLine]byte
	head       atomic.Uint64 // written by the consumer
	tailCopied uint64        // the consumer's copy of tail

	_      [cacheLine]byte
	asleep atomic.Bool
	_      [cacheLine]byte
}

// NewRing returns a ring for at least capacity items.
func NewRing[T any](capacity int) *Ring[T] {
	n := 1 << bits.Len(uint(max(capacity, 1)-1))
	return &Ring[T]{slots: make([]T, n), mask: uint64(n - 1), woken: make(chan struct{}, 1)}
}

// Cap returns how many items the ring holds.
func (r *Ring[T]) Cap() int { return len(r.slots) }

// Len returns how many items are waiting. Either side may call it; the other
// side may change the answer at once.
func (r *Ring[T]) Len() int {
	head := r.head.Load()
	return int(r.tail.Load() - head)
}

// room returns how many items the producer may push, at least want if the
// ring has so many places.
func (r *Ring[T]) room(tail, want uint64) uint64 {
	n := uint64(len(r.slots))
	if tail-r.headCopied+want > n {
		r.headCopied = r.head.Load()
	}
	return n - (tail - r.headCopied)
}

// Push appends v and reports whether there was room. Producer only.
func (r *Ring[T]) Push(v T) bool {
	tail := r.tail.Load()
	if r.room(tail, 1) == 0 {
		return false
	}
	r.slots[tail&r.mask] = v
	r.tail.Store(tail + 1)
	r.Notify()
	return true
}

// PushBatch appends as many of vs as there is room for, in order, and returns
// how many that were. Producer only.
func (r *Ring[T]) PushBatch(vs []T) int {
	tail := r.tail.Load()
	n := min(len(vs), int(r.room(tail, uint64(len(vs)))))
	if n == 0 {
		return 0
	}
	at := int(tail & r.mask)
	k := copy(r.slots[at:], vs[:n])
	copy(r.slots, vs[k:n])
	r.tail.Store(tail + uint64(n))
	r.Notify()
	return n
}

// Pop takes the oldest item. Consumer only.
func (r *Ring[T]) Pop() (v T, ok bool) {
	head := r.head.Load()
	if head == r.tailCopied {
		r.tailCopied = r.tail.Load()
		if head == r.tailCopied {
			return v, false
		}
	}
	var zero T
	slot := &r.slots[head&r.mask]
	v, *slot = *slot, zero
	r.head.Store(head + 1)
	return v, true
}

// PopBatch takes up to len(dst) items, oldest first, and returns how many.
// Consumer only.
func (r *Ring[T]) PopBatch(dst []T) int {
	head := r.head.Load()
	if r.tailCopied-head < uint64(len(dst)) {
		r.tailCopied = r.tail.Load()
	}
	n := min(len(dst), int(r.tailCopied-head))
	if n == 0 {
		return 0
	}
	at := int(head & r.mask)
	k := copy(dst[:n], r.slots[at:])
	copy(dst[k:n], r.slots)
	clear(r.slots[at : at+k])
	clear(r.slots[:n-k])
	r.head.Store(head + uint64(n))
	return n
}

// Sleep announces that the consumer is going to wait on Woken. If items are
// waiting it announces nothing and returns false. Consumer only.
//
// The announcement is stored before the ring is looked at again, and the
// producer stores its item before it looks at the announcement, so one of the
// two always sees the other.
func (r *Ring[T]) Sleep() bool {
	r.asleep.Store(true)
	if r.tail.Load() == r.head.Load() {
		return true
	}
	r.asleep.Store(false)
	return false
}

// Awake ends the announcement after a wait that ended otherwise. Consumer
// only.
func (r *Ring[T]) Awake() { r.asleep.Store(false) }

// Woken returns the channel on which a sleeping consumer is woken.
func (r *Ring[T]) Woken() <-chan struct{} { return r.woken }

// Notify wakes the consumer if it sleeps. Pushing does so by itself; it is
// for news that do not pass the ring, such as the end. Producer only.
func (r *Ring[T]) Notify() {
	if r.asleep.Load() && r.asleep.CompareAndSwap(true, false) {
		select {
		case r.woken <- struct{}{}:
		default:
		}
	}
}
