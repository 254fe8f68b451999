package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
)

var (
	markEvicted    = mark.Register("proto: an unsent unreliable message was evicted")
	markStalled    = mark.Register("proto: credit stalled a channel")
	markStalledAll = mark.Register("proto: the connection's credit stalled a channel")
)

// SendResult says what became of a command to send.
type SendResult uint8

// Results of sending.
const (
	SendOK       SendResult = iota
	SendTooLarge            // above the peer's limit, the mode's, or the whole send buffer
	SendBlocked             // the send buffer is full
	SendClosed              // the connection takes no messages, or has no such channel
)

// queued is a message on its way out: 16 bytes without pointers.
type queued struct {
	where uint32 // the chunk it lies in; a pool block if entryPooled; an index of messages.frags if entryCut
	off   uint32 // in the chunk
	size  uint32
	state entryState
	flags uint8
}

// entryState is how far a message got. From entryAcked on it is resolved.
type entryState uint8

const (
	entryQueued    entryState = iota // nothing of it was sent
	entrySending                     // some fragments were sent
	entrySent                        // all of it was sent
	entryAcked                       // all of it was acknowledged, or nobody waits for that
	entryAbandoned                   // given up
)

const (
	entryPooled     uint8 = 1 << iota
	entryCut              // it is sent in fragments
	entryReserved         // its credit is taken
	entryDropped          // its payload is released
	entryRepeat           // it waits to be repeated, whole or in part
	entrySuperseded       // a newer message of its key was wholly sent: it is not repeated any more
)

// cost is the credit that the message takes.
func (e *queued) cost() int { return int(e.size) + messageOverhead }

// extra is what few messages have.
type extra struct {
	key    uint64
	tag    uint64
	expiry mono.Time // 0 = never
}

// send queues a message. It is called for each message that the shard takes from its mailbox.
func (m *messages) send(now mono.Time, msg *Message) SendResult {
	if msg.Channel >= numChannels {
		return SendClosed
	}
	ch := m.lookup(uint8(msg.Channel))
	size := len(msg.Payload)
	cost := size + messageOverhead
	if size > m.maxMessage || cost > m.sh.Config.SendBuffer || size > MaxUnreliable && !ch.mode.Reliable() {
		return SendTooLarge
	}
	if ch.mode == Latest && m.replaceWaiting(now, ch, msg) {
		return SendOK
	}
	if m.buffered+cost > m.sh.Config.SendBuffer {
		if ch.mode.Reliable() {
			return SendBlocked
		}
		if !m.evict(ch, cost) {
			// Reliable messages fill the buffer: the new message is the only one that may go.
			m.sh.Stats.Evicted++
			m.outcome(msg.Tag, Superseded)
			m.writable(cost)
			return SendOK
		}
	}
	where, flags, ok := m.hold(msg)
	if !ok {
		return SendBlocked
	}
	m.buffered += cost
	if ch.mode.Reliable() {
		m.unresolved++
	}
	e := ch.queue.extend()
	e.where, e.off, e.size = where, msg.Offset, uint32(size)
	e.state, e.flags = entryQueued, flags
	if ch.hasExtras || msg.Tag != 0 || msg.TTL > 0 || ch.mode == Latest {
		m.pushExtra(now, ch, msg)
	}
	if int(ch.sent)+1 == ch.queue.len() {
		m.evaluate(ch)
	}
	return SendOK
}

