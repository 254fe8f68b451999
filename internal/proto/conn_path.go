package proto

import (
	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// migration is a path change that is being validated (RFC 9000 §9.3). At most one is pending; a further change
// starts anew from the last validated path. While it lasts both paths are challenged: if the old one answers, the
// change was a forwarded or spoofed packet and is undone.
type migration struct {
	old          wire.Path
	sameHost     bool
	amplify      int       // bytes that may still be sent to the new path
	challenge    [2]uint64 // new path, old path
	due          [2]bool   // ... still to be sent
	tries        uint8
	deadline     mono.Time
	respond      uint64 // the newest PATH_CHALLENGE to answer, on the path it came by
	respondTo    wire.Path
	respondDue   bool
	validating   bool
	oldValidated bool // old was validated, so it is worth returning to
}

const (
	newPath = iota
	oldPath
)

const (
	maxChallengeTries = 3
	pathSlack         = 256 // packets beyond twice the window that the log may hold while paths are validated
)

// ensureMove returns the connection's path bookkeeping, which exists only while it is needed.
func (c *Conn) ensureMove() *migration {
	if c.move == nil {
		c.move = &migration{deadline: mono.Never, amplify: noLimit}
	}
	return c.move
}

// pathChanged moves sending to the address that the highest-numbered non-probing packet came from.
func (c *Conn) pathChanged(now mono.Time, p *wire.Path, size int) {
	if c.client || !c.confirmed {
		return
	}
	if !p.Remote.SameHost(c.path.Remote) && c.sh.Config.Plain {
		c.sh.Stats.PathRejected++ // a checksum proves nothing about who sent it
		return
	}
	m := c.ensureMove()
	switch {
	case !m.validating:
		m.old, m.oldValidated = c.path, true
		m.challenge[oldPath] = c.rng.Uint64()
		m.due[oldPath] = true
	case p.Remote == m.old.Remote:
		c.returnPath(now) // the peer is where it was: nothing is left to prove
		return
	}
	m.sameHost = p.Remote.SameHost(m.old.Remote)
	m.challenge[newPath] = c.rng.Uint64()
	m.due[newPath] = true
	m.validating, m.tries = true, 0
	m.amplify = amplification * size
	m.deadline = now.Add(c.rtt.PTO(c.peerAckDelay))
	if !mutant.On(mutant.StalePath) {
		c.path = *p
	}
	c.sh.Stats.PathChanges++
	c.trace(now, TracePath, 1, 0, 0)
	if !m.sameHost {
		c.resetPath(now)
	}
	c.event(Event{Kind: EventPath})
}

// resetPath forgets what was learned about the old path (RFC 9000 §9.4).
func (c *Conn) resetPath(now mono.Time) {
	c.cc.OnPathChange(now)
	c.rtt = congestion.NewRTT()
	c.mtu.restart(now, c.mtuTop())
	c.ecn.init(c.sh.Config.ECN)
}

// handlePathChallenge notes the newest challenge to answer on the path it came by. Only one is kept: a flood of
// them costs no memory (CVE-2023-49295).
func (c *Conn) handlePathChallenge(b []byte, p *wire.Packet) int {
	data, n := wire.ParsePathChallenge(b)
	if n < 0 {
		return -1
	}
	if mutant.On(mutant.ChallengeUnheard) {
		return n
	}
	m := c.ensureMove()
	m.respond, m.respondTo, m.respondDue = data, *p.Path, true
	return n
}

// handlePathResponse validates the new path, or returns to the old one.
func (c *Conn) handlePathResponse(now mono.Time, b []byte, p *wire.Packet) int {
	data, n := wire.ParsePathResponse(b)
	if n < 0 {
		return -1
	}
	m := c.move
	if m == nil || !m.validating {
		return n
	}
	switch {
	case data == m.challenge[newPath]:
		mark.Hit(markPathValidated)
		c.trace(now, TracePath, 2, 0, 0)
		c.settlePath(now)
	case data == m.challenge[oldPath] && p.Path.Remote == m.old.Remote && m.tries < maxChallengeTries:
		c.returnPath(now)
	}
	return n
}

// settlePath ends a validation with the path in use.
func (c *Conn) settlePath(mono.Time) {
	c.move.validating = false
	c.move.due = [2]bool{}
	c.move.amplify = noLimit
	c.move.deadline = mono.Never
	c.dropMove()
}

// returnPath goes back to the path before the change.
func (c *Conn) returnPath(now mono.Time) {
	mark.Hit(markPathReturned)
	c.path = c.move.old
	if !c.move.sameHost {
		c.resetPath(now)
	}
	c.settlePath(now)
	c.sh.Stats.PathRejected++
	c.trace(now, TracePath, 3, 0, 0)
	c.event(Event{Kind: EventPath})
}

// dropMove frees the bookkeeping once nothing of it is pending.
func (c *Conn) dropMove() {
	if m := c.move; m != nil && !m.validating && !m.respondDue {
		c.move = nil
	}
}

// moveTimeout repeats the challenges, and gives the new path up after three PTOs.
func (c *Conn) moveTimeout(now mono.Time) {
	m := c.move
	if !m.validating {
		m.deadline = mono.Never
		return
	}
	m.tries++
	if m.tries >= maxChallengeTries {
		c.returnPath(now)
		return
	}
	m.due = [2]bool{true, true}
	m.deadline = now.Add(c.rtt.PTO(c.peerAckDelay))
}

// forget gives up what is due on other paths: a peer that acknowledges nothing could have the log of what was sent grow with
// it. Challenges are repeated, and whoever misses an answer asks again.
func (m *migration) forget(current wire.Addr) {
	m.due[oldPath] = false
	if m.respondTo.Remote != current {
		m.respondDue = false
	}
}

// pathRoom reports whether frames that validate a path may leave. They pass the window, which the probes of a long
// silence may have filled many times over, but the log of what was sent stays bounded.
func (c *Conn) pathRoom() bool {
	return c.app.sent.packets.len() < 2*c.cc.Window()/minDatagram+pathSlack
}

// wants reports whether a frame for the current path is due.
func (m *migration) wants() bool {
	return m.validating && m.due[newPath] || m.respondDue
}

// append writes the frames that belong on the path in use.
func (m *migration) append(b []byte, limit int, remote wire.Addr) []byte {
	if m.validating && m.due[newPath] && limit-len(b) >= 9 {
		b = wire.AppendPathChallenge(b, m.challenge[newPath])
		m.due[newPath] = false
	}
	if m.respondDue && m.respondTo.Remote == remote && limit-len(b) >= 9 {
		b = wire.AppendPathResponse(b, m.respond)
		m.respondDue = false
	}
	return b
}

// buildProbe builds the datagrams that go by another path than the one in use: the challenge of the old path and an
// answer to a challenge that came elsewhere. They are padded to show that the path carries full packets.
func (c *Conn) buildProbe(now mono.Time, buf []byte, t *wire.Train) bool {
	m := c.move
	if !c.pathRoom() {
		m.forget(c.path.Remote)
	}
	var path wire.Path
	challenge, respond := false, false
	switch {
	case m.validating && m.due[oldPath]:
		path, challenge = m.old, true
		m.due[oldPath] = false
		if m.respondDue && m.respondTo.Remote == path.Remote {
			respond = true
		}
	case m.respondDue && m.respondTo.Remote != c.path.Remote:
		path, respond = m.respondTo, true
	default:
		c.dropMove()
		return false
	}
	b := buf[:0:minDatagram]
	s := &c.app
	c.skip(now, s)
	pnLen := wire.PNLen(s.next, s.largestAcked)
	b = wire.AppendShort(b, c.peer.current.Bytes(), 0, pnLen)
	pnOff := len(b)
	b = wire.AppendPN(b, s.next, pnLen)
	recs := s.sent.records.len()
	size := minDatagram
	if challenge {
		b = wire.AppendPathChallenge(b, m.challenge[oldPath])
	}
	if respond {
		b = wire.AppendPathResponse(b, m.respond)
		m.respondDue = false
		if !challenge {
			size = len(b) + minPayload + int(s.tagLen) // an answer to an unknown address must not amplify
		}
	}
	clear(b[len(b) : size-int(s.tagLen)])
	c.commit(now, wire.LevelOneRTT, t, pnOff, pnLen, size, recs, true, flagPath)
	t.Path, t.Len, t.SegmentSize, t.Segments = path, size, size, 1
	c.dropMove()
	return true
}
