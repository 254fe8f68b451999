package run

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A Figure is one number of a Result.
type Figure struct {
	Name string // with its unit
	Of   func(*Result) *float64
	// Decimals are those that are printed.
	Decimals int
	// More says that more is better.
	More bool
}

func always(of func(*Result) float64) func(*Result) *float64 {
	return func(r *Result) *float64 {
		v := of(r)
		return &v
	}
}

var (
	p50  = Figure{Name: "p50 µs", Of: always(func(r *Result) float64 { return r.Latency.P50 }), Decimals: 1}
	p99  = Figure{Name: "p99 µs", Of: always(func(r *Result) float64 { return r.Latency.P99 }), Decimals: 1}
	p999 = Figure{Name: "p99.9 µs", Of: always(func(r *Result) float64 { return r.Latency.P999 }), Decimals: 1}

	longest = Figure{Name: "longest µs", Of: always(func(r *Result) float64 { return r.Latency.Max }), Decimals: 1}

	messages = Figure{Name: "messages/s", Of: always(func(r *Result) float64 { return r.MessagesPerSecond }), More: true}
	volume   = Figure{Name: "MB/s", Of: always(func(r *Result) float64 { return r.BytesPerSecond / 1e6 }), More: true}

	perMessage = Figure{Name: "server µs/message", Of: func(r *Result) *float64 { return r.ServerPerMessage }, Decimals: 3}
	perByte    = Figure{Name: "server ns/B", Of: func(r *Result) *float64 { return r.ServerPerByte }, Decimals: 3}
	serverCPU  = Figure{Name: "server CPU %", Of: func(r *Result) *float64 { return r.ServerCPU }}

	handshakes = Figure{Name: "handshakes/s", Of: func(r *Result) *float64 { return r.HandshakesPerSecond }, More: true}
	anon       = Figure{Name: "RssAnon MB", Decimals: 1, Of: func(r *Result) *float64 {
		if r.Memory == nil {
			return nil
		}
		v := float64(r.Memory.Anon) / 1e6
		return &v
	}}
	late = Figure{Name: "generator late µs", Of: always(func(r *Result) float64 { return r.GeneratorLateness }), Decimals: 1}
)

// Print writes a value as the figure is written.
func (f *Figure) Print(v float64) string { return fmt.Sprintf("%.*f", f.Decimals, v) }

// median of values; it sorts them.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values) / 2
	if len(values)%2 == 0 {
		return (values[n-1] + values[n]) / 2
	}
	return values[n]
}

// Ratio is how one peer's figure relates to another's: the ratio of medians over
// rounds in which both have a valid run, and its 95 % bootstrap interval.
type Ratio struct {
	Value float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Pairs int     `json:"pairs"`
}

const resamples = 2000

// ratioOf compares a[i] with b[i], which are of the same round.
func ratioOf(a, b []float64) Ratio {
	r := Ratio{Value: median(slices.Clone(a)) / median(slices.Clone(b)), Pairs: len(a)}
	// The same runs shall always give the same interval.
	random := rand.New(rand.NewPCG(1, uint64(len(a))))
	ratios := make([]float64, resamples)
	x, y := make([]float64, len(a)), make([]float64, len(a))
	for i := range ratios {
		for j := range x {
			k := random.IntN(len(a))
			x[j], y[j] = a[k], b[k]
		}
		ratios[i] = median(x) / median(y)
	}
	slices.Sort(ratios)
	r.Low, r.High = ratios[resamples*25/1000], ratios[resamples*975/1000-1]
	return r
}
