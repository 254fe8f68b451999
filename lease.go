package godwit

import (
	"errors"
	"fmt"
	"time"

	"godwit.example/godwit/internal/shard"
)

// Lease is memory for one message, in which it is put together where the shard will read it: Send without its copy. It is used by one
// goroutine at a time, must not be copied, and ends with Commit or Cancel. One that is forgotten does no harm.
//
// A lease has a buffer of its own, which its message holds until it is acknowledged: the message and 72 bytes rounded up to 768 B, 3, 12, 48
// or 192 KiB, which are used again, or a new one for a larger message. All of it counts against Tuning.MailboxBytes, the message's length and
// 32 bytes against Config.SendBuffer. So a lease costs two short turns of the mailbox's lock and saves a copy: it pays
// from a few kilobytes on. Send is better for smaller messages, which share buffers.
type Lease struct {
	// Key, Tag and TTL are those of Message; they may be set until Commit.
	Key, Tag uint64
	TTL      time.Duration

	_       noCopy
	c       Conn
	channel Channel
	lease   shard.Lease
}

// noCopy has go vet find copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

var errLeaseOver = errors.New("godwit: the lease is over: it was committed or cancelled")

// Lease returns memory for a message of n bytes on a channel. It may hold anything. Errors are those of Send; but no room is
// kept free, so Commit may find that there is none any more.
func (c Conn) Lease(ch Channel, n int) (Lease, error) {
	if c.ep == nil {
		return Lease{}, errStale
	}
	if ch >= maxChannels {
		return Lease{}, errChannel(ch)
	}
	if n < 0 {
		return Lease{}, fmt.Errorf("godwit: a lease of %d bytes", n)
	}
	s, reliable := c.shard(), c.ep.limits.reliable[ch]
	l, status := s.Lease(c.ref(), n, reliable)
	if status != shard.Sent {
		return Lease{}, c.sendError(s, status, n, reliable)
	}
	return Lease{c: c, channel: ch, lease: l}, nil
}

// Bytes returns the message's memory, to be written until Commit. It is nil when the lease is over.
func (l *Lease) Bytes() []byte { return l.lease.Bytes() }

// Truncate shortens the message to n bytes; a larger n changes nothing.
func (l *Lease) Truncate(n int) { l.lease.Truncate(n) }

// Commit sends the message. After ErrWouldBlock the lease goes on, and Commit may be tried again; any other error, like
// success, ends it. Errors are those of Conn.SendMessage.
func (l *Lease) Commit() error {
	if !l.lease.Open() {
		return errLeaseOver
	}
	if l.Key > maxKey {
		l.Cancel()
		return errKey(l.Key)
	}
	s := l.c.shard()
	m := shard.Outbound{
		Channel: uint16(l.channel), Key: l.Key, Tag: l.Tag, TTL: max(l.TTL, 0), Reliable: l.c.ep.limits.reliable[l.channel],
	}
	switch status := s.Commit(l.c.ref(), &m, &l.lease); status {
	case shard.Sent:
		s.Return(&l.lease) // an unreliable message that found no room leaves it open
		return nil
	case shard.WouldBlock, shard.NotYet:
		return ErrWouldBlock
	default:
		s.Return(&l.lease)
		return l.c.closedError()
	}
}

// Cancel ends the lease without sending anything.
func (l *Lease) Cancel() {
	if l.lease.Open() {
		l.c.shard().Return(&l.lease)
	}
}
