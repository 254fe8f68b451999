package proto

import (
	"math"

	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

var markSkip = mark.Register("proto: SKIP was sent")

// Credit bounds what reliable messages may occupy at the receiver, on the connection and on each channel. A message takes
// its length + 32 of both, whole, before its first byte leaves; what is repeated takes nothing. The receiver gives it back
// when the application is done with the message, by raising the limits that MAX_DATA and MAX_CHANNEL carry.

// dataWindow is how much credit the connection keeps open for the peer. The largest message must fit in.
func (m *messages) dataWindow() uint64 {
	return max(m.sh.Config.Params.InitialMaxData, m.largestCost())
}

// channelWindow is how much credit the channel keeps open for the peer.
func (m *messages) channelWindow(ch *channel) uint64 {
	return max(m.sh.Config.Params.Channel(ch.number).InitialMax, m.largestCost())
}

func (m *messages) largestCost() uint64 { return uint64(m.sh.Config.MaxMessageSize) + messageOverhead }

// nextAdvert returns at how much consumed credit the limit is to be raised: when half a window was used since it was said.
func nextAdvert(advertised, window uint64) uint64 {
	if half := window - window/2; advertised > half {
		return advertised - half
	}
	return 0
}

func (m *messages) setAdvertNext() {
	m.advertNext = nextAdvert(m.advertised, m.dataWindow())
	if m.peerBlocked {
		m.advertNext = 0 // whatever comes back next
	}
}

func (m *messages) setChannelAdvertNext(ch *channel) {
	ch.advertNext = nextAdvert(ch.advertised, m.channelWindow(ch))
	if ch.peerBlocked {
		ch.advertNext = 0
	}
}

// consumed says that the application is done with a delivered message.
func (m *messages) consumed(_ mono.Time, channel uint16, payload int) {
	if channel >= numChannels {
		return
	}
	ch := m.sender(channel)
	if ch == nil || !ch.mode.Reliable() || mutant.On(mutant.CreditLeak) {
		return
	}
	m.giveBack(ch, uint64(payload+messageOverhead))
}

// giveBack returns credit to the peer, and has it told when that matters.
func (m *messages) giveBack(ch *channel, cost uint64) {
	if cost == 0 {
		return // a SKIP of what never took credit raises no limit, and a peer that waits needs one that is raised
	}
	ch.consumed += cost
	m.consumedTotal += cost
	if ch.consumed >= ch.advertNext {
		m.want(ch, dueMax)
	}
	if m.consumedTotal >= m.advertNext {
		m.wantAll(dueMax)
	}
}

// count takes credit for a message that the peer has begun to send. It reports whether the peer had it.
func (m *messages) count(ch *channel, cost uint64) bool {
	ch.counted += cost
	m.counted += cost
	return ch.counted <= ch.advertised && m.counted <= m.advertised || mutant.On(mutant.CreditUnchecked)
}

// appendControl appends the frames about credit and SKIP that are due.
func (m *messages) appendControl(w *packetWriter) {
	if m.due != 0 {
		m.appendConnectionControl(w)
	}
	for i := m.control.from(0); i >= 0; i = m.control.from(i + 1) {
		ch := &m.chans[i]
		if w.room() < maxControlFrame {
			return
		}
		if ch.due&dueMax != 0 {
			m.unwant(ch, dueMax)
			if limit := min(ch.consumed+m.channelWindow(ch), wire.MaxVarint); limit > ch.advertised {
				ch.advertised, ch.peerBlocked = limit, false
			}
			m.setChannelAdvertNext(ch)
			w.b = wire.AppendMaxChannel(w.b, uint64(ch.number), ch.advertised)
			w.log.add(record{kind: recMaxChannel, channel: uint16(ch.number), id: ch.advertised})
		}
		if ch.due&dueBlocked != 0 && w.room() >= maxControlFrame {
			m.unwant(ch, dueBlocked)
			ch.blockedAt = ch.limit + 1
			w.b = wire.AppendChannelBlocked(w.b, uint64(ch.number), ch.limit)
			w.log.add(record{kind: recChannelBlocked, channel: uint16(ch.number), id: ch.limit})
		}
		if ch.due&dueSkip != 0 && w.room() >= maxControlFrame {
			m.unwant(ch, dueSkip)
			m.appendSkip(ch, w)
		}
	}
}

// maxControlFrame is the longest frame of this file: type, channel and two numbers.
const maxControlFrame = 1 + 2 + 8 + 8

func (m *messages) appendConnectionControl(w *packetWriter) {
	if m.due&dueMax != 0 && w.room() >= maxControlFrame {
		m.unwantAll(dueMax)
		// A limit that is only repeated, for its packet counts as lost, is no answer to BLOCKED: the peer ignores it and says BLOCKED
		// once a limit, so forgetting here that it waits would leave it waiting. The same goes for a channel and a stream.
		if limit := min(m.consumedTotal+m.dataWindow(), wire.MaxVarint); limit > m.advertised {
			m.advertised, m.peerBlocked = limit, false
		}
		m.setAdvertNext()
		w.b = wire.AppendMaxData(w.b, m.advertised)
		w.log.add(record{kind: recMaxData, id: m.advertised})
	}
	if m.due&dueBlocked != 0 && w.room() >= maxControlFrame {
		m.unwantAll(dueBlocked)
		m.blockedAt = m.limit + 1
		w.b = wire.AppendBlocked(w.b, m.limit)
		w.log.add(record{kind: recBlocked, id: m.limit})
	}
}

// appendSkip tells the peer up to where the channel's messages are resolved, and what they cost.
func (m *messages) appendSkip(ch *channel, w *packetWriter) {
	if ch.skip == 0 {
		return
	}
	cost := ch.frontCost
	for i := range int(ch.skip) {
		if e := ch.queue.at(i); e.flags&entryReserved != 0 {
			cost += uint64(e.cost())
		}
	}
	upTo := ch.base + uint64(ch.skip) - 1
	ch.skipSent = upTo + 1
	mark.Hit(markSkip)
	w.b = wire.AppendSkip(w.b, uint64(ch.number), upTo, cost)
	w.log.add(record{kind: recSkip, channel: uint16(ch.number), id: upTo})
}

// handleMaxData takes the peer's limit of the connection. Limits never fall.
func (m *messages) handleMaxData(limit uint64) {
	if limit <= m.limit {
		return
	}
	m.limit = limit
	m.unwantAll(dueBlocked)
	for i := range m.chans {
		if ch := &m.chans[i]; ch.waits == waitData {
			m.evaluate(ch)
		}
	}
}

// handleMaxChannel takes the peer's limit of a channel.
func (m *messages) handleMaxChannel(number uint8, limit uint64) {
	ch := m.lookup(number)
	if limit <= ch.limit {
		return
	}
	ch.limit = limit
	m.unwant(ch, dueBlocked)
	if ch.waits == waitCredit {
		m.evaluate(ch)
	}
}

// handleBlocked takes that the peer would send if it had credit. If the limit that stalls it is the one that was said
// last, the next credit that comes back is announced at once.
func (m *messages) handleBlocked(limit uint64) {
	if limit < m.advertised {
		return // a higher one is on its way, and is repeated if it gets lost
	}
	m.peerBlocked = true
	m.setAdvertNext()
	if m.consumedTotal+m.dataWindow() > m.advertised {
		m.wantAll(dueMax)
	}
}

// handleChannelBlocked does the same for a channel.
func (m *messages) handleChannelBlocked(number uint8, limit uint64) {
	ch := m.lookup(number)
	if limit < ch.advertised || !ch.mode.Reliable() {
		return
	}
	ch.peerBlocked = true
	m.setChannelAdvertNext(ch)
	if ch.consumed+m.channelWindow(ch) > ch.advertised {
		m.want(ch, dueMax)
	}
}

// gapSize is how many messages an EventGap can name.
func gapSize(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }
