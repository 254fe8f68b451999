package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// Caps of connection IDs (RFC 9000 §5.1, CVE-2024-22189).
const (
	maxPeerIDs  = 4  // announced as active_connection_id_limit
	maxLocalIDs = 2  // issued by this end at a time
	maxRetired  = 16 // RETIRE_CONNECTION_ID frames that may be owed
)

// peerIDs are the connection IDs that the peer wants to be addressed by.
type peerIDs struct {
	current  wire.ConnID
	seq      uint64 // of current
	reset    [16]byte
	hasReset bool
	spare    []peerID   // at most maxPeerIDs-1
	retire   []retiring // sequence numbers that the peer does not know to be retired, at most maxRetired
	retired  uint64     // sequence numbers below were retired on the peer's demand
}

// retiring is an ID that was given up and whose RETIRE_CONNECTION_ID is not acknowledged.
type retiring struct {
	seq uint64
	due bool // the frame is to be sent
}

type peerID struct {
	seq   uint64
	id    wire.ConnID
	reset [16]byte
}

func (p *peerIDs) init(id wire.ConnID) { p.current, p.seq = id, 0 }

func (p *peerIDs) setReset(has bool, token [16]byte) {
	p.hasReset = has
	p.reset = token
}

func (p *peerIDs) wants() bool {
	for i := range p.retire {
		if p.retire[i].due {
			return true
		}
	}
	return false
}

// giveUp has an ID retired.
func (p *peerIDs) giveUp(seq uint64) {
	for i := range p.retire {
		if p.retire[i].seq == seq {
			return
		}
	}
	p.retire = append(p.retire, retiring{seq, true})
}

func (p *peerIDs) retireAcked(seq uint64) {
	for i := range p.retire {
		if p.retire[i].seq == seq {
			p.retire = append(p.retire[:i], p.retire[i+1:]...)
			return
		}
	}
}

func (p *peerIDs) retireLost(seq uint64) {
	for i := range p.retire {
		if p.retire[i].seq == seq {
			p.retire[i].due = true
		}
	}
}

// IsStatelessReset reports whether the last 16 bytes of a datagram that could not be opened are the reset token of
// the connection ID in use (RFC 9000 §10.3.1). The comparison takes the same time wherever the tokens differ.
func (c *Conn) IsStatelessReset(token []byte) bool {
	if mutant.On(mutant.ResetUnchecked) {
		return true
	}
	if !c.peer.hasReset || len(token) != len(c.peer.reset) {
		return false
	}
	var diff byte
	for i, b := range c.peer.reset {
		diff |= b ^ token[i]
	}
	return diff == 0
}

// PeerResetToken returns the token of the connection ID in use, if it has one.
func (c *Conn) PeerResetToken() (token [16]byte, ok bool) { return c.peer.reset, c.peer.hasReset }

// HandleStatelessReset ends the connection: the peer has lost its state.
func (c *Conn) HandleStatelessReset(now mono.Time) {
	if c.state == StateHandshaking || c.state == StateConnected {
		c.finish(now, Event{Kind: EventClosed, Remote: true, Code: CodeStatelessReset, Payload: []byte("stateless reset")})
	}
}

// handleNewConnectionID takes another ID of the peer (RFC 9000 §19.15).
func (c *Conn) handleNewConnectionID(now mono.Time, b []byte) int {
	f, n := wire.ParseNewConnectionID(b)
	if n < 0 {
		return -1
	}
	p := &c.peer
	if p.current.Len() == 0 {
		c.failFrame(now, wire.ProtocolViolation, wire.FrameNewConnectionID, "NEW_CONNECTION_ID to an end without IDs")
		return -1
	}
	known := f.Seq == p.seq
	for i := range p.spare {
		known = known || p.spare[i].seq == f.Seq
	}
	switch {
	case known:
	case f.Seq < p.retired: // it comes behind the frame that retired it, or once more
		p.giveUp(f.Seq)
	default:
		p.spare = append(p.spare, peerID{f.Seq, f.ID, f.ResetToken})
	}
	if f.RetirePriorTo > p.retired {
		c.retireBelow(f.RetirePriorTo)
	}
	if len(p.spare) > maxPeerIDs-1 || len(p.retire) > maxRetired {
		c.failFrame(now, wire.ConnectionIDLimitError, wire.FrameNewConnectionID, "too many connection IDs")
		return -1
	}
	return n
}

