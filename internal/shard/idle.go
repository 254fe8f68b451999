package shard

import "godwit.example/godwit/internal/mono"

// What lies idle is given back after a while. Both times are short against those in which a person would look at the memory of a
// quiet server, and long against the gaps in traffic for which it would have to be fetched again at once.
const (
	coldAfter = 500 * mono.Millisecond // of a connection
	restAfter = mono.Second            // of the shard
)

// coldDeadline lets go of the cipher objects of a connection that has opened and sealed nothing for coldAfter, and returns when to look
// again. They are half of what an idle connection holds, and the next packet builds them again in a few microseconds. Still later all of the
// connection may go: then it reports that it is time for that.
func (s *Shard) coldDeadline(now mono.Time, p *peer) (at mono.Time, tired bool) {
	switch n := p.keys.Packets(); {
	case n != p.packets:
		p.packets, p.cold = n, false
		p.coldAt = now.Add(s.coldAfter)
	case now < p.coldAt:
	case !p.cold:
		p.keys.Evict()
		s.counters.KeysEvicted++
		p.cold = true
		p.coldAt = mono.Never
		if s.cfg.Hibernate > 0 {
			p.coldAt = now.Add(s.cfg.Hibernate - s.coldAfter)
		}
	default:
		tired = true
		p.coldAt = now.Add(s.cfg.Hibernate) // if it may not sleep now
	}
	return p.coldAt, tired
}

// rest gives back the memory of batches and buffers once nothing has come or gone for restAfter.
func (s *Shard) rest(now mono.Time) {
	if n := s.counters.Datagrams + s.counters.Trains; n != s.moved {
		s.moved = n
		s.restAt = now.Add(restAfter)
		return
	}
	if now < s.restAt {
		return
	}
	s.restAt = mono.Never
	s.counters.Rests++
	s.in.Trim()
	s.mailbox.Trim()
	if s.backlog.count == 0 {
		s.backlog.entries, s.backlog.free, s.backlog.due = nil, 0, nil
	}
	s.spares = s.chunks.TakeSpare(s.spares[:0])
	clear(s.spares[:cap(s.spares)])
	clear(s.bufs[:cap(s.bufs)])
	if drop := s.cfg.Drop; drop != nil {
		s.shared.Pool.Trim(drop)
		s.records.Trim(drop)
		if len(s.out.Outs) == 0 {
			drop(s.slab)
		}
	}
}
