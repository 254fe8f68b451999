// Package wheel keeps the deadlines of a shard's connections: one a
// connection, set and moved far more often than it fires.
package wheel

import (
	"math/bits"
	"unsafe"

	"godwit.example/godwit/internal/mono"
)

const (
	tickShift = 15 // a tick, the lowest level's bucket, is 32.8 µs
	digitBits = 6  // 64 buckets a level
	levels    = 8  // 15 + 8·6 = 63 bits: every instant has a place
	digitMask = 1<<digitBits - 1

	// scanLimit bounds how many deadlines of a coarse bucket Next looks at.
	scanLimit = 32

	// visitLimit bounds how many entries one call of Expired looks at: with a
	// million connections whose deadlines lie near each other, the others would
	// wait until all of them are moved, or have fired.
	visitLimit = 512

	// Entries lie in chunks that never move: a table that doubled would hold everything up while a million of them are copied.
	chunkBits = 9
	chunkMask = 1<<chunkBits - 1
)

// A Wheel is a hierarchical timing wheel (Varghese and Lauck, scheme 7) whose
// entries are slot numbers. It belongs to one shard, is not safe for
// concurrent use, and takes the time as an argument, which never runs
// backwards.
//
// An entry lies in the bucket of the time it was armed for. Moving a deadline
// later only notes the new time: the entry is found and moved when its bucket
// comes up. That makes the common case, a timeout pushed back by each packet,
// one store; the price is a visit to the entry once per length of the timeout.
//
// Buckets are arranged by the digits, base 64, of the tick: an entry's level
// is the highest digit in which its tick differs from the wheel's own. So all
// entries of a level come before all those of the level above, and the lowest
// occupied bucket of the lowest occupied level is the earliest one.
type Wheel struct {
	next     mono.Time // no deadline is earlier
	tick     uint64    // no bucket before this tick is occupied
	chunks   []*[1 << chunkBits]entry
	count    int
	stats    Stats
	limit    int    // visitLimit
	left     uint32 // slot+1 of the first entry of a bucket that is being emptied; 0 = none is
	leftHead int    // that bucket
	occupied [levels]uint64
	heads    [levels << digitBits]uint32 // slot+1 of the first entry; 0 = none
}

type entry struct {
	at         mono.Time // the deadline; Never = none
	armed      mono.Time // the time that names the entry's bucket, at most at; Never = in no bucket
	next, prev uint32    // slot+1; 0 = none
}

// Stats counts what a wheel did. The numbers only grow.
type Stats struct {
	Set     uint64 // calls of Set and Remove
	Moved   uint64 // those that put the entry into another bucket at once
	Visited uint64 // entries that were met because their bucket came up
	Fired   uint64 // deadlines that passed
}

// New returns an empty wheel that stands at now.
func New(now mono.Time) *Wheel {
	return &Wheel{next: mono.Never, tick: uint64(now) >> tickShift, limit: visitLimit}
}

// Stats returns the counters.
func (w *Wheel) Stats() Stats { return w.stats }

// Len returns the number of slots that have a deadline.
func (w *Wheel) Len() int { return w.count }

// Next returns when Expired should be called: mono.Never if no slot has a
// deadline, else a time not later than the earliest deadline, and later than
// the last call of Expired unless that has left something for the next one, or a
// deadline was set that had passed. It is mostly exact; it is early, once each,
// for a deadline that was moved later, and for one that lies far ahead in a
// crowded bucket.
func (w *Wheel) Next() mono.Time { return w.next }

// Set gives the slot a deadline, in place of the one it had. mono.Never means
// none.
func (w *Wheel) Set(slot uint32, at mono.Time) {
	if int(slot>>chunkBits) >= len(w.chunks) {
		w.grow(slot)
	}
	w.stats.Set++
	e := w.entry(slot)
	if e.at == mono.Never {
		w.count++
	}
	if at == mono.Never {
		w.count--
	}
	e.at = at
	if at < w.next {
		w.next = at
	}
	if at < e.armed {
		w.arm(slot+1, e)
	}
}

// Entry returns where Set will note a deadline of the slot, for a caller that
// has memory fetched ahead; nil if the slot never had one.
func (w *Wheel) Entry(slot uint32) unsafe.Pointer {
	if int(slot>>chunkBits) >= len(w.chunks) {
		return nil
	}
	return unsafe.Pointer(w.entry(slot))
}

// Remove takes the slot's deadline away.
func (w *Wheel) Remove(slot uint32) {
	if int(slot>>chunkBits) < len(w.chunks) {
		w.Set(slot, mono.Never)
	}
}

// Expired appends the slots whose deadline is not later than now to dst, in
// no particular order, and takes their deadlines away. It looks at a limited
// number of entries: if Next is not later than now afterwards, there are more.
func (w *Wheel) Expired(now mono.Time, dst []uint32) []uint32 {
	if now < w.next {
		return dst
	}
	for budget := w.limit; ; {
		if w.left == 0 {
			level, head, start := w.earliest()
			if level < 0 || mono.Time(start<<tickShift) > now {
				break
			}
			w.tick = start
			w.left, w.leftHead = w.heads[head], head
			w.heads[head] = 0
			w.occupied[level] &^= 1 << (head & digitMask)
		}
		var unfinished bool
		dst, unfinished, budget = w.visit(now, budget, dst)
		if w.left != 0 {
			return dst // next is not later than now, and stays
		}
		if unfinished && w.tick == uint64(now)>>tickShift {
			break
		}
	}
	w.tick = max(w.tick, uint64(now)>>tickShift)
	w.next = w.earliestDeadline()
	return dst
}

