package proto

import (
	"godwit.example/godwit/internal/token"
	"godwit.example/godwit/internal/wire"
)

// Router finds the slot that a connection ID names: an index and a compare, no map. The ID's tag is random, so a guess
// hits no live slot; authentication decides in any case.
type Router struct {
	key    uint64
	chunks []*[tagChunk]tags // by slot, in chunks that never move: a table that doubled would hold the shard up while it is copied
}

// tags are those of a slot's connection IDs; 0 = none.
type tags [maxLocalIDs]uint64

const tagChunk = 512

// of returns the tags of a slot, nil if there is no room for them yet.
func (r *Router) of(slot uint32) *tags {
	if int(slot/tagChunk) >= len(r.chunks) {
		return nil
	}
	return &r.chunks[slot/tagChunk][slot%tagChunk]
}

// NewRouter returns a Router for IDs that token.EncodeID made with the key.
func NewRouter(key uint64) *Router { return &Router{key: key} }

// Bind makes an ID of this end lead to a slot. It reports whether there was room.
func (r *Router) Bind(id wire.ConnID) bool {
	_, _, tag, slot, ok := token.DecodeID(r.key, id.Bytes())
	if !ok {
		return false
	}
	for int(slot/tagChunk) >= len(r.chunks) {
		r.chunks = append(r.chunks, new([tagChunk]tags))
	}
	at := r.of(slot)
	for i := range at {
		if at[i] == 0 {
			at[i] = tag | tagSet
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
	at := r.of(slot)
	if !ok || at == nil {
		return
	}
	for i := range at {
		if at[i] == tag|tagSet {
			at[i] = 0
		}
	}
}

// Clear withdraws every ID of a slot.
func (r *Router) Clear(slot uint32) {
	if at := r.of(slot); at != nil {
		*at = tags{}
	}
}

// Slot returns the slot that the connection ID at the start of id names. It reads the ID's own length of bytes.
func (r *Router) Slot(id []byte) (slot uint32, shard uint8, ok bool) {
	shard, _, tag, slot, ok := token.DecodeID(r.key, id)
	at := r.of(slot)
	if !ok || at == nil {
		return 0, shard, false
	}
	tag |= tagSet
	for _, t := range at {
		if t == tag {
			return slot, shard, true
		}
	}
	return 0, shard, false
}