// sendRun queues what it can of a run of ordinary messages: reliable ones without key, tag or TTL that lie in one chunk. It does
// what send does for each, once for all, and returns how many it took; the next one is for send.
func (m *messages) sendRun(channel uint16, chunk mem.ChunkID, run []Piece) (n int) {
	if int(m.hot) >= len(m.chans) || mutant.On(mutant.CopiedTwice) {
		return 0
	}
	ch := &m.chans[m.hot]
	if uint16(ch.number) != channel || ch.hasExtras || ch.mode == Latest || !ch.mode.Reliable() {
		return 0
	}
	idle := int(ch.sent) == ch.queue.len()
	room, cost := m.sh.Config.SendBuffer-m.buffered, 0
	q := &ch.queue
	q.reserve(len(run))
	for n < len(run) {
		size := run[n].Size
		next := cost + int(size) + messageOverhead
		if next > room || int(size) > m.maxMessage {
			break
		}
		cost = next
		e := q.at(q.len() + n)
		e.where, e.off, e.size = uint32(chunk), run[n].Offset, size
		e.state, e.flags = entryQueued, 0
		n++
	}
	if n == 0 {
		return 0
	}
	q.n += uint32(n)
	m.sh.Chunks.RetainAll(chunk, n)
	m.buffered += cost
	m.unresolved += n
	if idle {
		m.evaluate(ch)
	}
	return n
}

// hold keeps a message's payload from going away: it retains its chunk or, if it lies in none, copies it to the start of a
// block of the pool.
func (m *messages) hold(msg *Message) (where uint32, flags uint8, ok bool) {
	if msg.Chunk != 0 && !mutant.On(mutant.CopiedTwice) {
		m.sh.Chunks.Retain(msg.Chunk)
		return uint32(msg.Chunk), 0, true
	}
	return m.keep(msg.Payload)
}

// keep copies a payload into the pool.
func (m *messages) keep(payload []byte) (where uint32, flags uint8, ok bool) {
	if len(payload) == 0 {
		return 0, 0, true
	}
	ref, b := m.sh.Pool.Get(len(payload))
	if b == nil {
		m.sh.Stats.PoolRefused++
		return 0, 0, false
	}
	copy(b, payload)
	m.sh.copied(len(payload))
	return uint32(ref), entryPooled, true
}

// pushExtra notes key, tag and TTL of the message just queued.
func (m *messages) pushExtra(now mono.Time, ch *channel, msg *Message) {
	if !ch.hasExtras {
		ch.hasExtras = true
		for ch.extras.len() < ch.queue.len()-1 {
			ch.extras.push(extra{})
		}
	}
	ch.extras.push(extra{key: msg.Key, tag: msg.Tag, expiry: m.expiry(now, ch, msg.TTL)})
	if ch.mode == Latest {
		ch.noteWaiting(m.sh.HashKey, msg.Key)
	}
}

// expiry turns a TTL into an instant and has the timer know.
func (m *messages) expiry(now mono.Time, ch *channel, ttl mono.Duration) mono.Time {
	if ttl <= 0 {
		return 0
	}
	at := now.Add(ttl)
	m.nextExpiry = min(m.nextExpiry, at)
	ch.expires = true
	return at
}

// evict gives up the oldest unsent messages of an unreliable channel until a message of that cost has room. It
// reports whether it has.
func (m *messages) evict(ch *channel, cost int) bool {
	i := int(ch.sent)
	if ch.repeatFrom > ch.base { // an unreliable channel repeats nothing: the field is where the last search ended
		i = max(i, int(ch.repeatFrom-ch.base))
	}
	freed := 0
	for ; i < ch.queue.len() && m.buffered+cost > m.sh.Config.SendBuffer; i++ {
		if ch.queue.at(i).state == entryQueued {
			m.sh.Stats.Evicted++
			mark.Hit(markEvicted)
			freed += m.finish(ch, i, entryAbandoned, Superseded)
		}
	}
	ch.repeatFrom = ch.base + uint64(i)
	m.writable(freed)
	m.advance(ch)
	return m.buffered+cost <= m.sh.Config.SendBuffer
}

// drop releases everything that a message holds and returns the bytes of the send buffer that this frees.
func (m *messages) drop(e *queued) int {
	if e.flags&entryCut != 0 {
		m.dropFragments(e)
	}
	return m.dropPayload(e)
}