// visit takes entries, as many as the budget has, out of the bucket that is
// being emptied: those that are due are appended to dst, others move to where
// they belong. What belongs to this very bucket returns there, and visit reports
// it: within the present tick that is the end of it, for nothing else is due.
func (w *Wheel) visit(now mono.Time, budget int, dst []uint32) (_ []uint32, unfinished bool, rest int) {
	for ; w.left != 0 && budget > 0; budget-- {
		id := w.left
		e := w.entry(id - 1)
		w.left = e.next
		e.armed = mono.Never
		w.stats.Visited++
		switch {
		case e.at <= now:
			e.at = mono.Never
			w.count--
			w.stats.Fired++
			dst = append(dst, id-1)
		case e.at != mono.Never:
			unfinished = w.link(id, e) == w.leftHead || unfinished
		}
	}
	if w.left != 0 {
		w.entry(w.left - 1).prev = 0
	}
	return dst, unfinished, budget
}

// earliest returns the earliest occupied bucket and its first tick, or a
// negative level if there is none.
func (w *Wheel) earliest() (level, head int, start uint64) {
	for level := range levels {
		if set := w.occupied[level]; set != 0 {
			digit := bits.TrailingZeros64(set)
			shift := level * digitBits
			above := w.tick >> (shift + digitBits) << (shift + digitBits)
			return level, level<<digitBits | digit, above | uint64(digit)<<shift
		}
	}
	return -1, 0, 0
}

// earliestDeadline returns the earliest deadline, or an earlier time at which
// a crowded bucket will be spread over the levels below. Entries that it
// finds moved later are put where they belong.
func (w *Wheel) earliestDeadline() mono.Time {
	for {
		level, head, start := w.earliest()
		if level < 0 {
			return mono.Never
		}
		end := mono.Time((start+1<<(level*digitBits))<<tickShift - 1) // the bucket's last instant
		first := mono.Never
		id, seen := w.heads[head], 0
		for ; id != 0 && (level == 0 || seen < scanLimit); seen++ {
			e := w.entry(id - 1)
			following := e.next
			w.stats.Visited++
			switch {
			case e.at <= end && e.at != mono.Never:
				first = min(first, e.at)
			default:
				w.unlink(e)
				if e.at != mono.Never {
					w.link(id, e)
				}
			}
			id = following
		}
		if id != 0 {
			return mono.Time(start << tickShift)
		}
		if first != mono.Never {
			return first
		}
	}
}

// arm moves an entry to the bucket of its deadline.
func (w *Wheel) arm(id uint32, e *entry) {
	w.stats.Moved++
	if e.armed != mono.Never {
		w.unlink(e)
	}
	w.link(id, e)
}

// headOf returns the bucket of an instant that is not before the wheel's.
func (w *Wheel) headOf(at mono.Time) int {
	tick := uint64(at) >> tickShift
	level := (bits.Len64((tick^w.tick)|1) - 1) / digitBits
	return level<<digitBits | int(tick>>(level*digitBits)&digitMask)
}

// link puts an entry that is in no bucket into that of its deadline, or into
// the present one if the deadline has passed, and returns the bucket.
func (w *Wheel) link(id uint32, e *entry) int {
	e.armed = max(e.at, mono.Time(w.tick<<tickShift))
	head := w.headOf(e.armed)
	e.prev, e.next = 0, w.heads[head]
	if e.next != 0 {
		w.entry(e.next - 1).prev = id
	}
	w.heads[head] = id
	w.occupied[head>>digitBits] |= 1 << (head & digitMask)
	return head
}

// unlink takes an entry out of its bucket. The bucket still follows from the
// time it was armed for: it changes only when the wheel passes the bucket's
// start, and then the bucket is emptied.
func (w *Wheel) unlink(e *entry) {
	if e.next != 0 {
		w.entry(e.next - 1).prev = e.prev
	}
	switch {
	case e.prev != 0:
		w.entry(e.prev - 1).next = e.next
	case w.left != 0 && w.entry(w.left-1) == e:
		w.left = e.next
	default:
		head := w.headOf(e.armed)
		w.heads[head] = e.next
		if e.next == 0 {
			w.occupied[head>>digitBits] &^= 1 << (head & digitMask)
		}
	}
	e.armed = mono.Never
}

// entry returns that of a slot, which has room.
func (w *Wheel) entry(slot uint32) *entry { return &w.chunks[slot>>chunkBits][slot&chunkMask] }

// grow makes room for a slot.
func (w *Wheel) grow(slot uint32) {
	for int(slot>>chunkBits) >= len(w.chunks) {
		c := new([1 << chunkBits]entry)
		for i := range c {
			c[i] = entry{at: mono.Never, armed: mono.Never}
		}
		w.chunks = append(w.chunks, c)
	}
}
