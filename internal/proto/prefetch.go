package proto

import (
	"unsafe"

	"godwit.example/godwit/internal/mem"
)

// Prefetch has the CPU fetch what Send and BuildTrain will touch beside the Conn itself: the channel last used and the ends of the queues that
// grow.
func (c *Conn) Prefetch() {
	m := &c.msgs
	if int(m.hot) < len(m.chans) {
		ch := &m.chans[m.hot]
		mem.Prefetch(unsafe.Pointer(ch), int((unsafe.Sizeof(*ch)+mem.CacheLine-1)/mem.CacheLine))
	}
	if len(m.levels) > 0 {
		mem.Prefetch(unsafe.Pointer(&m.levels[0]), 2)
	}
	mem.Prefetch(c.app.sent.packets.end(), 1)
	mem.Prefetch(c.app.sent.records.end(), 1)
}

// PrefetchQueue has the CPU fetch where Send will put a message, once what Prefetch asked for is there.
func (c *Conn) PrefetchQueue() {
	if m := &c.msgs; int(m.hot) < len(m.chans) {
		mem.Prefetch(m.chans[m.hot].queue.end(), 1)
	}
}

// end returns where the next element will lie, if there is room.
func (r *ring[T]) end() unsafe.Pointer {
	if len(r.buf) == 0 {
		return nil
	}
	return unsafe.Pointer(&r.buf[(r.head+r.n)&uint32(len(r.buf)-1)])
}
