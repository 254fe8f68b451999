package protect

// A replay window is a ring of bits, one a packet number, as long as the slice
// (a power of two of words) behind it. It covers the numbers from top-size to
// top-1, where top is one more than the largest number seen; whatever lies
// below counts as seen.

// seen reports whether number n must be refused.
func seen(bits []uint64, top, n uint64) bool {
	size := uint64(len(bits)) * 64
	if n >= top {
		return false
	}
	if top-n > size {
		return true
	}
	i := n & (size - 1)
	return bits[i>>6]>>(i&63)&1 != 0
}

// mark notes that number n was seen and returns the new top. Numbers that a
// jump leaves behind are cleared, so the ring never shows an old lap's bits.
func mark(bits []uint64, top, n uint64) uint64 {
	size := uint64(len(bits)) * 64
	if n >= top {
		if n-top >= size {
			clear(bits)
		} else {
			forget(bits, top, n)
		}
		top = n + 1
	}
	i := n & (size - 1)
	bits[i>>6] |= 1 << (i & 63)
	return top
}

// forget clears the bits of the numbers from up to, but not including, to: a
// word a step.
func forget(bits []uint64, from, to uint64) {
	size := uint64(len(bits)) * 64
	for from < to {
		i := from & (size - 1)
		span := min(64-i&63, to-from)
		bits[i>>6] &^= (1<<span - 1) << (i & 63)
		from += span
	}
}

// fill marks everything below the top as seen.
func fill(bits []uint64) {
	for i := range bits {
		bits[i] = ^uint64(0)
	}
}
