package room

import (
	"fmt"
	"time"
)

const (
	helloEvery = 200 * time.Millisecond // a hello is repeated, because a transport may lose it
	settle     = 100 * time.Millisecond // between the last answer and the first state
	// drain is how long after the end reliable messages are waited for at most,
	// linger how long states and the last inputs are at least.
	drain  = 5 * time.Second
	linger = 250 * time.Millisecond
)

// Members makes the load of a room and judges what arrives. It is
// single-threaded: whoever drives the transport calls it.
type Members struct {
	load *Load
	out  Transport
	now  func() int64
	buf  []byte
	gap  float64 // nanoseconds between two sends

	welcome []bool // has been answered
	missing int    // members that have not
	again   int64  // when hellos are repeated

	ready            func()        // called once, when all have been answered
	start, from, end int64         // of the load, of the measurement, of both
	next             uint64        // state of the plan
	drain            time.Duration // how long reliable messages are waited for after the end
	over             bool
	arrived          int64 // when the messages came that Message is called for

	seen []pair // by receiver and sender; of an authority, by receiver
	own  []member
	tally
}

// pair is what one member has seen of another.
type pair struct {
	newest   int64 // when its newest state was due
	state    uint32
	reliable uint32
}

// member is what one has sent and heard of the server.
type member struct {
	states, reliable uint32
	inputs           uint64 // taken by the server
}

// tally is what is counted. Messages belong to the measurement if they were due in it.
type tally struct {
	planned, sent, reliableSent  uint64 // by members; of sent, reliable
	states, reliable             uint64 // that arrived
	deliveries                   uint64 // that arrived while measuring, whenever they were due
	allReliable, allReliableSent uint64 // of the whole load
	corrupted, repeated          uint64 // repeated are some of the corrupted
	said, heard                  uint64 // bytes of messages to the server and from it, of the whole load
	firstFault                   string

	latency, lateness, staleness histogram
}

func newMembers(l *Load, out Transport, ready func()) *Members {
	pairs := l.Members
	if l.App.Relay() {
		pairs *= l.Members
	}
	return &Members{
		load: l, out: out, now: Now, gap: l.gap(), ready: ready, welcome: make([]bool, l.Members), missing: l.Members, drain: drain,
		seen: make([]pair, pairs), own: make([]member, l.Members),
	}
}

// Turn sends what is due. Nothing more will be for the time of wait. done says that
// all is over.
func (m *Members) Turn() (wait time.Duration, done bool) {
	now := m.now()
	if m.missing > 0 {
		return m.greet(now), false
	}
	if now < m.start {
		return time.Duration(m.start - now), false
	}
	if m.from == 0 {
		m.begin(now)
	}
	for {
		due := m.start + int64(float64(m.next)*m.gap)
		if due >= m.end {
			break
		}
		if due > now {
			return time.Duration(due - now), false
		}
		m.send(m.next, due, now)
		m.next++
	}
	if now < m.end {
		return time.Duration(m.end - now), false
	}
	all := m.allReliable == m.allReliableSent*uint64(m.load.Members-1)
	m.over = m.over || all && now >= m.end+int64(linger) || now >= m.end+int64(m.drain)
	return linger / 8, m.over
}

// Spins reports that a wait is too short to be slept through: none is, because what
// members see may be some milliseconds old.
func (m *Members) Spins(time.Duration) bool { return false }

// greet says hello for those that have not been answered.
func (m *Members) greet(now int64) time.Duration {
	if now >= m.again {
		m.again = now + int64(helloEvery)
		for k, known := range m.welcome {
			if !known {
				h := Header{Kind: Hello, Member: uint32(k)}
				m.buf = h.Append(m.buf[:0], HeaderSize)
				m.out.Send(k, Hello, m.buf)
			}
		}
	}
	return time.Duration(m.again - now)
}

func (m *Members) begin(now int64) {
	m.start = now
	m.from = now + int64(m.load.Warmup)
	m.end = m.from + int64(m.load.Duration)
	m.ready()
}

// send sends state i of the plan, and the reliable message that is due with it, of
// the member on the other side of the room.
func (m *Members) send(i uint64, due, now int64) {
	n := uint64(m.load.Members)
	measured := due >= m.from
	if measured {
		m.lateness.add(now - due)
	}
	k := int(i % n)
	m.own[k].states++
	m.offer(k, &Header{Kind: State, Member: uint32(k), Seq: uint64(m.own[k].states), Time: due}, measured)
	if each := uint64(m.load.Each); each > 0 && i%each == 0 {
		k = int((i/each + n/2) % n)
		m.own[k].reliable++
		if m.offer(k, &Header{Kind: Reliable, Member: uint32(k), Seq: uint64(m.own[k].reliable), Time: due}, measured) {
			m.allReliableSent++
			if measured {
				m.reliableSent++
			}
		}
	}
}

