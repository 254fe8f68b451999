package shard

import "sync"

// Workers computes handshakes beside the shards: at most a fixed number at once, and a bounded number waiting. Goroutines exist only
// while there is work.
type Workers struct {
	mu     sync.Mutex
	queue  []*handshake // waiting, oldest first from head on
	head   int
	limit  int // most that may wait
	most   int // goroutines
	active int
}

// NewWorkers returns workers that compute most handshakes at once and let limit wait.
func NewWorkers(most, limit int) *Workers { return &Workers{most: max(most, 1), limit: limit} }

// submit queues a job. It reports false if too many wait; a job that must not be shed is always taken.
func (w *Workers) submit(h *handshake, must bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !must && len(w.queue)-w.head >= w.limit {
		return false
	}
	w.queue = append(w.queue, h)
	if w.active < w.most {
		w.active++
		go w.work()
	}
	return true
}

// work runs jobs until none is left.
func (w *Workers) work() {
	for {
		w.mu.Lock()
		if w.head == len(w.queue) {
			w.queue, w.head = nil, 0
			w.active--
			w.mu.Unlock()
			return
		}
		h := w.queue[w.head]
		w.queue[w.head] = nil
		w.head++
		if w.head > 64 && w.head*2 > len(w.queue) {
			n := copy(w.queue, w.queue[w.head:])
			clear(w.queue[n:])
			w.queue, w.head = w.queue[:n], 0
		}
		w.mu.Unlock()
		h.run()
		if h.undecided() {
			go func() { // it may take its time, and workers are few
				h.decide()
				h.shard.post(h)
			}()
			continue
		}
		h.shard.post(h)
	}
}
