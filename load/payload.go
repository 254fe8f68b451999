package load

import (
	"encoding/binary"

	"godwit.example/godwit/internal/mono"
)

// A message is its connection, a check over the header, its sequence number on
// the connection, the time at which it should have been sent, and a pattern that
// depends on all of them. Whoever delivers it to the wrong connection, twice, cut,
// or with a bit changed is found out.
const headerSize = 24

// header identifies a message.
type header struct {
	conn uint32
	seq  uint64
	due  mono.Time
}

// mix spreads the bits of the header, so that neighbours differ everywhere.
func (h *header) mix() uint64 {
	x := h.seq*0x9e3779b97f4a7c15 ^ uint64(h.due) ^ uint64(h.conn)*0xc2b2ae3d27d4eb4f
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>29
}

// step is what the pattern grows by from word to word.
const step = 0xa0761d6478bd642f

// encode fills b, which is at least headerSize long.
func (h *header) encode(b []byte) {
	x := h.mix()
	binary.LittleEndian.PutUint32(b, h.conn)
	binary.LittleEndian.PutUint32(b[4:], uint32(x))
	binary.LittleEndian.PutUint64(b[8:], h.seq)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.due))
	for b = b[headerSize:]; len(b) >= 8; b = b[8:] {
		x += step
		binary.LittleEndian.PutUint64(b, x)
	}
	if len(b) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], x+step)
		copy(b, last[:])
	}
}

// decode reads a message and reports whether it is as encode made it.
func (h *header) decode(b []byte, size int) bool {
	if len(b) != size || size < headerSize {
		return false
	}
	h.conn = binary.LittleEndian.Uint32(b)
	h.seq = binary.LittleEndian.Uint64(b[8:])
	h.due = mono.Time(binary.LittleEndian.Uint64(b[16:]))
	x := h.mix()
	if binary.LittleEndian.Uint32(b[4:]) != uint32(x) {
		return false
	}
	var differs uint64
	for b = b[headerSize:]; len(b) >= 8; b = b[8:] {
		x += step
		differs |= binary.LittleEndian.Uint64(b) ^ x
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		differs |= (binary.LittleEndian.Uint64(last[:]) ^ (x + step)) & (1<<(8*len(b)) - 1)
	}
	return differs == 0
}