// dropPayload releases a message's payload, not the record of which fragments were acknowledged.
func (m *messages) dropPayload(e *queued) int {
	if e.flags&entryDropped != 0 {
		return 0
	}
	where := &e.where
	if e.flags&entryCut != 0 {
		where = &m.frags[e.where].where
	}
	if e.flags&entryPooled != 0 {
		m.sh.Pool.Put(mem.Ref(*where))
	} else if !mutant.On(mutant.ChunkLeak) {
		m.sh.Chunks.Release(mem.ChunkID(*where))
	}
	*where = 0
	e.flags = e.flags&^entryPooled | entryDropped
	n := e.cost()
	m.buffered -= n
	return n
}

// payload returns the bytes of a message that is not dropped.
func (m *messages) payload(e *queued) []byte {
	where, off, flags := e.where, e.off, e.flags
	if flags&entryCut != 0 {
		f := &m.frags[where]
		where, off = f.where, f.off
	}
	if e.size == 0 {
		return nil
	}
	if flags&entryPooled != 0 {
		return m.sh.Pool.Bytes(mem.Ref(where))[:e.size] // its offset in a chunk that it did not lie in says nothing
	}
	return m.sh.Chunks.Bytes(mem.ChunkID(where))[off : off+e.size]
}

// finish resolves message i of the queue, releases it and reports its outcome. It returns the bytes that this frees;
// advance is to follow.
func (m *messages) finish(ch *channel, i int, state entryState, o Outcome) int {
	e := ch.queue.at(i)
	if e.state >= entryAcked {
		return 0
	}
	if e.flags&entryRepeat != 0 {
		m.unrepeat(ch, e)
	}
	freed := m.drop(e)
	if ch.hasExtras {
		x := ch.extras.at(i)
		m.outcome(x.tag, o)
		x.tag, x.expiry = 0, 0
		if ch.mode == Latest && e.state == entryQueued {
			ch.forgetWaiting(m.sh.HashKey, x.key, ch.base+uint64(i))
		}
	}
	e.state = state
	return freed
}

// repeat notes that a message waits to be repeated.
func (m *messages) repeat(ch *channel, i int) {
	id := ch.base + uint64(i)
	if ch.repeats == 0 {
		ch.repeatFrom = id
		m.arm(ch, armedRepeat, true)
	}
	ch.repeatFrom = min(ch.repeatFrom, id)
	if e := ch.queue.at(i); e.flags&entryRepeat == 0 {
		e.flags |= entryRepeat
		ch.repeats++
	}
}

// unrepeat notes that nothing of a message waits to be repeated any more.
func (m *messages) unrepeat(ch *channel, e *queued) {
	e.flags &^= entryRepeat
	ch.repeats--
	if ch.repeats == 0 {
		m.arm(ch, armedRepeat, false)
	}
}

// advance forgets resolved messages at the front of the queue. Given-up ones of a reliable channel stay until the peer
// has acknowledged SKIP: up to then it may count their IDs as missing.
func (m *messages) advance(ch *channel) {
	n := ch.queue.len()
	i := int(ch.settled)
	reliable := ch.mode.Reliable()
	for ; i < n; i++ {
		state := ch.queue.at(i).state
		if state < entryAcked {
			break
		}
		if state == entryAbandoned && reliable {
			ch.skip = uint32(i + 1)
		}
	}
	ch.settled = uint32(i)
	lead := i
	if ch.skip > 0 {
		lead = 0
		for ch.queue.at(lead).state == entryAcked {
			lead++
		}
		if ch.base+uint64(ch.skip) > ch.skipSent && !mutant.On(mutant.NoSkip) {
			m.want(ch, dueSkip)
		}
	}
	m.pop(ch, lead)
	if ch.waits >= waitIDs || (ch.armed&armedFresh != 0 || ch.waits != waitNothing) && ch.headGone() {
		m.evaluate(ch)
	}
}

