package proto

// span is a range of bytes [from, to).
type span struct{ from, to uint32 }

// rangeset is a set of bytes: its spans are sorted, not empty, and never touch each other. Fragments come nearly in order,
// so it nearly always holds one span, and searches begin at the end.
type rangeset []span

// add puts [from, to) in.
func (s *rangeset) add(from, to uint32) {
	r := *s
	if from >= to {
		return
	}
	n := len(r)
	if n > 0 && r[n-1].to == from {
		r[n-1].to = to
		return
	}
	lo := r.search(from) // the first span that ends at or behind from
	hi := lo
	for hi < n && r[hi].from <= to {
		hi++
	}
	if lo == hi {
		r = append(r, span{})
		copy(r[lo+1:], r[lo:])
		r[lo] = span{from, to}
		*s = r
		return
	}
	r[lo] = span{min(from, r[lo].from), max(to, r[hi-1].to)}
	*s = append(r[:lo+1], r[hi:]...)
}

// sub takes [from, to) out.
func (s *rangeset) sub(from, to uint32) {
	r := *s
	if from >= to || len(r) == 0 {
		return
	}
	lo := r.search(from)
	if lo < len(r) && r[lo].to == from {
		lo++
	}
	if lo == len(r) || r[lo].from >= to {
		return
	}
	if r[lo].from < from && r[lo].to > to { // a hole inside one span
		r = append(r, span{})
		copy(r[lo+1:], r[lo:])
		r[lo].to, r[lo+1].from = from, to
		*s = r
		return
	}
	if r[lo].from < from {
		r[lo].to = from
		lo++
	}
	hi := lo
	for hi < len(r) && r[hi].to <= to {
		hi++
	}
	if hi < len(r) && r[hi].from < to {
		r[hi].from = to
	}
	*s = append(r[:lo], r[hi:]...)
}

// gap returns the first piece of [from, to) that is not in the set; it is empty if there is none.
func (s rangeset) gap(from, to uint32) (a, b uint32) {
	i := s.search(from)
	if i < len(s) && s[i].from <= from {
		from = min(s[i].to, to)
		i++
	}
	if i < len(s) && s[i].from < to {
		to = s[i].from
	}
	return from, to
}

// has reports whether all of [from, to) is in the set.
func (s rangeset) has(from, to uint32) bool {
	a, b := s.gap(from, to)
	return a >= b
}

// search returns the index of the first span that ends at or behind x.
func (s rangeset) search(x uint32) int {
	n := len(s)
	if n == 0 || s[n-1].to < x {
		return n
	}
	lo, hi := 0, n-1 // s[hi] ends at or behind x
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s[mid].to < x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
