package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

var (
	markSkippedPartial = mark.Register("proto: SKIP ended a reassembly")
	markOvertaken      = mark.Register("proto: a whole message overtook its fragments")
	markStale          = mark.Register("proto: a value older than the newest was dropped")
)

// incoming is what is known of a message ID at or above the channel's floor: 8 bytes without pointers.
type incoming struct {
	ref  uint32 // the message's block if it is buffered, its index in messages.reasm if it is partial
	word uint32 // state and cost
}

// States of an incoming message.
const (
	incomingMissing  = iota // nothing of it arrived
	incomingPartial         // some fragments arrived
	incomingBuffered        // it waits for an older one
	incomingDone            // it was delivered or dropped
)

const (
	incomingShift = 30
	incomingCost  = 1<<incomingShift - 1

	keptWindow = 1024 // elements that an empty window keeps room for
)

func (e *incoming) state() uint32         { return e.word >> incomingShift }
func (e *incoming) cost() uint64          { return uint64(e.word & incomingCost) }
func (e *incoming) setState(state uint32) { e.word = e.word&incomingCost | state<<incomingShift }

// handleFrame takes a frame about messages; b begins behind its type. It returns the bytes consumed, or n < 0 and the
// code to close with.
func (m *messages) handleFrame(now mono.Time, typ uint64, b []byte) (n int, code wire.ErrorCode) {
	switch typ {
	case wire.FrameMessage, wire.FrameMessageKeyed, wire.FrameMessages, wire.FrameMessagesKeyed:
		return m.handleMessages(byte(typ), b)
	case wire.FrameFragment, wire.FrameFragmentKeyed:
		return m.handleFragment(now, byte(typ), b)
	case wire.FrameSkip:
		return m.handleSkip(b)
	}
	var channel, limit uint64
	switch typ {
	case wire.FrameMaxData:
		if limit, n = wire.ParseMaxData(b); n > 0 {
			m.handleMaxData(limit)
		}
	case wire.FrameMaxChannel:
		if channel, limit, n = wire.ParseMaxChannel(b); n > 0 {
			m.handleMaxChannel(uint8(channel), limit)
		}
	case wire.FrameBlocked:
		if limit, n = wire.ParseBlocked(b); n > 0 {
			m.handleBlocked(limit)
		}
	case wire.FrameChannelBlocked:
		if channel, limit, n = wire.ParseChannelBlocked(b); n > 0 {
			m.handleChannelBlocked(uint8(channel), limit)
		}
	default:
		panic("BUG: proto: a frame that is not about messages")
	}
	if n <= 0 || channel >= numChannels {
		return -1, wire.FrameEncodingError
	}
	return n, wire.NoError
}

// handleMessages takes a MESSAGE or MESSAGES frame.
func (m *messages) handleMessages(typ byte, b []byte) (n int, code wire.ErrorCode) {
	h, off := wire.ParseMessages(typ, b)
	if off < 0 {
		return -1, wire.FrameEncodingError
	}
	ch := m.lookup(uint8(h.Channel))
	if h.Keyed != (ch.mode == Latest) {
		return -1, wire.ProtocolViolation
	}
	if ch.mode.Reliable() && h.First == ch.next && ch.window.len() == 0 {
		return m.receiveInOrder(ch, &h, b, off)
	}
	for i := range h.Count {
		key, payload, end := h.Next(b, off)
		if end < 0 {
			return -1, wire.FrameEncodingError
		}
		off = end
		id := h.First + uint64(i)
		switch {
		case len(payload) > m.sh.Config.MaxMessageSize:
			code = wire.MessageTooLarge
		case ch.mode.Reliable():
			code = m.receive(ch, id, key, payload)
		default:
			m.receiveLoose(ch, id, payload, 0)
		}
		if code != wire.NoError {
			return -1, code
		}
	}
	return off, wire.NoError
}

