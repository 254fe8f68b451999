package room

import (
	"math/bits"

	"godwit.example/godwit/load"
)

// fine is the number of steps in which a power of two is divided: values are
// precise to one part in fine.
const fine = 64

// histogram is a distribution of times in nanoseconds.
type histogram struct {
	counts [fine * 42]uint64 // up to some minutes
	total  uint64
	most   int64
}

func (h *histogram) add(ns int64) {
	ns = max(ns, 0)
	h.most = max(h.most, ns)
	h.total++
	h.counts[min(place(uint64(ns)), len(h.counts)-1)]++
}

// place is the number of the step that v is in: those below 2*fine have one each.
func place(v uint64) int {
	e := max(bits.Len64(v)-bits.Len(2*fine-1), 0)
	return fine*e + int(v>>e)
}

// value is the highest of a step.
func value(step int) int64 {
	if step < 2*fine {
		return int64(step)
	}
	e := step/fine - 1
	return int64(step-fine*e+1)<<e - 1
}

// quantile is the least value that a share q of the samples do not exceed.
func (h *histogram) quantile(q float64) int64 {
	if h.total == 0 {
		return 0
	}
	want, seen := uint64(q*float64(h.total)), uint64(0)
	for i, n := range h.counts {
		if seen += n; seen > want {
			return min(value(i), h.most)
		}
	}
	return h.most
}

func (h *histogram) latency() load.Latency {
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return load.Latency{
		P50: us(h.quantile(0.5)), P90: us(h.quantile(0.9)), P99: us(h.quantile(0.99)), P999: us(h.quantile(0.999)), Max: us(h.most),
	}
}
