package metric

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestBucketsTileTheRangeWithinTheirError(t *testing.T) {
	next := int64(0)
	for i := range buckets {
		from, to := bounds(i)
		if from != next || to < from {
			t.Fatalf("bucket %d is %d…%d, the one before ends at %d", i, from, to, next-1)
		}
		if bucketOf(from) != i || bucketOf(to) != i {
			t.Fatalf("bucket %d does not hold its own bounds %d and %d", i, from, to)
		}
		if width := to - from + 1; width > 1 && float64(width) > float64(from)/32 {
			t.Fatalf("bucket %d…%d is wider than 1/32 of its value", from, to)
		}
		next = to + 1
	}
	if next != 1<<maxBits || next <= 60e9 {
		t.Errorf("the range ends at %d ns", next)
	}
}

// duration draws durations of all magnitudes.
func duration() *rapid.Generator[int64] {
	return rapid.Custom(func(t *rapid.T) int64 {
		return rapid.Int64Range(0, 1<<rapid.IntRange(0, 35).Draw(t, "bits")).Draw(t, "ns")
	})
}

func TestHistogramAgreesWithSortedSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(duration(), 1, 300).Draw(t, "samples")
		split := rapid.IntRange(0, len(samples)).Draw(t, "split")
		var h, other Histogram
		sum := 0.0
		for i, ns := range samples {
			if i < split {
				h.Record(ns)
			} else {
				other.Record(ns)
			}
			sum += float64(ns)
		}
		h.Merge(&other)
		slices.Sort(samples)
		n := len(samples)
		if h.Count() != uint64(n) || h.Min() != samples[0] || h.Max() != samples[n-1] {
			t.Fatalf("%d durations from %d to %d, want %d from %d to %d", h.Count(), h.Min(), h.Max(), n, samples[0], samples[n-1])
		}
		if math.Abs(h.Mean()-sum/float64(n)) > 1e-6*sum {
			t.Fatalf("mean %v, want %v", h.Mean(), sum/float64(n))
		}
		for _, q := range []float64{0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
			want := samples[max(int(math.Ceil(q*float64(n)))-1, 0)]
			got := h.Quantile(q)
			if math.Abs(float64(got-want)) > float64(want)/64+0.5 {
				t.Fatalf("quantile %v is %d, want %d", q, got, want)
			}
		}
		for _, at := range []int64{0, 63, 1<<20 - 1, 1<<35 - 1} {
			want, _ := slices.BinarySearch(samples, at+1)
			if got := h.CountUpTo(at); got != uint64(want) {
				t.Fatalf("%d durations up to %d, want %d", got, at, want)
			}
		}
		var snapshot Histogram
		h.Snapshot(&snapshot)
		h.Reset()
		if h != (Histogram{}) || snapshot.Count() != uint64(n) {
			t.Fatal("Reset left something behind, or reached the snapshot")
		}
	})
}

func TestAnEmptyHistogramReadsZero(t *testing.T) {
	var h, empty Histogram
	if s := h.Summary(); s != (Summary{}) || h.CountUpTo(5) != 0 {
		t.Errorf("summary of nothing is %+v", s)
	}
	h.Record(7)
	h.Merge(&empty)
	empty.Merge(&h)
	if h != empty || h.Min() != 7 {
		t.Error("merging with an empty histogram changed something")
	}
}

func TestOutliersAreKeptExactlyAtTheEnds(t *testing.T) {
	var h Histogram
	h.Record(-5)
	h.Record(100)
	h.Record(1 << 40)
	if h.Min() != 0 || h.Max() != 1<<40 || h.Quantile(0.5) < 98 || h.Quantile(0.5) > 102 || h.Quantile(1) != 1<<40 {
		t.Errorf("summary is %+v", h.Summary())
	}
	for range 3 {
		h.Record(1 << 41)
	}
	if got := h.Quantile(0.7); got != 1<<41 {
		t.Errorf("a quantile beyond the range is %d", got)
	}
}

func TestTheSumCarriesBeyond64Bits(t *testing.T) {
	var h Histogram
	for range 8 {
		h.RecordN(1<<35, 1<<30)
	}
	for range 4 {
		o := h
		h.Merge(&o)
	}
	if mean := h.Mean(); mean != 1<<35 {
		t.Errorf("the mean of equal durations is %v", mean)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	h := new(Histogram)
	if n := testing.AllocsPerRun(100, func() { h.Record(12345); h.Quantile(0.5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	h := new(Histogram)
	ns := int64(1000)
	for b.Loop() {
		h.Record(ns & 0xfffff)
		ns += 977
	}
}

func BenchmarkQuantile(b *testing.B) {
	h := new(Histogram)
	for i := range int64(1000) {
		h.Record(i * i)
	}
	for b.Loop() {
		h.Quantile(0.99)
	}
}
