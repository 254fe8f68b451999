package impair

import (
	"math"

	"godwit.example/godwit/internal/mono"
)

// Params is a link as users describe it: the public types have the same fields, so that they convert.
type Params struct {
	Delay, Jitter      mono.Duration
	Loss               float64
	Burst, BurstLength float64
	Reorder            float64
	ReorderDelay       mono.Duration
	Duplicate, Corrupt float64
	Rate, Queue        int64
	MTU                int
}

// Config returns the link's configuration.
func (p Params) Config() Config {
	c := Config{
		Delay: p.Delay, Jitter: p.Jitter, Loss: p.Loss, Reorder: p.Reorder, ReorderDelay: p.ReorderDelay,
		Duplicate: p.Duplicate, Corrupt: p.Corrupt, Rate: p.Rate, Queue: p.Queue, MTU: p.MTU,
	}
	c.Burst = GilbertElliott{ToGood: 1, LossBad: math.SmallestNonzeroFloat64} // a burst that is under way ends
	if p.Burst > 0 {
		c.Burst = Bursts(p.Burst, p.BurstLength)
	}
	return c
}
