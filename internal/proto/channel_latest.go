package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
)

var (
	markReplaced   = mark.Register("proto: a waiting value was replaced by a newer one")
	markSuperseded = mark.Register("proto: a lost value was given up for a newer one")
)

// latestState is what a latest channel knows of its keys.
type latestState struct {
	out     keyTable[outKey]
	in      keyTable[uint64] // versions above the floor: the ID of the newest message of the key, while IDs below are missing
	current int              // keys of out with messages in the window
}

// outKey is what the sender knows of a key.
type outKey struct {
	waiting uint64 // ID + 1 of the message of which nothing was sent yet; 0 = none
	sent    uint64 // ID + 1 of the newest message that was wholly sent; 0 = none, or resolved long ago
	refs    uint32 // messages in the queue whose sending has begun
}

// keys returns the channel's state of keys, which it makes at the first use.
func (ch *channel) keys() *latestState {
	if ch.latest == nil {
		ch.latest = new(latestState)
	}
	return ch.latest
}

// replaceWaiting puts a message in the place of an older one of its key of which nothing was sent. It reports false if there
// is none.
func (m *messages) replaceWaiting(now mono.Time, ch *channel, msg *Message) bool {
	if ch.latest == nil {
		return false
	}
	k := ch.latest.out.get(m.sh.HashKey, msg.Key)
	if k == nil || k.waiting == 0 {
		return false
	}
	i := int(k.waiting - 1 - ch.base)
	e := ch.queue.at(i)
	cost := len(msg.Payload) + messageOverhead
	if m.buffered-e.cost()+cost > m.sh.Config.SendBuffer {
		return false
	}
	where, flags, ok := m.hold(msg)
	if !ok {
		return false
	}
	m.sh.Stats.Superseded++
	mark.Hit(markReplaced)
	freed := m.drop(e)
	x := ch.extras.at(i)
	m.outcome(x.tag, Superseded)
	*e = queued{where: where, off: msg.Offset, size: uint32(len(msg.Payload)), flags: flags}
	x.tag, x.expiry = msg.Tag, m.expiry(now, ch, msg.TTL)
	m.buffered += cost
	m.writable(freed)
	if i == int(ch.sent) {
		m.evaluate(ch)
	}
	return true
}

// noteWaiting notes that the newest message of the queue is the one of its key that waits.
func (ch *channel) noteWaiting(hash, key uint64) {
	ch.keys().out.put(hash, key).waiting = ch.base + uint64(ch.queue.len())
}

// forgetWaiting notes that a message was given up before anything of it was sent.
func (ch *channel) forgetWaiting(hash, key, id uint64) {
	k := ch.latest.out.get(hash, key)
	if k == nil || k.waiting != id+1 {
		return
	}
	k.waiting = 0
	if k.refs == 0 {
		ch.latest.out.remove(hash, key)
	}
}

// tooManyKeys reports whether a message of the key must wait until fewer keys are outstanding.
func (ch *channel) tooManyKeys(hash, key uint64) bool { return ch.roomForKeys(hash, key) == 0 }

// roomForKeys returns how many messages may leave before keys must be counted again, the first of them of the given key.
func (ch *channel) roomForKeys(hash, key uint64) int {
	free := maxLatestKeys - ch.keys().current
	if k := ch.latest.out.get(hash, key); k != nil && k.refs > 0 {
		free++
	}
	return free
}

// beginKey notes that the sending of a message has begun. From now on it cannot be replaced.
func (ch *channel) beginKey(hash, key uint64) {
	k := ch.latest.out.put(hash, key)
	k.waiting = 0
	if k.refs == 0 {
		ch.latest.current++
	}
	k.refs++
}

// sentKey notes that message i was sent, at once and as a whole.
func (m *messages) sentKey(ch *channel, i int) {
	ch.beginKey(m.sh.HashKey, ch.extras.at(i).key)
	m.completeKey(ch, i)
}

// completeKey notes that the last byte of message i was sent. The one before of its key need not be repeated any more;
// advance is to follow.
func (m *messages) completeKey(ch *channel, i int) {
	k := ch.latest.out.get(m.sh.HashKey, ch.extras.at(i).key)
	before := k.sent
	k.sent = ch.base + uint64(i) + 1
	if before <= ch.base {
		return
	}
	j := int(before - 1 - ch.base)
	e := ch.queue.at(j)
	if e.state >= entryAcked {
		return
	}
	if e.flags&entryRepeat != 0 {
		m.supersede(ch, j)
		return
	}
	e.flags |= entrySuperseded
	m.writable(m.dropPayload(e))
}

// supersede gives up message i, which is lost and outdated.
func (m *messages) supersede(ch *channel, i int) {
	m.sh.Stats.Superseded++
	mark.Hit(markSuperseded)
	m.writable(m.finish(ch, i, entryAbandoned, Superseded))
}

// forgetSent notes that a message whose sending had begun has left the queue.
func (ch *channel) forgetSent(hash, key uint64) {
	k := ch.latest.out.get(hash, key)
	if k.refs--; k.refs > 0 {
		return
	}
	ch.latest.current--
	k.sent = 0
	if k.waiting == 0 {
		ch.latest.out.remove(hash, key)
	}
}

// newest takes a message's ID as its key's version. It reports false if a newer one was delivered. While nothing is missing below
// a message there is nothing older that could still arrive, and no need for versions.
func (m *messages) newest(ch *channel, id, key uint64) bool {
	if ch.outdated(m.sh.HashKey, id, key) {
		return false
	}
	if ch.window.len() > 0 {
		*ch.keys().in.put(m.sh.HashKey, key) = id
	}
	return true
}

// keyAllowed reports whether the peer keeps the number of keys outstanding within its limit. Keys whose version has fallen
// below the floor are no longer outstanding; they are forgotten many at a time.
func (m *messages) keyAllowed(ch *channel, key uint64) bool {
	t := &ch.keys().in
	if t.n < 2*maxLatestKeys || t.get(m.sh.HashKey, key) != nil {
		return true
	}
	for i := 0; i < len(t.slots); {
		s := &t.slots[i]
		if s.key != 0 && s.value < ch.next {
			t.remove(m.sh.HashKey, s.key-1) // another key may take the slot
			continue
		}
		i++
	}
	return t.n < maxLatestKeys
}

// outdated reports whether a newer message of the key was delivered.
func (ch *channel) outdated(hash, id, key uint64) bool {
	if ch.latest == nil || mutant.On(mutant.StaleLatest) {
		return false
	}
	version := ch.latest.in.get(hash, key)
	return version != nil && *version > id
}
