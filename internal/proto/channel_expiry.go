package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
)

var markExpiredLate = mark.Register("proto: a message expired while it was about to be sent")

// expirySlack is how far apart searches for expired messages are at least. What is about to be sent is always checked.
const expirySlack = mono.Millisecond

// expired reports whether the TTL of message i of the queue has passed. An unreliable message that was sent has none
// any more.
func expired(ch *channel, i int, now mono.Time) bool {
	if !ch.hasExtras {
		return false
	}
	at := ch.extras.at(i).expiry
	return at != 0 && at <= now
}

// expire gives up message i, whose TTL has passed.
func (m *messages) expire(ch *channel, i int) {
	mark.Hit(markExpiredLate)
	m.sh.Stats.Expired++
	m.writable(m.finish(ch, i, entryAbandoned, Expired))
	m.advance(ch)
}

// noExpiry notes that no message of the channel has a TTL. With the last such channel the timer goes, so that an idle connection is
// not woken for messages that have long arrived.
func (m *messages) noExpiry(ch *channel) {
	if !ch.expires {
		return
	}
	ch.expires = false
	for i := range m.chans {
		if m.chans[i].expires {
			return
		}
	}
	m.nextExpiry = mono.Never
}

// deadline returns when handleTimeout is to be called.
func (m *messages) deadline() mono.Time { return min(m.nextExpiry, m.loose.deadline) }

// handleTimeout gives up what has waited too long: messages whose TTL has passed, and unreliable messages that lack fragments.
func (m *messages) handleTimeout(now mono.Time) {
	if now >= m.loose.deadline {
		m.loosen(now)
	}
	if now < m.nextExpiry {
		return
	}
	next, searched := mono.Never, 0
	for i := range m.chans {
		if ch := &m.chans[i]; ch.expires {
			searched += ch.queue.len()
			next = min(next, m.expireChannel(ch, now))
		}
	}
	// Each search costs by the messages queued, so that many of them are searched less often.
	m.nextExpiry = next
	if next != mono.Never {
		m.nextExpiry = max(next, now.Add(max(expirySlack, mono.Duration(searched)*mono.Microsecond)))
	}
}

// expireChannel gives up the channel's expired messages and returns when the next one expires.
func (m *messages) expireChannel(ch *channel, now mono.Time) (next mono.Time) {
	next = mono.Never
	freed, reliable := 0, ch.mode.Reliable()
	for i := range ch.queue.len() {
		e, x := ch.queue.at(i), ch.extras.at(i)
		if x.expiry == 0 || e.state >= entryAcked || e.state == entrySent && !reliable {
			continue
		}
		if x.expiry > now {
			next = min(next, x.expiry)
			continue
		}
		m.sh.Stats.Expired++
		freed += m.finish(ch, i, entryAbandoned, Expired)
	}
	ch.expires = next != mono.Never
	m.writable(freed)
	m.advance(ch)
	return next
}
