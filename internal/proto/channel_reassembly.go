package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

var (
	markOverlap      = mark.Register("proto: a fragment overlapped others")
	markLooseEvicted = mark.Register("proto: an unreliable reassembly was given up")
)

// Limits of reassembly.
const (
	maxLoose     = 16              // unreliable messages that a connection gathers at once
	looseTimeout = 2 * mono.Second // how long one may wait for its next fragment
	minSpans     = 16              // pieces that a message may have lying apart ...
	spanBytes    = 64              // ... and one more for this many of its bytes
)

// reassembly is a message of which fragments have arrived. Its length is fixed by the first.
type reassembly struct {
	id       uint64
	key      uint64
	progress mono.Time // of an unreliable one: when its last fragment arrived
	ref      mem.Ref
	total    uint32 // 0: the element is free
	got      uint32
	free     uint32 // index + 1 of the next free element
	channel  uint8
	have     rangeset
}

// looseReassembly is which elements of messages.reasm are unreliable messages, oldest first.
type looseReassembly struct {
	deadline mono.Time
	bytes    int
	n        uint8
	index    [maxLoose]uint32
}

// openReassembly returns the index of a new element of reasm, with memory for the message. It reports false if the pool
// refuses.
func (m *messages) openReassembly(f *wire.Fragment) (index uint32, ok bool) {
	ref, block := m.sh.Pool.Get(int(f.Total))
	if block == nil {
		m.sh.Stats.PoolRefused++
		return 0, false
	}
	i := m.freeReasm
	if i == 0 {
		m.reasm = append(m.reasm, reassembly{})
		i = uint32(len(m.reasm))
	} else {
		m.freeReasm = m.reasm[i-1].free
	}
	r := &m.reasm[i-1]
	*r = reassembly{id: f.ID, key: f.Key, ref: ref, total: uint32(f.Total), channel: uint8(f.Channel), have: r.have[:0]}
	return i - 1, true
}

// closeReassembly frees an element of reasm. Its block is the caller's.
func (m *messages) closeReassembly(index uint32) mem.Ref {
	r := &m.reasm[index]
	if cap(r.have) > keptSpans {
		r.have = nil
	}
	r.total, r.free = 0, m.freeReasm
	m.freeReasm = index + 1
	return r.ref
}

// insert copies what is new of a fragment; bytes that are there already stay as they are. It reports whether the fragment
// agrees with the ones before.
func (m *messages) insert(r *reassembly, f *wire.Fragment) bool {
	if uint64(r.total) != f.Total || r.key != f.Key {
		return false
	}
	from, to := uint32(f.Offset), uint32(f.Offset)+uint32(len(f.Data))
	block := m.sh.Pool.Bytes(r.ref)
	before := r.got
	for at := from; at < to; {
		a, b := r.have.gap(at, to)
		if a >= b {
			break
		}
		copy(block[a:b], f.Data[a-from:b-from])
		m.sh.copied(int(b - a))
		r.got += b - a
		at = b
	}
	if r.got-before < to-from {
		mark.Hit(markOverlap)
	}
	r.have.add(from, to)
	return len(r.have) <= minSpans+int(r.total)/spanBytes
}

// handleFragment takes a FRAGMENT frame.
func (m *messages) handleFragment(now mono.Time, typ byte, b []byte) (n int, code wire.ErrorCode) {
	f, n := wire.ParseFragment(typ, b)
	if n < 0 {
		return -1, fragmentError(typ, b)
	}
	ch := m.lookup(uint8(f.Channel))
	switch {
	case f.Keyed != (ch.mode == Latest):
		code = wire.ProtocolViolation
	case f.Total > uint64(m.sh.Config.MaxMessageSize) || f.Total > maxMessageLimit:
		code = wire.MessageTooLarge
	case !ch.mode.Reliable():
		code = m.receiveLooseFragment(now, ch, &f)
	case len(f.Data) == int(f.Total):
		code = m.receive(ch, f.ID, f.Key, f.Data)
	default:
		code = m.receiveFragment(ch, &f)
	}
	if code != wire.NoError {
		return -1, code
	}
	return n, wire.NoError
}

// fragmentError tells a fragment that is empty or ends beyond its message from one that cannot be read at all.
func fragmentError(typ byte, b []byte) wire.ErrorCode {
	fields := 5 // channel, ID, offset, total, length
	if typ == wire.FrameFragmentKeyed {
		fields++
	}
	var v [6]uint64
	for i := range fields {
		x, n := wire.Varint(b)
		if n == 0 {
			return wire.FrameEncodingError
		}
		v[i] = x
		b = b[n:]
	}
	offset, total, length := v[fields-3], v[fields-2], v[fields-1]
	if v[0] >= numChannels || length > uint64(len(b)) {
		return wire.FrameEncodingError
	}
	if length == 0 || offset+length > total {
		return wire.ReassemblyError
	}
	return wire.FrameEncodingError
}