// headGone reports whether the channel's next new message was given up.
func (ch *channel) headGone() bool {
	return int(ch.sent) == ch.queue.len() || ch.queue.at(int(ch.sent)).state >= entryAcked
}

// pop forgets the k first messages of the queue, all of them resolved.
func (m *messages) pop(ch *channel, k int) {
	if k == 0 {
		return
	}
	for i := range k {
		if e := ch.queue.at(i); e.flags&entryReserved != 0 {
			ch.frontCost += uint64(e.cost())
			if ch.mode == Latest {
				ch.forgetSent(m.sh.HashKey, ch.extras.at(i).key)
			}
		}
	}
	ch.queue.popFront(k)
	if ch.hasExtras {
		ch.extras.popFront(k)
		if ch.queue.len() == 0 {
			ch.hasExtras = false
			m.noExpiry(ch)
		}
	}
	ch.base += uint64(k)
	passed := min(ch.sent, uint32(k))
	ch.sent -= passed
	ch.settled -= min(ch.settled, uint32(k))
	ch.skip -= min(ch.skip, uint32(k))
	if ch.mode.Reliable() {
		m.unresolved -= k
		m.shrinkWindow(int(passed))
	}
}

// shrinkWindow takes n resolved messages out of the window that all channels share.
func (m *messages) shrinkWindow(n int) {
	full := m.windowed >= connectionWindow
	m.windowed -= n
	if full {
		m.wake()
	}
}

// wake looks again at channels that wait for something that all channels share.
func (m *messages) wake() {
	for i := range m.chans {
		if ch := &m.chans[i]; ch.waits >= waitIDs {
			m.evaluate(ch)
		}
	}
}

// evaluate finds out whether the channel's next new message may leave, and says so where it counts.
func (m *messages) evaluate(ch *channel) {
	for int(ch.sent) < ch.queue.len() && ch.queue.at(int(ch.sent)).state >= entryAcked {
		m.passHead(ch)
	}
	ch.waits = waitNothing
	if int(ch.sent) == ch.queue.len() {
		m.arm(ch, armedFresh, false)
		m.unwant(ch, dueBlocked)
		return
	}
	ch.waits = m.obstacle(ch)
	m.arm(ch, armedFresh, ch.waits == waitNothing)
	switch ch.waits {
	case waitIDs:
		mark.Hit(markIDs)
	case waitCredit:
		mark.Hit(markStalled)
		if ch.blockedAt != ch.limit+1 {
			m.want(ch, dueBlocked)
		}
	case waitData:
		mark.Hit(markStalledAll)
		if m.blockedAt != m.limit+1 {
			m.wantAll(dueBlocked)
		}
	}
}

// passHead counts the next new message as sent.
func (m *messages) passHead(ch *channel) {
	ch.sent++
	if ch.mode.Reliable() {
		m.windowed++
	}
}

// obstacle says why the channel's next new message may not leave, if it may not.
func (m *messages) obstacle(ch *channel) waiting {
	e := ch.queue.at(int(ch.sent))
	if !ch.mode.Reliable() || e.flags&entryReserved != 0 {
		return waitNothing
	}
	cost := uint64(e.cost())
	switch {
	case ch.sent >= ch.idWindow() || m.windowed >= connectionWindow:
		return waitIDs
	case ch.mode == Latest && ch.tooManyKeys(m.sh.HashKey, ch.extras.at(int(ch.sent)).key):
		return waitKeys
	case ch.reserved+cost > ch.limit:
		return waitCredit
	case m.reserved+cost > m.limit:
		return waitData
	case m.partialSends >= maxPartial:
		return waitPartial
	}
	return waitNothing
}

// idWindow is how far message IDs may run ahead of the oldest unresolved one.
func (ch *channel) idWindow() uint32 {
	if ch.mode == Ordered {
		return orderedWindow
	}
	return unorderedWindow
}
