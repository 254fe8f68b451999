package wire

import (
	"encoding/binary"
	"math/bits"
)

// MaxVarint is the largest value that a variable-length integer carries (RFC 9000, section 16).
const MaxVarint = 1<<62 - 1

// Varint reads a variable-length integer (RFC 9000, section 16). It returns the value and its length, or n == 0 when b ends
// before it does. Any length is accepted for any value.
func Varint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	c := b[0]
	if c < 0x40 {
		return uint64(c), 1
	}
	if c < 0x80 {
		if len(b) >= 2 {
			return uint64(c&0x3f)<<8 | uint64(b[1]), 2
		}
	} else if c < 0xc0 {
		if len(b) >= 4 {
			return uint64(binary.BigEndian.Uint32(b)) & 0x3fff_ffff, 4
		}
	} else if len(b) >= 8 {
		return binary.BigEndian.Uint64(b) & MaxVarint, 8
	}
	return 0, 0
}

// VarintLen returns the length of the shortest encoding of v: 1, 2, 4 or 8.
func VarintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	}
	return 8
}

// AppendVarint appends the shortest encoding of v.
func AppendVarint(b []byte, v uint64) []byte {
	if v < 1<<6 {
		return append(b, byte(v))
	}
	return appendLongVarint(b, v)
}

func appendLongVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(v)|0x8000_0000)
	case v <= MaxVarint:
		return binary.BigEndian.AppendUint64(b, v|0xc000_0000_0000_0000)
	}
	panic("BUG: a value above 2^62-1 has no varint")
}

// PutVarint2 writes v as a two-byte varint at b[0:2], the form of a field that is patched once its value is known.
func PutVarint2(b []byte, v int) {
	if uint(v) >= 1<<14 {
		panic("BUG: a two-byte varint holds at most 16383")
	}
	b[0], b[1] = byte(v>>8)|0x40, byte(v)
}

// varints reads len(dst) variable-length integers and returns their length, or Malformed.
func varints(b []byte, dst []uint64) int {
	n := 0
	for i := range dst {
		v, k := Varint(b[n:])
		if k == 0 {
			return Malformed
		}
		dst[i] = v
		n += k
	}
	return n
}

// lengthed reads a length and that many bytes. The returned slice aliases b and is cut to its length.
func lengthed(b []byte) (data []byte, n int) {
	v, k := Varint(b)
	if k == 0 || v > uint64(len(b)-k) {
		return nil, Malformed
	}
	end := k + int(v)
	return b[k:end:end], end
}

// SkipPadding returns how many zero bytes, that is PADDING frames, b begins with (RFC 9000, section 19.1).
func SkipPadding(b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		if x := binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}
