// Package metric counts what shards do: histograms of durations, rates over
// sliding windows, counters that stay on their owner's cache lines.
//
// All of it has one owner, a shard or a load generator, and no atomics. Other
// goroutines read copies that the owner publishes a few times a second.
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
	count  uint64
	sum    uint64
	carry  uint64 // of sum, beyond 64 bits
	min    int64  // valid if count > 0
	max    int64
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
func (h *Histogram) Record(ns int64) { h.RecordN(ns, 1) }

// RecordN counts n equal durations, n > 0.
func (h *Histogram) RecordN(ns int64, n uint64) {
	if ns < 0 {
		ns = 0
	}
	h.counts[bucketOf(ns)] += n
	if h.count == 0 || ns < h.min {
		h.min = ns
	}
	if ns > h.max {
		h.max = ns
	}
	h.count += n
	var carry uint64
	h.sum, carry = bits.Add64(h.sum, uint64(ns)*n, 0)
	h.carry += carry
}

// Merge adds all that o counted.
func (h *Histogram) Merge(o *Histogram) {
	if o.count == 0 {
		return
	}
	if h.count == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.count += o.count
	var carry uint64
	h.sum, carry = bits.Add64(h.sum, o.sum, 0)
	h.carry += o.carry + carry
	first, last := bucketOf(o.min), bucketOf(o.max)
	for i := first; i <= last; i++ {
		h.counts[i] += o.counts[i]
	}
}

// Reset empties the histogram. It touches only what was used.
func (h *Histogram) Reset() {
	if h.count > 0 {
		clear(h.counts[bucketOf(h.min) : bucketOf(h.max)+1])
	}
	h.count, h.sum, h.carry, h.min, h.max = 0, 0, 0, 0, 0
}

// Snapshot copies the histogram to dst.
func (h *Histogram) Snapshot(dst *Histogram) { *dst = *h }

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Min returns the least duration recorded, exactly; 0 if there is none.
func (h *Histogram) Min() int64 { return h.min }

// Max returns the greatest duration recorded, exactly; 0 if there is none.
func (h *Histogram) Max() int64 { return h.max }

// Mean returns the mean of all durations recorded, exactly; 0 if there is
// none.
func (h *Histogram) Mean() float64 {
	if h.count == 0 {
		return 0
	}
	return h.Sum() / float64(h.count)
}

// Sum returns the sum of all durations recorded in nanoseconds.
func (h *Histogram) Sum() float64 { return float64(h.sum) + float64(h.carry)*(1<<64) }

// Quantile returns the duration that a share q of all those recorded does not
// exceed, at most 1/64 beside the true one as long as that is below 68.7 s.
// Quantile(0) is Min and Quantile(1) is Max; 0 if nothing was recorded.
func (h *Histogram) Quantile(q float64) int64 {
	if h.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.count)))
	switch {
	case rank <= 1:
		return h.min
	case rank >= h.count:
		return h.max
	}
	last := bucketOf(h.max)
	for i := bucketOf(h.min); i < last; i++ {
		if h.counts[i] >= rank {
			from, to := bounds(i)
			return min(max(from+(to-from)/2, h.min), h.max)
		}
		rank -= h.counts[i]
	}
	from, to := bounds(last)
	if last == buckets-1 {
		return h.max
	}
	return min(max(from+(to-from)/2, h.min), h.max)
}

// CountUpTo returns how many durations were at most ns: a bucket of an export
// with bounds of its own. It is exact where ns ends a bucket.
func (h *Histogram) CountUpTo(ns int64) (n uint64) {
	switch {
	case h.count == 0 || ns < h.min:
		return 0
	case ns >= h.max:
		return h.count
	}
	for i := bucketOf(h.min); i <= bucketOf(ns); i++ {
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
	return Summary{
		Count: h.count, Mean: h.Mean(), Min: h.min, Max: h.max,
		P50: h.Quantile(0.5), P95: h.Quantile(0.95), P99: h.Quantile(0.99), P999: h.Quantile(0.999),
	}
}
