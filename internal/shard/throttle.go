package shard

import (
	"sync/atomic"

	"godwit.example/godwit/internal/mono"
)

// Throttle is a rate that shards have in common: a bucket that holds what may leave at once. It keeps one number, the time at
// which the bucket would be full again (GCRA), so that taking from it is one atomic operation a train.
type Throttle struct {
	full  atomic.Int64 // mono.Time
	rate  int64        // bytes a second
	burst mono.Duration
}

// What may leave at once after a pause: so many bytes or the rate's share of so long, whichever is more.
const (
	throttleBytes = 64 << 10
	throttleTime  = 2 * mono.Millisecond
)

// NewThrottle returns a throttle for bytes a second.
func NewThrottle(rate int64) *Throttle {
	t := &Throttle{rate: rate}
	t.burst = max(t.takes(throttleBytes), throttleTime)
	return t
}

// takes returns how long the rate takes for so many bytes.
func (t *Throttle) takes(n int) mono.Duration {
	return mono.Duration(float64(n) / float64(t.rate) * float64(mono.Second))
}

// next returns when something may leave; a time not after now means at once. What leaves then may be more than the bucket holds: it is
// paid back.
func (t *Throttle) next() mono.Time { return mono.Time(t.full.Load()).Add(-t.burst) }

// spend takes bytes out of the bucket.
func (t *Throttle) spend(now mono.Time, n int) {
	cost := int64(t.takes(n))
	for {
		full := t.full.Load()
		if t.full.CompareAndSwap(full, max(full, int64(now))+cost) {
			return
		}
	}
}

// throttled reports whether the shard has to wait until sendAt.
func (s *Shard) throttled(now mono.Time) bool {
	if s.cfg.Throttle == nil {
		return false
	}
	s.sendAt = s.cfg.Throttle.next()
	return s.sendAt > now
}