// offer sends one message. What is refused is not sent later: a run with more than
// a few of them is invalid.
func (m *Members) offer(k int, h *Header, measured bool) bool {
	m.buf = h.Append(m.buf[:0], m.load.Size)
	ok := m.out.Send(k, h.Kind, m.buf)
	if ok {
		m.said += uint64(len(m.buf))
	}
	if measured {
		m.planned++
		if ok {
			m.sent++
		}
	}
	return ok
}

// Arrived says that messages came just now: one call for all that came together.
func (m *Members) Arrived() { m.arrived = m.now() }

// Message takes a message that came to member k. It is not kept.
func (m *Members) Message(k int, p []byte) {
	var h Header
	if m.missing > 0 {
		m.answered(k, p)
		return
	}
	size := m.load.Size
	if !m.load.App.Relay() {
		size = m.load.App.State
	}
	if err := h.decode(p, size); err != nil {
		if h.Kind != Hello { // answered twice
			m.fault(k, err.Error())
		}
		return
	}
	if m.from > 0 {
		m.heard += uint64(len(p))
	}
	if m.from > 0 && m.arrived >= m.from && m.arrived < m.end {
		m.deliveries++
	}
	if m.load.App.Relay() {
		m.relayed(k, &h)
	} else {
		m.told(k, &h)
	}
}

// answered takes the answer to a hello, before the load.
func (m *Members) answered(k int, p []byte) {
	var h Header
	if err := h.decode(p, HeaderSize); err != nil || h.Kind != Hello || int(h.Member) != k || m.welcome[k] {
		return // an authority's ticks begin before all are there
	}
	m.welcome[k] = true
	if m.missing--; m.missing == 0 {
		m.start = m.now() + int64(settle)
	}
}

// relayed takes a message of another member.
func (m *Members) relayed(k int, h *Header) {
	from := int(h.Member)
	if from >= m.load.Members || from == k {
		m.fault(k, fmt.Sprintf("a message of member %d", from))
		return
	}
	p := &m.seen[k*m.load.Members+from]
	if h.Kind == State {
		if !m.newer(k, p, h, m.own[from].states) {
			return
		}
		if m.measures(h.Time) {
			m.states++
		}
		return
	}
	switch seq := uint32(h.Seq); {
	case seq <= p.reliable:
		m.repeated++
		m.fault(k, fmt.Sprintf("reliable message %d of member %d after %d", h.Seq, from, p.reliable))
		return
	case seq != p.reliable+1 || seq > m.own[from].reliable:
		m.fault(k, fmt.Sprintf("reliable message %d of member %d after %d", h.Seq, from, p.reliable))
	}
	p.reliable = uint32(h.Seq)
	m.allReliable++
	if m.measures(h.Time) {
		m.reliable++
		m.latency.add(m.arrived - h.Time)
	}
}

// told takes a tick of an authority.
func (m *Members) told(k int, h *Header) {
	o := &m.own[k]
	if int(h.Member) != k || h.Kind != State || h.Inputs > uint64(o.states) {
		m.fault(k, fmt.Sprintf("a state for member %d after %d inputs", h.Member, h.Inputs))
		return
	}
	o.inputs = max(o.inputs, h.Inputs)
	if m.newer(k, &m.seen[k], h, 1<<31) && m.measures(h.Time) {
		m.states++
	}
}

// newer judges a state: it is newer than all before it from the same sender, who
// has sent so many.
func (m *Members) newer(k int, p *pair, h *Header, sent uint32) bool {
	if h.Seq <= uint64(p.state) || h.Seq > uint64(sent) {
		if h.Seq == uint64(p.state) {
			m.repeated++
		}
		m.fault(k, fmt.Sprintf("state %d of %d after %d", h.Seq, h.Member, p.state))
		return false
	}
	if p.state > 0 && m.measures(m.arrived) {
		m.staleness.add(m.arrived - p.newest)
	}
	if m.measures(h.Time) {
		m.latency.add(m.arrived - h.Time)
	}
	p.state, p.newest = uint32(h.Seq), h.Time
	return true
}

func (m *Members) measures(at int64) bool { return m.from > 0 && at >= m.from && at < m.end }

func (m *Members) fault(k int, what string) {
	m.corrupted++
	if m.firstFault == "" {
		m.firstFault = fmt.Sprintf("member %d got %s", k, what)
	}
}
