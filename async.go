package godwit

import "sync"

// Async returns a handler whose functions run on up to the given number of goroutines instead of the shards', so that they may block. For one
// connection they still run one at a time and in order; a connection whose Message is slow holds its peer back, and nobody else. Payloads
// are copied once more. Tick stays on the shard.
//
// Open no longer comes before Dial returns or before the first send is possible; an error of it closes the connection.
func Async(h Handler, workers int) Handler {
	h.workers = max(workers, 1)
	return h
}

// asyncWorkers runs the functions of an Async handler. Goroutines exist only while there is work.
type asyncWorkers struct {
	mu     sync.Mutex
	queue  []asyncJob // connections with something to do, oldest first
	active int
	limit  int
}

type asyncJob struct {
	c Conn
	s *side
}

// schedule has a worker look at a connection, once.
func (w *asyncWorkers) schedule(c Conn, s *side) {
	s.mu.Lock()
	running := s.running
	s.running = true
	s.mu.Unlock()
	if running {
		return
	}
	w.mu.Lock()
	w.queue = append(w.queue, asyncJob{c, s})
	more := w.active < w.limit
	if more {
		w.active++
	}
	w.mu.Unlock()
	switch {
	case !more:
	case c.ep.engine.sim != nil:
		c.ep.engine.sim.Later(w.work)
	default:
		go w.work()
	}
}

// work serves connections in turn until none has anything to do.
func (w *asyncWorkers) work() {
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.queue = nil
			w.active--
			w.mu.Unlock()
			return
		}
		job := w.queue[0]
		w.queue[0] = asyncJob{}
		w.queue = w.queue[1:]
		w.mu.Unlock()
		if job.s.serve(job.c) {
			w.mu.Lock()
			w.queue = append(w.queue, job)
			w.mu.Unlock()
		}
	}
}

// serve calls the handler for what has come together. It reports whether more has come meanwhile; then the connection stays with the
// workers.
func (s *side) serve(c Conn) (more bool) {
	s.mu.Lock()
	if s.waiting == 0 {
		s.running = false
		s.mu.Unlock()
		return false
	}
	s.exchange()
	s.mu.Unlock()
	h := &c.ep.handler
	for s.off < len(s.read) {
		switch r := s.next(); r.kind {
		case recordMessage:
			if h.Message != nil {
				h.Message(c, Message{Payload: r.payload, Channel: Channel(r.channel), Key: r.key})
			}
			s.owe(c, r.channel, len(r.payload))
		case recordOpen:
			if h.Open == nil {
				continue
			}
			if err := h.Open(c); err != nil {
				if r := refusal(err); r.App {
					_ = c.CloseWithError(r.Code, r.Reason) // it may be closed already
				} else {
					c.shard().Abort(c.ref(), r.Code, r.Reason)
				}
			}
		case recordGap:
			if h.Gap != nil {
				h.Gap(c, Channel(r.channel), int(r.key))
			}
		case recordOutcome:
			if h.Outcome != nil {
				h.Outcome(c, r.key, Outcome(r.channel))
			}
		case recordWritable:
			if h.Writable != nil {
				h.Writable(c)
			}
		case recordClose:
			if h.Close != nil {
				h.Close(c, s.cause())
			}
		}
	}
	if s.owed.count > 0 {
		s.pay(c)
	}
	return true
}
