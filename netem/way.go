package netem

import (
	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

// way is one direction.
type way struct {
	link     *impair.Link
	verdicts []impair.Verdict
	due      schedule
	out      udp.WriteBatch
	sending  []arrival // what out was made of; it is sent before the next is begun
	stats    LinkStats // but for what the link itself counts
	late     mono.Duration
	settled  uint64 // datagrams that lateness is known of
}

// held is a datagram under way.
type held struct {
	place
	flow  uint32
	train uint32 // datagrams that came side by side
	ecn   uint8
}

// figures puts the counters together.
func (w *way) figures() LinkStats {
	s, l := w.stats, w.link.Stats()
	s.Lost, s.BurstLost, s.BlackedOut, s.TooLarge = l.Lost, l.BurstLost, l.BlackedOut, l.TooLarge
	s.QueueDropped, s.QueueMost = l.QueueDropped, l.QueueMost
	s.Duplicated, s.Reordered, s.Corrupted = l.Duplicated, l.Reordered, l.Corrupted
	if w.settled > 0 {
		s.MeanLateness = w.late / mono.Duration(w.settled)
	}
	return s
}

// receive decides on each datagram of the batch.
func (p *Proxy) receive(now mono.Time) {
	for i := range p.in.Datagrams[:p.in.N] {
		d := &p.in.Datagrams[i]
		w, flow, ok := &p.down, uint32(0), true
		if d.Socket == front {
			w = &p.up
			flow, ok = p.flowOf(d, now)
		} else {
			flow = p.flows.bySocket[d.Socket]
			p.flows.all[flow].used = now
		}
		h := held{flow: flow, ecn: d.ECN}
		if d.Segment > 0 {
			p.train++
			h.train = p.train
		}
		for data := d.Data; ; {
			n := len(data)
			if d.Segment > 0 {
				n = min(n, d.Segment)
			}
			w.stats.Received++
			w.stats.ReceivedBytes += uint64(n)
			if ok {
				p.take(w, now, data[:n], h)
			} else {
				w.stats.NoFlow++
			}
			if data = data[n:]; len(data) == 0 {
				break
			}
		}
	}
}

// take has the link decide on one datagram and keeps what will arrive.
func (p *Proxy) take(w *way, now mono.Time, data []byte, h held) {
	w.verdicts = w.link.Send(now, len(data), w.verdicts[:0])
	for _, v := range w.verdicts {
		if len(p.spare) == 0 && len(p.slots) < p.mostHeld {
			p.spare = append(p.spare, uint32(len(p.slots)))
			p.slots = append(p.slots, held{})
		}
		ok := len(p.spare) > 0
		if ok {
			h.place, ok = p.store.put(data)
		}
		if !ok {
			w.stats.Overflowed++
			continue
		}
		slot := p.spare[len(p.spare)-1]
		p.spare = p.spare[:len(p.spare)-1]
		if v.CorruptBit >= 0 {
			p.store.bytes(h.place)[v.CorruptBit/8] ^= 1 << (v.CorruptBit % 8)
		}
		p.slots[slot] = h
		p.flows.all[h.flow].underWay++
		w.stats.UnderWay++
		w.due.push(v.At, slot)
	}
}

// send gives the sockets what is due, in batches. It reports whether they were full.
func (p *Proxy) send(w *way, now mono.Time) (blocked bool) {
	for {
		if len(w.sending) == 0 && w.due.next() > now {
			return false
		}
		if len(w.sending) == 0 { // else what the sockets had no room for goes first
			for len(w.out.Outs) < batch && len(w.sending) < maxSending && w.due.next() <= now {
				p.add(w, w.due.pop())
			}
		}
		if p.write(w); len(w.out.Outs) > 0 {
			return true
		}
		p.settle(w, mono.Now())
	}
}

// maxSending bounds the datagrams of one batch, which are late by as long as it takes.
const maxSending = 512

// add makes a datagram an entry of the batch, or the next segment of the last entry if the two were received side by side and are due at the
// same time.
func (p *Proxy) add(w *way, a arrival) {
	h := &p.slots[a.slot]
	w.sending = append(w.sending, a)
	if h.size == 0 {
		w.stats.Unsent++ // no system call for trains sends it
		return
	}
	if n := len(w.out.Outs); n > 0 && h.train != 0 {
		previous := w.sending[len(w.sending)-2]
		before := &p.slots[previous.slot]
		last := &w.out.Outs[n-1]
		segment := last.Segment
		if segment == 0 {
			segment = len(last.Data)
		}
		if previous.at == a.at && before.train == h.train && before.chunk == h.chunk && before.offset+before.size == h.offset &&
			int(h.size) <= segment && len(last.Data)%segment == 0 {
			last.Segment = segment
			last.Data = last.Data[:len(last.Data)+int(h.size)]
			return
		}
	}
	f := &p.flows.all[h.flow]
	// The slice reaches to the end of the chunk, so that the next segment may join it.
	o := udp.Out{Data: p.store.chunks[h.chunk][h.offset:][:h.size], ECN: h.ecn, Socket: f.socket}
	if w == &p.down {
		o.Remote, o.Local, o.Socket = f.client, f.local, front
	}
	w.out.Outs = append(w.out.Outs, o)
}

// write offers the batch to the sockets, and leaves in it what they had no room for.
func (p *Proxy) write(w *way) {
	before := p.engine.Stats()
	n, _ := p.engine.Write(&w.out)
	after := p.engine.Stats()
	w.out.Outs = w.out.Outs[:copy(w.out.Outs, w.out.Outs[n:])]
	w.stats.Forwarded += after.WriteSegments - before.WriteSegments
	w.stats.ForwardedBytes += after.WriteBytes - before.WriteBytes
	w.stats.Unsent += after.WriteLost + after.WriteTooLarge + after.WriteRefused - before.WriteLost - before.WriteTooLarge - before.WriteRefused
}

// settle forgets the datagrams of a batch that has been sent.
func (p *Proxy) settle(w *way, now mono.Time) {
	for _, a := range w.sending {
		late := now.Sub(a.at)
		w.late += late
		if late > mono.Millisecond {
			w.stats.Late++
		}
		w.stats.MaxLateness = max(w.stats.MaxLateness, late)
		h := &p.slots[a.slot]
		p.store.drop(h.place)
		p.flows.all[h.flow].underWay--
		p.spare = append(p.spare, a.slot)
	}
	w.settled += uint64(len(w.sending))
	w.stats.UnderWay -= len(w.sending)
	w.sending = w.sending[:0]
}
