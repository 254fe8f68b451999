package metric

import "sync"

// CacheLine is the size of what two cores cannot write to at the same time.
const CacheLine = 64

// Padded keeps a shard's counters on cache lines of their own, so that its
// neighbour in an array may be another shard's.
type Padded[T any] struct {
	_     [CacheLine]byte
	Value T
	_     [CacheLine]byte
}

// Published carries copies of its owner's figures to readers. The owner never
// waits: if a reader is copying at that moment, the figures stay as they were
// until the next time.
type Published[T any] struct {
	mu    sync.Mutex
	value T
}

// Publish makes a copy of *v what readers see, and reports whether it could.
func (p *Published[T]) Publish(v *T) bool {
	if !p.mu.TryLock() {
		return false
	}
	p.value = *v
	p.mu.Unlock()
	return true
}

// Load copies what was published last to dst.
func (p *Published[T]) Load(dst *T) {
	p.mu.Lock()
	*dst = p.value
	p.mu.Unlock()
}
