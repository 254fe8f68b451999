package token

import (
	"encoding/binary"
	"math/bits"

	"godwit.example/godwit/internal/wire"
)

// The layout of a server's connection ID. It is a private matter of the server
// and of load balancers that are told about it; peers see twelve opaque bytes.
//
//	0      0b100sssss: a virtual shard in five bits; the three high bits are
//	       the configuration bits of QUIC-LB, constant here
//	1-3    server ID
//	4-8    tag, random
//	9-11   slot XOR a keyed hash of the tag
//
// QUIC-LB's plaintext algorithm and Katran's CIDv2 find the server ID where
// they look for it. The hash keeps an observer from counting slots and one
// connection's IDs from showing that they are one's; it authenticates nothing,
// packet protection does that.
const (
	IDLen      = 12
	NumShards  = 32 // virtual shards
	MaxServer  = 1<<24 - 1
	MaxTag     = 1<<40 - 1
	MaxSlot    = 1<<24 - 1
	idMark     = 0b100 << 5
	idMarkMask = 0b111 << 5
)

// EncodeID makes the connection ID of a slot. Only the low 5, 24, 40 and 24
// bits of shard, server, tag and slot are used. The tag has to be random, and
// new for every ID.
func EncodeID(key uint64, shard uint8, server uint32, tag uint64, slot uint32) wire.ConnID {
	tag &= MaxTag
	slot ^= hashTag(key, tag)
	id, _ := wire.MakeConnID([]byte{
		idMark | shard&(NumShards-1),
		byte(server >> 16), byte(server >> 8), byte(server),
		byte(tag >> 32), byte(tag >> 24), byte(tag >> 16), byte(tag >> 8), byte(tag),
		byte(slot >> 16), byte(slot >> 8), byte(slot),
	})
	return id
}

// DecodeID reads what EncodeID made of the same key; id may be longer, as it
// is in a short header. It returns false for bytes that are too short or do not
// carry the mark; every other id decodes to something, so the slot's owner has
// to compare the tag.
func DecodeID(key uint64, id []byte) (shard uint8, server uint32, tag uint64, slot uint32, ok bool) {
	if len(id) < IDLen || id[0]&idMarkMask != idMark {
		return 0, 0, 0, 0, false
	}
	middle := binary.BigEndian.Uint64(id[1:]) // server and tag
	tag = middle & MaxTag
	slot = binary.BigEndian.Uint32(id[8:])&MaxSlot ^ hashTag(key, tag)
	return id[0] & (NumShards - 1), uint32(middle >> 40), tag, slot, true
}

// hashTag mixes a tag with the key into 24 bits: two rounds of a 128-bit
// multiplication folded onto itself.
func hashTag(key, tag uint64) uint32 {
	hi, lo := bits.Mul64(tag^key, 0x9e3779b97f4a7c15)
	x := hi ^ lo ^ bits.RotateLeft64(key, 32)
	hi, lo = bits.Mul64(x, 0xd6e8feb86659fd93)
	return uint32((hi^lo)>>20) & MaxSlot
}