// receiveFragment takes a fragment of a message of a reliable channel.
func (m *messages) receiveFragment(ch *channel, f *wire.Fragment) wire.ErrorCode {
	e, code := m.slotOf(ch, f.ID)
	if e == nil {
		return code
	}
	if ch.mode == Latest && !m.keyAllowed(ch, f.Key) {
		return wire.MessageLimit
	}
	switch e.state() {
	case incomingDone, incomingBuffered:
		m.sh.Stats.Duplicates++
		return wire.NoError
	case incomingMissing:
		if !m.enter(ch, e, f.Total+messageOverhead) {
			return wire.FlowControlError
		}
		if ch.mode == Latest && ch.outdated(m.sh.HashKey, f.ID, f.Key) {
			m.sh.Stats.StaleDropped++
			m.giveBack(ch, e.cost())
			e.setState(incomingDone)
			if f.ID == ch.next {
				m.drain(ch)
			}
			return wire.NoError
		}
		if m.partials >= maxPartial {
			return wire.MessageLimit
		}
		i, ok := m.openReassembly(f)
		if !ok {
			return wire.ServerBusy
		}
		m.partials++
		e.ref = i
		e.setState(incomingPartial)
	}
	r := &m.reasm[e.ref]
	if !m.insert(r, f) {
		return wire.ReassemblyError
	}
	if r.got == r.total {
		m.reassembled(ch, e, r)
	}
	return wire.NoError
}

// reassembled delivers a message of a reliable channel that is complete, or lets it wait for its turn.
func (m *messages) reassembled(ch *channel, e *incoming, r *reassembly) {
	id, key, total := r.id, r.key, r.total
	ref := m.closeReassembly(e.ref)
	m.partials--
	if ch.mode == Ordered {
		e.ref = uint32(ref)
		e.setState(incomingBuffered)
	} else {
		e.setState(incomingDone)
		m.deliver(ch, id, key, m.sh.Pool.Bytes(ref)[:total], ref)
	}
	if id == ch.next {
		m.drain(ch)
	}
}

// receiveLoose takes a complete message of an unreliable channel; ref is its block if it was reassembled. Those of a
// sequenced channel that are older than the newest delivered are dropped.
func (m *messages) receiveLoose(ch *channel, id uint64, payload []byte, ref mem.Ref) {
	if ch.mode == Sequenced {
		if id < ch.next {
			m.sh.Stats.StaleDropped++
			m.sh.Pool.Put(ref)
			return
		}
		ch.next = id + 1
	}
	m.deliver(ch, id, 0, payload, ref)
}

// receiveLooseFragment takes a fragment of a message of an unreliable channel.
func (m *messages) receiveLooseFragment(now mono.Time, ch *channel, f *wire.Fragment) wire.ErrorCode {
	if f.Total > MaxUnreliable {
		return wire.MessageTooLarge
	}
	if len(f.Data) == int(f.Total) {
		m.receiveLoose(ch, f.ID, f.Data, 0)
		return wire.NoError
	}
	at := m.findLoose(ch, f.ID)
	if ch.mode == Sequenced && f.ID < ch.next {
		m.sh.Stats.StaleDropped++
		if at >= 0 {
			m.evictLoose(at)
		}
		return wire.NoError
	}
	if at < 0 {
		if at = m.openLoose(f); at < 0 {
			return wire.NoError
		}
	}
	l := &m.loose
	i := l.index[at]
	r := &m.reasm[i]
	if !m.insert(r, f) {
		return wire.ReassemblyError
	}
	r.progress = now
	l.deadline = min(l.deadline, now.Add(looseTimeout))
	if r.got == r.total {
		id, total := r.id, r.total
		ref := m.closeLoose(at)
		m.receiveLoose(ch, id, m.sh.Pool.Bytes(ref)[:total], ref)
	}
	return wire.NoError
}

// findLoose returns where the message is in the list, or -1.
func (m *messages) findLoose(ch *channel, id uint64) int {
	for at := range int(m.loose.n) {
		if r := &m.reasm[m.loose.index[at]]; r.id == id && r.channel == ch.number {
			return at
		}
	}
	return -1
}

// openLoose makes room for a new unreliable message, at the cost of the oldest ones, and returns its place in the list; -1
// if there is no memory for it.
func (m *messages) openLoose(f *wire.Fragment) int {
	l := &m.loose
	limit := m.sh.Config.ReassemblyBytes
	for l.n > 0 && (l.n == maxLoose || l.bytes+int(f.Total) > limit) {
		m.evictLoose(0)
	}
	if int(f.Total) > limit {
		m.sh.Stats.ReassemblyEvicted++
		return -1
	}
	i, ok := m.openReassembly(f)
	if !ok {
		return -1
	}
	l.bytes += int(f.Total)
	l.index[l.n] = i
	l.n++
	return int(l.n) - 1
}

// closeLoose takes a message out of the list. Its block is the caller's.
func (m *messages) closeLoose(at int) mem.Ref {
	l := &m.loose
	i := l.index[at]
	l.bytes -= int(m.reasm[i].total)
	copy(l.index[at:l.n], l.index[at+1:l.n])
	l.n--
	if l.n == 0 {
		l.deadline = mono.Never
	}
	return m.closeReassembly(i)
}

func (m *messages) evictLoose(at int) {
	m.sh.Stats.ReassemblyEvicted++
	mark.Hit(markLooseEvicted)
	m.sh.Pool.Put(m.closeLoose(at))
}

// loosen throws out unreliable messages whose next fragment did not come in time.
func (m *messages) loosen(now mono.Time) {
	next := mono.Never
	for at := 0; at < int(m.loose.n); {
		end := m.reasm[m.loose.index[at]].progress.Add(looseTimeout)
		if end <= now {
			m.evictLoose(at)
			continue
		}
		next = min(next, end)
		at++
	}
	m.loose.deadline = next
}
