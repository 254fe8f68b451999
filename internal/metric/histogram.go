// Package metric has a histogram of durations, which a load generator fills
// and client processes hand to one another as JSON.
package metric

import (
	"math"
	"math/bits"
)

const (
	subBits = 5  // 32 buckets for each power of two
	maxBits = 36 // durations below 2^36 ns = 68.7 s are told apart
	buckets = (maxBits - subBits + 1) << subBits
)

// A Histogram counts durations in nanoseconds in buckets that are at most
// 1/32 of their value wide; below 64 ns they are exact. It takes 8 KiB, of
// which a page is touched only once a value falls into it. The zero value is
// empty, and an assignment takes a snapshot. A Histogram is not safe for
// concurrent use.
type Histogram struct {
	sum    uint64
	carry  uint64 // of sum, beyond 64 bits
	max    int64
	room   int64 // how far the minimum lies below the longest duration; 0 = empty
	counts [buckets]uint64
}

// bucketOf returns the bucket of a duration that is not negative.
func bucketOf(ns int64) int {
	if ns >= 1<<maxBits {
		return buckets - 1
	}
	// Beyond 64 ns the bucket is the power of two and the five bits below the
	// highest one; below, shift is 0 and the duration is its own bucket.
	shift := bits.Len64(uint64(ns)|1<<subBits) - (subBits + 1)
	return shift<<subBits + int(ns>>shift)
}

// bounds returns the least and the greatest duration of a bucket.
func bounds(bucket int) (from, to int64) {
	shift := max(bucket>>subBits-1, 0)
	from = int64(bucket-shift<<subBits) << shift
	return from, from + 1<<shift - 1
}

// Record counts one duration. A negative one, which only a clock that is read
// on two machines yields, counts as zero.
//
// The number of durations is not kept: the buckets hold it, and one more
// counter would be a third of the cost.
func (h *Histogram) Record(ns int64) {
	ns = max(ns, 0)
	h.counts[bucketOf(ns)]++
	h.max = max(h.max, ns)
	h.room = max(h.room, math.MaxInt64-ns)
	if h.sum += uint64(ns); h.sum < uint64(ns) {
		h.carry++
	}
}

// RecordN counts n equal durations.
func (h *Histogram) RecordN(ns int64, n uint64) {
	if n == 0 {
		return
	}
	ns = max(ns, 0)
	h.counts[bucketOf(ns)] += n
	h.max = max(h.max, ns)
	h.room = max(h.room, math.MaxInt64-ns)
	hi, lo := bits.Mul64(uint64(ns), n)
	h.add(hi, lo)
}

func (h *Histogram) add(hi, lo uint64) {
	var carry uint64
	h.sum, carry = bits.Add64(h.sum, lo, 0)
	h.carry += hi + carry
}

// used returns the buckets from that of the minimum to that of the maximum.
func (h *Histogram) used() (first, last int) {
	return bucketOf(h.Min()), bucketOf(h.max)
}

// Merge adds all that o counted.
func (h *Histogram) Merge(o *Histogram) {
	if o.room == 0 {
		return
	}
	h.max = max(h.max, o.max)
	h.room = max(h.room, o.room)
	h.add(o.carry, o.sum)
	first, last := o.used()
	for i := first; i <= last; i++ {
		h.counts[i] += o.counts[i]
	}
}

// Reset empties the histogram. It touches only what was used.
func (h *Histogram) Reset() {
	first, last := h.used()
	clear(h.counts[first : last+1])
	h.sum, h.carry, h.max, h.room = 0, 0, 0, 0
}

// Snapshot copies the histogram to dst.
func (h *Histogram) Snapshot(dst *Histogram) { *dst = *h }

// Count returns how many durations were recorded.
func (h *Histogram) Count() (n uint64) {
	first, last := h.used()
	for _, c := range h.counts[first : last+1] {
		n += c
	}
	return n
}

// Min returns the least duration recorded, exactly; 0 if there is none.
func (h *Histogram) Min() int64 {
	if h.room == 0 {
		return 0
	}
	return math.MaxInt64 - h.room
}

// Max returns the greatest duration recorded, exactly; 0 if there is none.
func (h *Histogram) Max() int64 { return h.max }

// Mean returns the mean of all durations recorded, exactly; 0 if there is
// none.
func (h *Histogram) Mean() float64 { return h.Sum() / float64(max(h.Count(), 1)) }

// Sum returns the sum of all durations recorded in nanoseconds.
func (h *Histogram) Sum() float64 { return float64(h.sum) + float64(h.carry)*(1<<64) }

// Quantile returns the duration that a share q of all those recorded does not
// exceed, at most 1/64 beside the true one as long as that is below 68.7 s.
// Quantile(0) is Min and Quantile(1) is Max; 0 if nothing was recorded.
func (h *Histogram) Quantile(q float64) int64 { return h.quantile(q, h.Count()) }

func (h *Histogram) quantile(q float64, count uint64) int64 {
	rank := uint64(math.Ceil(q * float64(count)))
	switch {
	case rank <= 1:
		return h.Min()
	case rank >= count:
		return h.max
	}
	i, last := h.used()
	for ; i < last && h.counts[i] < rank; i++ {
		rank -= h.counts[i]
	}
	if i == buckets-1 {
		return h.max
	}
	from, to := bounds(i)
	return min(max(from+(to-from)/2, h.Min()), h.max)
}

// CountUpTo returns how many durations were at most ns: a bucket of an export
// with bounds of its own. It is exact where ns ends a bucket.
func (h *Histogram) CountUpTo(ns int64) (n uint64) {
	if ns < h.Min() {
		return 0
	}
	first, last := h.used()
	for i := first; i <= min(last, bucketOf(ns)); i++ {
		n += h.counts[i]
	}
	return n
}

// A Summary is what one reads of a histogram at a glance, in nanoseconds.
type Summary struct {
	Count                         uint64
	Mean                          float64
	Min, P50, P95, P99, P999, Max int64
}

// Summary returns the figures of the histogram.
func (h *Histogram) Summary() Summary {
	n := h.Count()
	return Summary{
		Count: n, Mean: h.Sum() / float64(max(n, 1)), Min: h.Min(), Max: h.max,
		P50: h.quantile(0.5, n), P95: h.quantile(0.95, n), P99: h.quantile(0.99, n), P999: h.quantile(0.999, n),
	}
}
