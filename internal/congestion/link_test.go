package congestion

import (
	"container/heap"
	"slices"

	"godwit.example/godwit/internal/mono"
)

// link is a drop-tail bottleneck with the flows that share it, in virtual
// time. It exists to see controllers at work; whole connections are simulated
// elsewhere.
type link struct {
	rate   int64         // bytes a second
	delay  mono.Duration // one way
	buffer int64         // bytes that may queue
	loss   uint64        // random losses in 1/10,000
	jitter mono.Duration // largest extra delay of an ACK

	now    mono.Time
	freeAt mono.Time // when the queue will have drained
	seed   uint64
	events events
	flows  []*flow
}

type flow struct {
	c         Controller
	r         RTT
	p         Pacer
	limit     int64 // application rate in bytes a second, 0 = unlimited
	next      uint64
	inFlight  int
	sent      []sentPacket // consecutive numbers from first on
	first     uint64
	largest   uint64
	wake      mono.Time
	armed     bool
	delivered int
	lostBytes int
	queueing  mono.Duration // longest wait in the bottleneck's queue
	appReady  mono.Time
	received  []uint64 // at the far end, in order of arrival
	acked     int      // of those
}

type sentPacket struct {
	at   mono.Time
	done bool
}

type event struct {
	at   mono.Time
	seq  uint64
	call func()
}

type events struct {
	list []event
	seq  uint64
}

func (e *events) Len() int { return len(e.list) }
func (e *events) Less(i, j int) bool {
	a, b := e.list[i], e.list[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *events) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *events) Pop() any {
	last := e.list[len(e.list)-1]
	e.list = e.list[:len(e.list)-1]
	return last
}

const testDatagram = 1200

func (l *link) at(t mono.Time, call func()) {
	l.events.seq++
	heap.Push(&l.events, event{t, l.events.seq, call})
}

func (l *link) random(n uint64) uint64 {
	l.seed = l.seed*6364136223846793005 + 1442695040888963407
	return l.seed >> 33 % n
}

// join adds a flow that starts to send at the given time.
func (l *link) join(kind Kind, start mono.Duration) *flow {
	f := &flow{c: New(kind, testDatagram), r: NewRTT(), p: NewPacer(testDatagram), next: 1, first: 1}
	l.flows = append(l.flows, f)
	l.at(mono.Time(mono.Second).Add(start), func() { l.send(f) })
	return f
}

// run advances the link by d.
func (l *link) run(d mono.Duration) {
	l.now = max(l.now, mono.Time(mono.Second))
	end := l.now.Add(d)
	for len(l.events.list) > 0 && l.events.list[0].at <= end {
		e := heap.Pop(&l.events).(event)
		l.now = e.at
		e.call()
	}
	l.now = end
}

func (l *link) send(f *flow) {
	for f.inFlight < f.c.Window() {
		if l.now < f.appReady {
			l.wakeAt(f, f.appReady)
			break
		}
		rate := f.c.PacingRate(&f.r)
		if f.p.Ready(l.now, rate) < testDatagram {
			l.wakeAt(f, f.p.Next(l.now, testDatagram, rate))
			break
		}
		if f.limit > 0 {
			f.appReady = max(f.appReady, l.now).Add(mono.Duration(testDatagram * int64(mono.Second) / f.limit))
		}
		f.c.OnSent(l.now, testDatagram, f.inFlight)
		f.p.Sent(l.now, testDatagram)
		f.inFlight += testDatagram
		f.sent = append(f.sent, sentPacket{at: l.now})
		l.carry(f, f.next)
		f.next++
	}
	l.armTimer(f)
}

func (l *link) armTimer(f *flow) {
	if len(f.sent) > 0 && !f.armed {
		f.armed = true
		l.at(f.deadline(), func() { f.armed = false; l.timeout(f) })
	}
}

func (f *flow) deadline() mono.Time { return f.sent[len(f.sent)-1].at.Add(f.r.PTO(0)) }

func (l *link) wakeAt(f *flow, t mono.Time) {
	if f.wake > l.now && f.wake <= t {
		return
	}
	f.wake = t
	l.at(t, func() { f.wake = 0; l.send(f) })
}

