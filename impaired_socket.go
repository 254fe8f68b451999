package godwit

import (
	"slices"
	"sync/atomic"

	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
)

// impairedSocket does to the datagrams of a socket what Config.Impair says. An endpoint without it has no such layer.
type impairedSocket struct {
	shard.Socket
	out, in impairedWay
	due     udp.WriteBatch // has been delayed enough; the socket was full
	raw     udp.ReadBatch  // what the socket received last
	lent    [][]byte       // lies in the shard's batch
}

// impairedWay is one direction: the datagrams that are under way, the first to arrive in front.
type impairedWay struct {
	link     *impair.Link
	verdicts []impair.Verdict
	held     []heldDatagram // from first on
	first    int
	bytes    int
	spare    [][]byte
	dropped  atomic.Uint64
}

type heldDatagram struct {
	at            mono.Time
	data          []byte
	remote, local udp.Addr
	socket        uint32
	ecn           uint8
}

const (
	// maxHeldBytes bounds what is under way in one direction: a second and a half at a gigabit a second. More is dropped and counted.
	maxHeldBytes = 192 << 20
	maxHeld      = 1 << 18
	impairBatch  = 64
)

func newImpairedSocket(s shard.Socket, cfg *Impair, index int) *impairedSocket {
	i := &impairedSocket{Socket: s}
	i.out.link, i.in.link = cfg.Send.start(cfg.seedOf(index, 0)), cfg.Receive.start(cfg.seedOf(index, 1))
	return i
}

// waiting is what is under way.
func (w *impairedWay) waiting() []heldDatagram { return w.held[w.first:] }

// add puts a datagram behind the others. The room of those that have gone is used again rather than memory taken for more.
func (w *impairedWay) add(h heldDatagram) {
	if len(w.held) == cap(w.held) && w.first > len(w.held)/2 {
		w.keep(w.waiting())
	}
	w.held = append(w.held, h)
}

// keep puts what is left of those under way at the front.
func (w *impairedWay) keep(left []heldDatagram) {
	n := copy(w.held, left)
	clear(w.held[n:])
	w.held, w.first = w.held[:n], 0
}

// take decides on each segment of an entry and keeps what will arrive.
func (w *impairedWay) take(now mono.Time, data []byte, segment int, h heldDatagram) {
	for len(data) > 0 {
		n := len(data)
		if segment > 0 {
			n = min(n, segment)
		}
		w.verdicts = w.link.Send(now, n, w.verdicts[:0])
		if len(w.verdicts) == 0 {
			w.dropped.Add(1)
		}
		for _, v := range w.verdicts {
			w.hold(data[:n], h, v)
		}
		data = data[n:]
	}
}

func (w *impairedWay) hold(data []byte, h heldDatagram, v impair.Verdict) {
	if w.bytes+len(data) > maxHeldBytes || len(w.waiting()) >= maxHeld {
		w.dropped.Add(1)
		return
	}
	var buf []byte
	if k := len(w.spare); k > 0 {
		buf, w.spare = w.spare[k-1], w.spare[:k-1]
	}
	h.at, h.data = v.At, append(buf[:0], data...)
	if v.CorruptBit >= 0 {
		h.data[v.CorruptBit/8] ^= 1 << (v.CorruptBit % 8)
	}
	w.bytes += len(data)
	w.add(h)
	for i := len(w.held) - 1; i > w.first && w.held[i-1].at > h.at; i-- { // rarely far: only reordered ones overtake
		w.held[i-1], w.held[i] = w.held[i], w.held[i-1]
	}
}

// next gives the first datagram if it has arrived.
func (w *impairedWay) next(now mono.Time) (h heldDatagram, ok bool) {
	if w.arrival() > now || w.first == len(w.held) {
		return heldDatagram{}, false
	}
	h, w.held[w.first] = w.held[w.first], heldDatagram{}
	if w.first++; w.first == len(w.held) {
		w.held, w.first = w.held[:0], 0
	}
	w.bytes -= len(h.data)
	return h, true
}

// giveBack keeps buffers for use again.
func (w *impairedWay) giveBack(bufs ...[]byte) {
	for _, b := range bufs {
		if len(w.spare) < impairBatch*4 {
			w.spare = append(w.spare, b)
		}
	}
}

// arrival is when the next datagram arrives.
func (w *impairedWay) arrival() mono.Time {
	if w.first == len(w.held) {
		return mono.Never
	}
	return w.held[w.first].at
}