// retireBelow gives up the IDs that the peer no longer wants to be known by.
func (c *Conn) retireBelow(seq uint64) {
	p := &c.peer
	p.retired = seq
	kept := p.spare[:0]
	for _, s := range p.spare {
		if s.seq < seq {
			p.giveUp(s.seq)
		} else {
			kept = append(kept, s)
		}
	}
	p.spare = kept
	if p.seq < seq && len(p.spare) > 0 {
		p.giveUp(p.seq)
		next := p.spare[0]
		p.spare = append(p.spare[:0], p.spare[1:]...)
		p.current, p.seq = next.id, next.seq
		p.setReset(true, next.reset)
		c.event(Event{Kind: EventPath})
	}
}

// localIDs are the IDs by which the peer addresses this end.
type localIDs struct {
	issued []localID // active ones
	next   uint64
	limit  int // how many the peer takes
}

type localID struct {
	seq uint64
	id  wire.ConnID
	due bool // NEW_CONNECTION_ID is to be sent
}

func (l *localIDs) init(id wire.ConnID, _ [16]byte) {
	if id.Len() > 0 {
		l.issued = append(l.issued, localID{seq: 0, id: id})
	}
	l.next = 1
}

func (l *localIDs) wants() bool {
	for i := range l.issued {
		if l.issued[i].due {
			return true
		}
	}
	return false
}

func (l *localIDs) lost(seq uint64) {
	for i := range l.issued {
		if l.issued[i].seq == seq {
			l.issued[i].due = true
		}
	}
}

// handleRetireConnectionID withdraws an ID; a new one takes its place (RFC 9000 §19.16).
func (c *Conn) handleRetireConnectionID(now mono.Time, b []byte) int {
	seq, n := wire.ParseRetireConnectionID(b)
	if n < 0 {
		return -1
	}
	l := &c.ids
	if seq >= l.next {
		c.failFrame(now, wire.ProtocolViolation, wire.FrameRetireConnectionID, "retired an ID that was never issued")
		return -1
	}
	for i := range l.issued {
		if l.issued[i].seq != seq {
			continue
		}
		c.event(Event{Kind: EventRetireID, ConnID: l.issued[i].id})
		l.issued = append(l.issued[:i], l.issued[i+1:]...)
		c.issueID()
		break
	}
	return n
}

// issueID makes a further connection ID, if the shard makes any.
func (c *Conn) issueID() {
	if c.sh.NewID == nil || len(c.ids.issued) >= c.ids.limit {
		return
	}
	id := c.sh.NewID(c.slot, c.rng.Uint64())
	c.ids.issued = append(c.ids.issued, localID{seq: c.ids.next, id: id, due: true})
	c.ids.next++
	c.event(Event{Kind: EventNewID, ConnID: id})
}

// appendIDs writes NEW_CONNECTION_ID and RETIRE_CONNECTION_ID frames while they fit.
func (c *Conn) appendIDs(s *space, b []byte, limit int) []byte {
	const newIDLen, retireLen = 1 + 8 + 8 + 1 + wire.MaxConnIDLen + 16, 9
	for i := range c.ids.issued {
		l := &c.ids.issued[i]
		if !l.due || limit-len(b) < newIDLen {
			continue
		}
		b = wire.AppendNewConnectionID(b, &wire.NewConnectionID{Seq: l.seq, ID: l.id, ResetToken: c.sh.ResetToken(l.id)})
		s.sent.add(record{kind: recNewConnID, id: l.seq})
		l.due = false
	}
	p := &c.peer
	for i := range p.retire {
		r := &p.retire[i]
		if !r.due || limit-len(b) < retireLen {
			continue
		}
		b = wire.AppendRetireConnectionID(b, r.seq)
		s.sent.add(record{kind: recRetireConnID, id: r.seq})
		r.due = false
	}
	return b
}
