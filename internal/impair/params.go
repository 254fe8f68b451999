package impair

import (
	"fmt"
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
	QueueDatagrams     int
	MTU                int
}

// MaxDelay bounds the times of Params: what is delayed is kept in memory.
const MaxDelay = 10 * mono.Second

// Check returns the name of the first parameter that makes no sense, its value
// and what it must be; an empty name if there is none.
func (p *Params) Check() (name string, value any, want string) {
	for _, f := range []struct {
		name string
		p    float64
	}{{"Loss", p.Loss}, {"Burst", p.Burst}, {"Reorder", p.Reorder}, {"Duplicate", p.Duplicate}, {"Corrupt", p.Corrupt}} {
		if !(f.p >= 0 && f.p <= 1) {
			return f.name, f.p, "a probability, 0 to 1"
		}
	}
	for _, f := range []struct {
		name string
		d    mono.Duration
	}{{"Delay", p.Delay}, {"Jitter", p.Jitter}, {"ReorderDelay", p.ReorderDelay}} {
		if f.d < 0 || f.d > MaxDelay {
			return f.name, f.d, fmt.Sprintf("0 to %v", MaxDelay)
		}
	}
	switch {
	case !(p.BurstLength >= 0):
		return "BurstLength", p.BurstLength, "datagrams, 1 or more"
	case p.Rate < 0:
		return "Rate", p.Rate, "bytes a second, or 0 for no limit"
	case p.Queue < 0:
		return "Queue", p.Queue, "bytes, or 0 for no limit"
	case p.QueueDatagrams < 0 || p.QueueDatagrams > MaxQueueDatagrams:
		return "QueueDatagrams", p.QueueDatagrams, fmt.Sprintf("0 to %d datagrams, 0 for no limit", MaxQueueDatagrams)
	case p.MTU < 0:
		return "MTU", p.MTU, "bytes, or 0 for no limit"
	}
	return "", nil, ""
}

// Config returns the link's configuration.
func (p Params) Config() Config {
	c := Config{
		Delay: p.Delay, Jitter: p.Jitter, Loss: p.Loss, Reorder: p.Reorder, ReorderDelay: p.ReorderDelay,
		Duplicate: p.Duplicate, Corrupt: p.Corrupt, Rate: p.Rate, Queue: p.Queue, QueueDatagrams: p.QueueDatagrams, MTU: p.MTU,
	}
	c.Burst = GilbertElliott{ToGood: 1, LossBad: math.SmallestNonzeroFloat64} // a burst that is under way ends
	if p.Burst > 0 {
		c.Burst = Bursts(p.Burst, p.BurstLength)
	}
	return c
}
