package shard

import (
	"sync"
	"sync/atomic"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// resets finds the connection that a stateless reset is for, where connections share sockets: a reset has no connection ID, so only its
// token tells (RFC 9000 §10.3.1), and it may reach any shard. It knows this end's dials, one token each; clients send no resets.
type resets struct {
	count  atomic.Int64 // of tokens
	mu     sync.Mutex
	slots  map[[wire.ResetTokenLen]byte]uint32 // with the shard's index
	tokens map[uint32][wire.ResetTokenLen]byte
}

// set notes the token in use, which a new connection ID of the peer changes.
func (r *resets) set(slot uint32, tok [wire.ResetTokenLen]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots, r.tokens = make(map[[wire.ResetTokenLen]byte]uint32), make(map[uint32][wire.ResetTokenLen]byte)
	}
	r.remove(slot)
	r.slots[tok], r.tokens[slot] = slot, tok
	r.count.Store(int64(len(r.slots)))
}

func (r *resets) drop(slot uint32) {
	if r.count.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(slot)
	r.count.Store(int64(len(r.slots)))
}

func (r *resets) remove(slot uint32) {
	tok, ok := r.tokens[slot]
	if !ok {
		return
	}
	delete(r.tokens, slot)
	if r.slots[tok] == slot { // two peers may have the same, if they want to
		delete(r.slots, tok)
	}
}

// find returns the slot that the end of a datagram is the token of.
func (r *resets) find(b []byte) (slot uint32, ok bool) {
	if len(b) < minReset || r.count.Load() == 0 {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, ok = r.slots[[wire.ResetTokenLen]byte(b[len(b)-wire.ResetTokenLen:])]
	return slot, ok
}

// dials is where the endpoint's shards look for the dials that a reset may be for.
func (s *Shard) dials() *resets {
	if len(s.peerSet) > 0 {
		return &s.peerSet[0].resets
	}
	return &s.resets
}

// noteReset has a dial found by the token in use.
func (s *Shard) noteReset(slot uint32, p *peer) {
	if s.router == nil || !p.conn.Client() {
		return
	}
	if tok, ok := p.conn.PeerResetToken(); ok {
		s.dials().set(slot|s.index, tok)
	}
}

// strayReset reports whether a datagram of no connection is a stateless reset, and ends the connection that it is for.
func (s *Shard) strayReset(now mono.Time, socket uint32, b []byte) bool {
	at, ok := s.dials().find(b)
	if !ok {
		return false
	}
	if shard := int(at >> slotBits); shard != s.cfg.Index {
		return !s.inForeign && s.handOver(s.peerSet[shard], socket, b)
	}
	slot := at & slotMask
	p := s.at(slot)
	if s.foreigner(p) || !p.conn.IsStatelessReset(b[len(b)-wire.ResetTokenLen:]) {
		return false
	}
	s.current = slot
	p.conn.HandleStatelessReset(now)
	s.drain(now, slot, p)
	s.touch(slot, p)
	return true
}
