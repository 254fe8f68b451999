package proto

import (
	"math/bits"

	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// Limits of channels and messages (docs/SPEC.md, "Messages").
const (
	numChannels      = wire.MaxChannel + 1
	messageOverhead  = 32       // credit that a message costs beside its bytes
	orderedWindow    = 16384    // newest - oldest unresolved message ID of an ordered channel
	unorderedWindow  = 4096     // ... of an unordered or latest one
	connectionWindow = 65536    // message IDs from the oldest unresolved to the newest, of all channels together
	maxLatestKeys    = 1024     // keys of a latest channel that are outstanding at once
	MaxUnreliable    = 64 << 10 // bytes of a message of an unreliable mode
	maxPartial       = 4096     // reliable messages that a connection sends or gathers in fragments at once
	maxMessageLimit  = 16 << 20 // bytes; what a larger max_message_size means
)

// messages is everything a connection knows about its channels, in both directions. It belongs to its Conn and follows
// the same contract.
type messages struct {
	sh   *Shared
	slot uint32
	hot  uint16 // position in chans of the channel last looked up

	chans []channel           // in the order of first use
	index *[numChannels]uint8 // channel number to position, once there are more than a few

	levels []level // the priorities in use, highest first
	ready  int     // how many bits are set in levels' bitmaps, control and due; appendFrames has work while it is not zero

	// Sending.
	reserved     uint64 // credit that reliable messages have taken on the connection
	limit        uint64 // the peer's MAX_DATA
	blockedAt    uint64 // limit + 1 for which BLOCKED was said
	peerChannel  uint64 // the peer's initial credit of a channel that peerListed does not name
	peerListed   []wire.ChannelParam
	maxMessage   int       // the peer's max_message_size
	fullPacket   int       // length of a full packet up to its tag, 0 = unknown
	buffered     int       // cost of all messages whose payload is held
	unresolved   int       // entries of reliable channels' queues
	windowed     int       // ... that lie before the channel's next new message
	nextExpiry   mono.Time // no TTL ends before
	writableAt   int       // index in sh.Events of this connection's last EventWritable
	frags        []outFragments
	freeFrag     uint32 // index + 1 of the first free element of frags
	partialSends int

	// Receiving.
	counted       uint64 // credit that the peer's reliable messages have taken
	consumedTotal uint64 // ... that was given back
	advertised    uint64 // what MAX_DATA said last
	advertNext    uint64 // consumedTotal at which MAX_DATA is due again
	peerBlocked   bool
	due           uint8  // dueMaxData, dueBlocked
	control       bitmap // positions of the channels that have a control frame due
	reasm         []reassembly
	freeReasm     uint32 // index + 1 of the first free element of reasm
	partials      int    // reliable messages in reassembly
	windows       int    // elements of all channels' windows
	loose         looseReassembly
}

// Control frames that are due, of the connection or of a channel.
const (
	dueMax     uint8 = 1 << iota // MAX_DATA, MAX_CHANNEL
	dueBlocked                   // BLOCKED, CHANNEL_BLOCKED
	dueSkip
)

// What a channel has armed in its level.
const (
	armedRepeat uint8 = 1 << iota
	armedFresh
)

// waiting says why a channel's next message cannot leave.
type waiting uint8

const (
	waitNothing waiting = iota
	waitData            // the connection's credit
	waitCredit          // the channel's credit
	waitIDs             // the window of message IDs
	waitKeys            // the number of keys outstanding
	waitPartial         // the number of messages in fragments
)

// channel is one channel in use.
type channel struct {
	// Sending. queue holds the messages from the oldest unresolved to the newest; their IDs are base, base+1, …
	queue      ring[queued]
	extras     ring[extra] // parallel to queue while any of its messages has a key, tag or TTL; else empty
	base       uint64
	frontCost  uint64 // credit that messages below base took
	reserved   uint64 // credit that all messages took
	limit      uint64 // the peer's MAX_CHANNEL
	blockedAt  uint64 // limit + 1 for which CHANNEL_BLOCKED was said
	repeatFrom uint64 // no message below this ID waits to be repeated
	repeats    uint32 // messages that wait to be repeated, whole or in part
	sent       uint32 // messages at the front of queue that were wholly sent once, or given up
	settled    uint32 // messages at the front of queue that are resolved and wait for SKIP to be acknowledged
	skip       uint32 // length of the part of them that SKIP must name; 0 = none
	skipSent   uint64 // ID behind the one that the newest SKIP named
	deficit    int32
	number     uint8
	level      uint8
	weight     uint8
	mode       Mode
	armed      uint8
	due        uint8
	waits      waiting
	hasExtras  bool
	expires    bool // some message of the queue may have a TTL

	// Receiving. window holds what is known of the IDs next, next+1, …; it is empty while messages come in order.
	peerBlocked bool
	next        uint64
	counted     uint64 // credit that the peer's messages took
	windowCost  uint64 // ... those in window
	consumed    uint64
	advertised  uint64
	advertNext  uint64
	window      ring[incoming]

	latest *latestState // only for channels of that mode, once used
}

// level is one priority: which of its channels have something to send.
type level struct {
	priority int8
	turn     uint16 // position of the channel whose turn it is
	owed     int32  // bytes that the level may send before higher ones
	repeat   bitmap
	fresh    bitmap
}

// bitmap is a set of positions of channels.
type bitmap struct {
	words [numChannels / 64]uint64
	n     int
}

// set puts i in, which is not yet there.
func (s *bitmap) set(i int) {
	s.words[i>>6] |= 1 << (i & 63)
	s.n++
}

// clear takes i out, which is there.
func (s *bitmap) clear(i int) {
	s.words[i>>6] &^= 1 << (i & 63)
	s.n--
}

func (s *bitmap) has(i int) bool { return s.words[i>>6]>>(i&63)&1 != 0 }

// from returns the first member at or behind i, or -1.
func (s *bitmap) from(i int) int {
	for w := i >> 6; w < len(s.words); w++ {
		word := s.words[w]
		if w == i>>6 {
			word &= ^uint64(0) << (i & 63)
		}
		if word != 0 {
			return w<<6 | bits.TrailingZeros64(word)
		}
	}
	return -1
}

// cyclic returns the first member at or behind i, beginning again at the front; the set must not be empty.
func (s *bitmap) cyclic(i int) int {
	if j := s.from(i); j >= 0 {
		return j
	}
	return s.from(0)
}

// init prepares for a new connection. Nothing can be sent until setPeerParams.
func (m *messages) init(sh *Shared, slot uint32) {
	*m = messages{sh: sh, slot: slot, nextExpiry: mono.Never, writableAt: -1}
	m.loose.deadline = mono.Never
	m.advertised = sh.Config.Params.InitialMaxData
	m.setAdvertNext()
}

// setPeerParams applies the peer's limits. It returns -1, or the lowest channel that the two ends configured
// differently.
func (m *messages) setPeerParams(p *wire.Params) int {
	m.limit = max(m.limit, p.InitialMaxData)
	m.maxMessage = int(min(p.MaxMessageSize, maxMessageLimit))
	m.peerChannel = p.InitialMaxChannel
	m.peerListed = nil
	var listed bitmap
	mismatch := numChannels
	for i := range p.Channels {
		c := &p.Channels[i]
		if !listed.has(int(c.Channel)) {
			listed.set(int(c.Channel))
		}
		if !sameChannel(&m.sh.Config.Channels[c.Channel], c) {
			mismatch = min(mismatch, int(c.Channel))
		}
		if c.InitialMax != p.InitialMaxChannel {
			m.peerListed = append(m.peerListed, *c)
		}
	}
	for i := range numChannels {
		c := wire.ChannelParam{Mode: wire.DefaultMode(uint8(i)), Weight: wire.DefaultWeight}
		if !listed.has(i) && !sameChannel(&m.sh.Config.Channels[i], &c) {
			mismatch = min(mismatch, i)
			break
		}
	}
	if mismatch < numChannels {
		return mismatch
	}
	for i := range m.chans {
		ch := &m.chans[i]
		ch.limit = max(ch.limit, m.peerLimit(ch.number))
		m.evaluate(ch)
	}
	return -1
}

// sameChannel compares a channel's local configuration with the peer's.
func sameChannel(c *ChannelConfig, p *wire.ChannelParam) bool {
	return uint8(c.Mode) == uint8(p.Mode) && c.Priority == p.Priority && weightOf(c) == p.Weight
}

// weightOf returns a channel's weight; zero means the default.
func weightOf(c *ChannelConfig) uint8 {
	if c.Weight == 0 {
		return wire.DefaultWeight
	}
	return c.Weight
}

// peerLimit is the credit that the peer granted on a channel from the start.
func (m *messages) peerLimit(number uint8) uint64 {
	for i := range m.peerListed {
		if m.peerListed[i].Channel == number {
			return m.peerListed[i].InitialMax
		}
	}
	return m.peerChannel
}

// maxSend returns the largest message that the peer accepts.
func (m *messages) maxSend() int { return m.maxMessage }

// setFullPacket says how long a full packet is, from its first byte to its tag. With it a message that fits a full
// packet, but not the shorter one at hand, waits instead of being cut.
func (m *messages) setFullPacket(n int) { m.fullPacket = n }

// lookup returns the record of a channel, which it makes at the first use. The pointer is valid until another
// channel is used for the first time.
func (m *messages) lookup(number uint8) *channel {
	if int(m.hot) < len(m.chans) {
		if ch := &m.chans[m.hot]; ch.number == number {
			return ch
		}
	}
	return m.find(number)
}

// fewChannels is up to how many channels are searched one by one.
const fewChannels = 6

func (m *messages) find(number uint8) *channel {
	if ch := m.existing(number); ch != nil {
		return ch
	}
	return m.open(number)
}

// existing returns the record of a channel that is in use, or nil.
func (m *messages) existing(number uint8) *channel {
	if m.index != nil {
		i := m.index[number]
		if ch := &m.chans[i]; ch.number == number {
			m.hot = uint16(i)
			return ch
		}
		return nil
	}
	for i := range m.chans {
		if ch := &m.chans[i]; ch.number == number {
			m.hot = uint16(i)
			return ch
		}
	}
	return nil
}

// open makes a channel's record.
func (m *messages) open(number uint8) *channel {
	i := len(m.chans)
	cfg := &m.sh.Config.Channels[number]
	m.chans = append(m.chans, channel{
		number: number, mode: cfg.Mode, weight: weightOf(cfg), limit: m.peerLimit(number),
		advertised: m.sh.Config.Params.Channel(number).InitialMax,
	})
	ch := &m.chans[i]
	m.setChannelAdvertNext(ch)
	m.joinLevel(ch, cfg.Priority)
	m.hot = uint16(i)
	if m.index != nil {
		m.index[number] = uint8(i)
	} else if len(m.chans) > fewChannels {
		m.index = new([numChannels]uint8)
		for j := range m.chans {
			m.index[m.chans[j].number] = uint8(j)
		}
	}
	return ch
}

// joinLevel puts a channel into the level of its priority, which it makes if it is the first.
func (m *messages) joinLevel(ch *channel, priority int8) {
	at := 0
	for at < len(m.levels) && m.levels[at].priority > priority {
		at++
	}
	if at == len(m.levels) || m.levels[at].priority != priority {
		m.levels = append(m.levels, level{})
		copy(m.levels[at+1:], m.levels[at:])
		m.levels[at] = level{priority: priority}
		for i := range m.chans {
			if c := &m.chans[i]; c != ch && int(c.level) >= at {
				c.level++
			}
		}
	}
	ch.level = uint8(at)
}

// position is where a channel's record lies.
func (m *messages) position(ch *channel) int {
	if i := int(m.hot); i < len(m.chans) && &m.chans[i] == ch {
		return i
	}
	if m.index != nil {
		return int(m.index[ch.number])
	}
	for i := range m.chans {
		if &m.chans[i] == ch {
			return i
		}
	}
	panic("BUG: proto: a channel's record is not its connection's")
}

// arm notes that a channel has something to send, or nothing any more.
func (m *messages) arm(ch *channel, what uint8, on bool) {
	if (ch.armed&what != 0) == on {
		return
	}
	ch.armed ^= what
	l := &m.levels[ch.level]
	set := &l.fresh
	if what == armedRepeat {
		set = &l.repeat
	}
	if on {
		m.ready++
		set.set(m.position(ch))
		return
	}
	m.ready--
	set.clear(m.position(ch))
	if what == armedFresh {
		ch.deficit = 0
		if !l.busy() {
			l.owed = 0
		}
	}
}

// want notes that a channel has a control frame to send.
func (m *messages) want(ch *channel, what uint8) {
	if ch.due == 0 {
		m.control.set(m.position(ch))
		m.ready++
	}
	ch.due |= what
}

// unwant notes that a channel's control frames of the kind are written, or no longer needed.
func (m *messages) unwant(ch *channel, what uint8) {
	if ch.due == 0 {
		return
	}
	if ch.due &^= what; ch.due == 0 {
		m.control.clear(m.position(ch))
		m.ready--
	}
}

// wantAll notes that the connection has a control frame to send.
func (m *messages) wantAll(what uint8) {
	if m.due == 0 {
		m.ready++
	}
	m.due |= what
}

func (m *messages) unwantAll(what uint8) {
	if m.due == 0 {
		return
	}
	if m.due &^= what; m.due == 0 {
		m.ready--
	}
}

// wantsToSend reports whether appendFrames would write something, given room.
func (m *messages) wantsToSend() bool { return m.ready != 0 }

// flushed reports whether every reliable message is acknowledged, or given up with the peer's knowledge.
func (m *messages) flushed() bool { return m.unresolved == 0 }

// atRest reports whether no message is held, in either direction, and no frame is due.
func (m *messages) atRest() bool {
	return m.buffered == 0 && m.unresolved == 0 && m.partials == 0 && m.windows == 0 && m.loose.n == 0 && m.ready == 0
}

// event appends an event about this connection to the shard's queue.
func (m *messages) event(e Event) {
	e.Slot = m.slot
	m.sh.Events = append(m.sh.Events, e)
}

// outcome reports what became of a tagged message.
func (m *messages) outcome(tag uint64, o Outcome) {
	if tag != 0 && !(mutant.On(mutant.OutcomeForgotten) && o == Expired) {
		m.event(Event{Kind: EventOutcome, Tag: tag, Outcome: o})
	}
}

// writable reports released bytes of the send buffer. Until the shard drains it, one event gathers them.
func (m *messages) writable(n int) {
	if n == 0 {
		return
	}
	events := m.sh.Events
	if i := m.writableAt; uint(i) < uint(len(events)) && events[i].Kind == EventWritable && events[i].Slot == m.slot {
		events[i].N += uint32(n)
		return
	}
	m.writableAt = len(events)
	m.event(Event{Kind: EventWritable, N: uint32(n)})
}

// abort ends all sending: the fate of tagged messages that are not resolved is unknown. Nothing is left to send.
func (m *messages) abort() {
	for i := range m.chans {
		ch := &m.chans[i]
		for j := range ch.extras.len() {
			if ch.queue.at(j).state < entryAcked {
				m.outcome(ch.extras.at(j).tag, Unknown)
				ch.extras.at(j).tag = 0
			}
		}
	}
	m.release()
}

// release returns every block and every reference to a chunk. It may be called again.
func (m *messages) release() {
	for i := range m.chans {
		ch := &m.chans[i]
		for j := range ch.queue.len() {
			m.drop(ch.queue.at(j))
		}
		for j := range ch.window.len() {
			if e := ch.window.at(j); e.state() == incomingBuffered {
				m.sh.Pool.Put(mem.Ref(e.ref))
			}
		}
	}
	for i := range m.reasm {
		if r := &m.reasm[i]; r.total != 0 {
			m.sh.Pool.Put(r.ref)
		}
	}
	invariant.Check(m.buffered == 0, "proto: released messages are still counted as buffered")
	m.chans, m.index, m.levels, m.frags, m.reasm, m.peerListed = nil, nil, nil, nil, nil, nil
	m.freeFrag, m.freeReasm, m.partials, m.partialSends, m.windowed = 0, 0, 0, 0, 0
	m.ready, m.due, m.control, m.unresolved, m.hot, m.windows = 0, 0, bitmap{}, 0, 0, 0
	if m.sh != nil {
		m.sh.offered = nil
	}
	m.loose = looseReassembly{deadline: mono.Never}
	m.nextExpiry = mono.Never
}