// Write takes everything: what is delayed waits here, not in the shard.
func (s *impairedSocket) Write(b *udp.WriteBatch) (sent int, blocked bool) {
	now := mono.Now()
	for i := range b.Outs {
		o := &b.Outs[i]
		s.out.take(now, o.Data, o.Segment, heldDatagram{remote: o.Remote, local: o.Local, socket: o.Socket, ecn: o.ECN})
	}
	s.send(now)
	return len(b.Outs), false
}

// send hands to the socket what is due by now, as far as that takes it.
func (s *impairedSocket) send(now mono.Time) {
	for {
		for len(s.due.Outs) < impairBatch {
			h, ok := s.out.next(now)
			if !ok {
				break
			}
			s.due.Outs = append(s.due.Outs, udp.Out{Data: h.data, Remote: h.remote, Local: h.local, ECN: h.ecn, Socket: h.socket})
		}
		if len(s.due.Outs) == 0 {
			return
		}
		n, _ := s.Socket.Write(&s.due)
		for _, o := range s.due.Outs[:n] {
			s.out.giveBack(o.Data)
		}
		s.due.Outs = append(s.due.Outs[:0], s.due.Outs[n:]...)
		if n == 0 {
			return
		}
	}
}

// Read gives what has arrived by now at the end of the bad link.
func (s *impairedSocket) Read(b *udp.ReadBatch) int {
	now := mono.Now()
	s.send(now)
	s.in.giveBack(s.lent...)
	s.lent = s.lent[:0]
	s.Socket.Read(&s.raw)
	for i := range s.raw.N {
		d := &s.raw.Datagrams[i]
		s.in.take(now, d.Data, d.Segment, heldDatagram{remote: d.Remote, local: d.Local, socket: d.Socket, ecn: d.ECN})
	}
	if len(b.Datagrams) < impairBatch {
		b.Datagrams = make([]udp.Datagram, impairBatch)
	}
	limit := impairBatch
	if b.Limit > 0 {
		limit = min(limit, b.Limit)
	}
	for b.N = 0; b.N < limit; b.N++ {
		h, ok := s.in.next(now)
		if !ok {
			break
		}
		b.Datagrams[b.N] = udp.Datagram{Data: h.data, Remote: h.remote, Local: h.local, ECN: h.ecn, Socket: h.socket}
		s.lent = append(s.lent, h.data)
	}
	b.More = s.raw.More || s.in.arrival() <= now
	return b.N
}

// fullRetry is how soon a socket that was full is tried again.
const fullRetry = mono.Millisecond

// Wait also returns when a delayed datagram arrives; what is to be sent meanwhile is sent.
func (s *impairedSocket) Wait(now mono.Time, d mono.Duration) {
	s.send(now)
	if at := min(s.in.arrival(), s.out.arrival()); at != mono.Never && (d < 0 || at < now.Add(d)) {
		d = max(at.Sub(now), 0)
	}
	if len(s.due.Outs) > 0 && (d < 0 || d > fullRetry) {
		d = fullRetry
	}
	s.Socket.Wait(now, d)
	s.send(mono.Now())
}

// CloseSocket first sends what is delayed on the socket: the last packet of a connection may be its CLOSE.
func (s *impairedSocket) CloseSocket(n uint32) {
	kept := s.out.held[:0]
	for _, h := range s.out.waiting() {
		if h.socket != n {
			kept = append(kept, h)
			continue
		}
		s.out.bytes -= len(h.data)
		s.Socket.Write(&udp.WriteBatch{Outs: []udp.Out{{Data: h.data, Remote: h.remote, Local: h.local, ECN: h.ecn, Socket: n}}})
	}
	s.out.keep(kept)
	in := s.in.held[:0]
	for _, h := range s.in.waiting() { // another connection may get the number
		if h.socket != n {
			in = append(in, h)
			continue
		}
		s.in.bytes -= len(h.data)
	}
	s.in.keep(in)
	s.due.Outs = slices.DeleteFunc(s.due.Outs, func(o udp.Out) bool { return o.Socket == n })
	s.Socket.CloseSocket(n)
}

// Close sends what is delayed, and closes the socket.
func (s *impairedSocket) Close() error {
	s.send(mono.Never)
	s.raw.Free()
	return s.Socket.Close()
}