// receiveInOrder delivers the messages of a frame that are the next ones of their channel, straight from the packet. In
// every reliable mode there is nothing else to do for them but to count.
func (m *messages) receiveInOrder(ch *channel, h *wire.Messages, b []byte, off int) (n int, code wire.ErrorCode) {
	credit := min(ch.advertised-ch.counted, m.advertised-m.counted)
	largest := m.sh.Config.MaxMessageSize
	events := m.sh.Events
	total := uint64(0)
	id, number, slot := h.First, uint16(ch.number), m.slot
	for range h.Count {
		key, payload, end := h.Next(b, off)
		if end < 0 {
			return -1, wire.FrameEncodingError
		}
		off = end
		total += uint64(len(payload) + messageOverhead)
		if total > credit {
			return -1, wire.FlowControlError
		}
		if len(payload) > largest {
			return -1, wire.MessageTooLarge
		}
		// The event is filled in place: put together elsewhere and copied it would cost twice as much. What is not for messages stays as it was.
		n := len(events)
		if n < cap(events) {
			events = events[:n+1]
		} else {
			events = append(events, Event{})
		}
		ev := &events[n]
		ev.Kind, ev.Channel, ev.Slot, ev.Ref = EventMessage, number, slot, 0
		ev.ID, ev.Key, ev.Payload = id, key, payload
		id++
	}
	m.sh.Events = events
	ch.counted += total
	m.counted += total
	ch.next += uint64(h.Count)
	m.sh.Stats.MessagesReceived += uint64(h.Count)
	m.sh.Stats.BytesReceived += total - messageOverhead*uint64(h.Count)
	return off, wire.NoError
}

// receive takes a whole message of a reliable channel, in any order.
func (m *messages) receive(ch *channel, id, key uint64, payload []byte) wire.ErrorCode {
	e, code := m.slotOf(ch, id)
	if e == nil {
		if mutant.On(mutant.DuplicatePassed) && code == wire.NoError {
			m.deliver(ch, id, key, payload, 0)
		}
		return code
	}
	if ch.mode == Latest && !m.keyAllowed(ch, key) {
		return wire.MessageLimit
	}
	switch e.state() {
	case incomingDone, incomingBuffered:
		m.sh.Stats.Duplicates++
		return wire.NoError
	case incomingPartial: // it was sent in fragments before: packets have become larger
		r := &m.reasm[e.ref]
		if int(r.total) != len(payload) || r.key != key {
			return wire.ReassemblyError
		}
		mark.Hit(markOvertaken)
		m.sh.Pool.Put(m.closeReassembly(e.ref))
		m.partials--
	default:
		if !m.enter(ch, e, uint64(len(payload)+messageOverhead)) {
			return wire.FlowControlError
		}
	}
	if ch.mode != Ordered || id == ch.next || mutant.On(mutant.OrderBroken) {
		e.setState(incomingDone)
		m.deliver(ch, id, key, payload, 0)
		if id == ch.next {
			m.drain(ch)
		}
		return wire.NoError
	}
	e.ref = 0
	if len(payload) > 0 {
		ref, block := m.sh.Pool.Get(len(payload))
		if block == nil {
			m.sh.Stats.PoolRefused++
			return wire.ServerBusy
		}
		copy(block, payload)
		m.sh.copied(len(payload))
		e.ref = uint32(ref)
	}
	e.setState(incomingBuffered)
	return wire.NoError
}

// slotOf returns what is known of a message ID. It returns nil for one below the floor, which has been dealt with, and nil
// with a code for one beyond the window.
func (m *messages) slotOf(ch *channel, id uint64) (*incoming, wire.ErrorCode) {
	if id < ch.next {
		m.sh.Stats.Duplicates++
		return nil, wire.NoError
	}
	i := id - ch.next
	if i >= uint64(ch.idWindow()) {
		return nil, wire.MessageLimit
	}
	for ch.window.len() <= int(i) {
		if m.windows >= connectionWindow {
			return nil, wire.MessageLimit
		}
		ch.window.push(incoming{})
		m.windows++
	}
	return ch.window.at(int(i)), wire.NoError
}

// enter takes the credit of a message of which nothing was known.
func (m *messages) enter(ch *channel, e *incoming, cost uint64) bool {
	e.word = uint32(cost)
	ch.windowCost += cost
	return m.count(ch, cost)
}