// carry takes one packet through the queue, the path and back as an ACK of
// every second packet.
func (l *link) carry(f *flow, number uint64) {
	wait := max(l.freeAt.Sub(l.now), 0)
	if int64(wait)*l.rate/int64(mono.Second) > l.buffer {
		return
	}
	f.queueing = max(f.queueing, wait)
	l.freeAt = max(l.freeAt, l.now).Add(mono.Duration(testDatagram * int64(mono.Second) / l.rate))
	if l.random(10_000) < l.loss {
		return
	}
	l.at(l.freeAt.Add(l.delay), func() {
		f.delivered += testDatagram
		f.received = append(f.received, number)
		if len(f.received)%2 != 0 && number%2 != 0 {
			return
		}
		upTo := len(f.received)
		extra := mono.Duration(0)
		if l.jitter > 0 {
			extra = mono.Duration(l.random(uint64(l.jitter)))
		}
		l.at(l.now.Add(l.delay+extra), func() { l.ack(f, upTo) })
	})
}

func (l *link) ack(f *flow, upTo int) {
	if upTo <= f.acked {
		return
	}
	numbers := f.received[f.acked:upTo]
	f.acked = upTo
	info := AckInfo{InFlight: f.inFlight, AppLimited: f.limit > 0 && f.inFlight < f.c.Window()}
	largest := slices.Max(numbers)
	for _, n := range numbers {
		if n < f.first || f.sent[n-f.first].done {
			continue
		}
		s := &f.sent[n-f.first]
		s.done = true
		info.Bytes += testDatagram
		info.SentTime = max(info.SentTime, s.at)
		if n == largest && largest > f.largest {
			f.r.Update(l.now, l.now.Sub(s.at), 0)
		}
	}
	f.largest = max(f.largest, largest)
	if info.Bytes > 0 {
		f.inFlight -= info.Bytes
		f.c.OnAck(l.now, info, &f.r)
	}
	l.detect(f, false)
	l.send(f)
}

// detect declares packets lost by the packet and time thresholds, or all of
// them if the timer proves persistent congestion.
func (l *link) detect(f *flow, all bool) {
	info := LossInfo{InFlight: f.inFlight, Persistent: all}
	for i := range f.sent {
		s, n := &f.sent[i], f.first+uint64(i)
		late := n+3 <= f.largest || n < f.largest && l.now.Sub(s.at) >= f.r.LossDelay()
		if !late && !all {
			break
		}
		if !s.done {
			s.done = true
			info.Bytes += testDatagram
			info.SentTime = max(info.SentTime, s.at)
		}
	}
	f.trim()
	if info.Bytes > 0 {
		f.inFlight -= info.Bytes
		f.lostBytes += info.Bytes
		f.c.OnLoss(l.now, info, &f.r)
	}
}

func (l *link) timeout(f *flow) {
	if len(f.sent) == 0 || f.deadline() > l.now {
		l.armTimer(f)
		return
	}
	l.detect(f, l.now.Sub(f.sent[0].at) > f.r.PersistentDuration(0) && len(f.sent) > 2)
	if len(f.sent) > 0 {
		// A probe: the oldest packet's information in a new packet.
		f.sent[0].done = true
		f.trim()
		f.sent = append(f.sent, sentPacket{at: l.now})
		l.carry(f, f.next)
		f.next++
	}
	l.send(f)
}

// trim forgets the oldest packets that are acknowledged or lost.
func (f *flow) trim() {
	n := 0
	for n < len(f.sent) && f.sent[n].done {
		n++
	}
	f.sent = f.sent[n:]
	f.first += uint64(n)
}

// goodput runs the link and returns the share of its rate that f used.
func (l *link) goodput(f *flow, d mono.Duration) float64 {
	before := f.delivered
	l.run(d)
	return float64(f.delivered-before) / (float64(l.rate) * d.Seconds())
}

// mbit converts megabits a second to bytes a second.
func mbit(n int64) int64 { return n * 125_000 }
