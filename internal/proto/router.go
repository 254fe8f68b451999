package proto

import (
	"godwit.example/godwit/internal/token"
	"godwit.example/godwit/internal/wire"
)

// Router finds the slot that a connection ID names: an index and a compare, no map. The ID's tag is random, so a guess
// hits no live slot; authentication decides in any case.
type Router struct {
	key  uint64
	tags [][maxLocalIDs]uint64 // by slot; 0 = none
}

// NewRouter returns a Router for IDs that token.EncodeID made with the key.
func NewRouter(key uint64) *Router { return &Router{key: key} }

// Bind makes an ID of this end lead to a slot. It reports whether there was room.
func (r *Router) Bind(id wire.ConnID) bool {
	_, _, tag, slot, ok := token.DecodeID(r.key, id.Bytes())
	if !ok {
		return false
	}
	for int(slot) >= len(r.tags) {
		r.tags = append(r.tags, [maxLocalIDs]uint64{})
	}
	for i := range r.tags[slot] {
		if r.tags[slot][i] == 0 {
			r.tags[slot][i] = tag | tagSet
			return true
		}
	}
	return false
}

// tagSet tells a tag of zero from none.
const tagSet = 1 << 63

// Unbind undoes Bind.
func (r *Router) Unbind(id wire.ConnID) {
	_, _, tag, slot, ok := token.DecodeID(r.key, id.Bytes())
	if !ok || int(slot) >= len(r.tags) {
		return
	}
	for i := range r.tags[slot] {
		if r.tags[slot][i] == tag|tagSet {
			r.tags[slot][i] = 0
		}
	}
}

// Clear withdraws every ID of a slot.
func (r *Router) Clear(slot uint32) {
	if int(slot) < len(r.tags) {
		r.tags[slot] = [maxLocalIDs]uint64{}
	}
}

// Slot returns the slot that the connection ID at the start of id names. It reads the ID's own length of bytes.
func (r *Router) Slot(id []byte) (slot uint32, shard uint8, ok bool) {
	shard, _, tag, slot, ok := token.DecodeID(r.key, id)
	if !ok || int(slot) >= len(r.tags) {
		return 0, shard, false
	}
	tag |= tagSet
	for _, t := range r.tags[slot] {
		if t == tag {
			return slot, shard, true
		}
	}
	return 0, shard, false
}