// deliver hands a message to the application, except an outdated one of a latest channel. A message that was
// reassembled lies in the block ref, which passes to the event.
func (m *messages) deliver(ch *channel, id, key uint64, payload []byte, ref mem.Ref) {
	if ch.mode == Latest && !m.newest(ch, id, key) {
		m.sh.Stats.StaleDropped++
		mark.Hit(markStale)
		m.sh.Pool.Put(ref)
		m.giveBack(ch, uint64(len(payload)+messageOverhead))
		return
	}
	m.sh.Stats.MessagesReceived++
	m.sh.Stats.BytesReceived += uint64(len(payload))
	m.sh.Events = append(m.sh.Events, Event{}) // filled in place, see receiveInOrder
	ev := &m.sh.Events[len(m.sh.Events)-1]
	ev.Kind, ev.Channel, ev.Slot = EventMessage, uint16(ch.number), m.slot
	ev.ID, ev.Key, ev.Payload, ev.Ref = id, key, payload, ref
}

// deliverBlock delivers a message that waited in a block.
func (m *messages) deliverBlock(ch *channel, id uint64, e *incoming) {
	var payload []byte
	if e.ref != 0 {
		payload = m.sh.Pool.Bytes(mem.Ref(e.ref))[:e.cost()-messageOverhead]
	}
	m.deliver(ch, id, 0, payload, mem.Ref(e.ref))
}

// drain moves the floor over everything that is dealt with, and delivers what waited for that.
func (m *messages) drain(ch *channel) {
	k, n := 0, ch.window.len()
	for k < n {
		e := ch.window.at(k)
		switch e.state() {
		case incomingBuffered:
			m.deliverBlock(ch, ch.next+uint64(k), e)
		case incomingDone:
		default:
			m.forget(ch, k)
			return
		}
		ch.windowCost -= e.cost()
		k++
	}
	m.forget(ch, k)
}

// forget drops the k first elements of the window, whose cost is no longer in windowCost.
func (m *messages) forget(ch *channel, k int) {
	ch.next += uint64(k)
	ch.window.popFront(k)
	m.windows -= k
	if ch.window.len() > 0 {
		return
	}
	if len(ch.window.buf) > keptWindow {
		ch.window.reset()
	}
	if ch.latest != nil {
		ch.latest.in.clear()
	}
}

// handleSkip takes that the peer has given up messages: all IDs up to upTo are dealt with, and cost is what they took
// since the connection began.
func (m *messages) handleSkip(b []byte) (n int, code wire.ErrorCode) {
	number, upTo, cost, n := wire.ParseSkip(b)
	if n < 0 {
		return -1, wire.FrameEncodingError
	}
	ch := m.lookup(uint8(number))
	if !ch.mode.Reliable() {
		return -1, wire.ProtocolViolation
	}
	if upTo < ch.next {
		return n, wire.NoError
	}
	known := ch.window.len()
	if upTo-ch.next < uint64(known) {
		known = int(upTo-ch.next) + 1
	}
	seen := uint64(0)
	for i := range known {
		seen += ch.window.at(i).cost()
	}
	before := ch.counted - ch.windowCost + seen
	if cost < before {
		return -1, wire.ProtocolViolation
	}
	if !m.count(ch, cost-before) {
		return -1, wire.FlowControlError
	}
	m.giveBack(ch, cost-before)
	m.skipWindow(ch, known, upTo)
	ch.windowCost -= seen
	m.forget(ch, known)
	ch.next = upTo + 1
	m.drain(ch)
	return n, wire.NoError
}

// skipWindow ends the wait for everything missing up to upTo, of which the window knows the first IDs.
func (m *messages) skipWindow(ch *channel, known int, upTo uint64) {
	gap := uint64(0)
	for i := range known {
		e := ch.window.at(i)
		switch e.state() {
		case incomingMissing:
			gap++
			continue
		case incomingPartial:
			gap++
			mark.Hit(markSkippedPartial)
			m.sh.Pool.Put(m.closeReassembly(e.ref))
			m.partials--
			m.giveBack(ch, e.cost())
			continue
		}
		id := ch.next + uint64(i)
		m.gap(ch, id, gap)
		gap = 0
		if e.state() == incomingBuffered {
			m.deliverBlock(ch, id, e)
		}
	}
	m.gap(ch, upTo+1, gap+upTo+1-ch.next-uint64(known))
}

// gap tells the application that n messages before id will not come. On a latest channel that is no news: newer values did
// or will.
func (m *messages) gap(ch *channel, id, n uint64) {
	if n == 0 || ch.mode == Latest || mutant.On(mutant.GapSilent) {
		return
	}
	mark.Hit(markGap)
	m.sh.Stats.Gaps++
	m.event(Event{Kind: EventGap, Channel: uint16(ch.number), ID: id, N: gapSize(n)})
}
