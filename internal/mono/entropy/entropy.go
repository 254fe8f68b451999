// Package entropy is the randomness of godwit: a keyed generator that is part
// of a connection's state, so that the same seed gives the same bytes, and a
// connection that is packed and unpacked draws the same future.
package entropy

import (
	"encoding/binary"
	"math/bits"
)

// PackedLen is the length of a packed Source.
const PackedLen = 40

// A Source is the ChaCha8 key stream (D. J. Bernstein's layout: 256-bit key,
// 64-bit block counter, zero nonce) of one seed. Each draw takes the next
// block and nothing else, so a draw is a pure function of the key and the
// counter; nothing is buffered. That makes a draw dear (about 100 ns) and the
// state 40 bytes without pointers. Draws are rare: identifiers, challenges,
// one skipped packet number a window.
//
// A Source is not safe for concurrent use. A copy repeats the draws of its
// original; use Fork for an independent generator.
type Source struct {
	key [32]byte
	n   uint64
}

// New returns a Source that is fully determined by seed.
func New(seed [32]byte) Source { return Source{key: seed} }

// Uint64 draws 64 uniform bits.
func (s *Source) Uint64() uint64 {
	var out [16]uint32
	s.next(&out)
	return uint64(out[0]) | uint64(out[1])<<32
}

// Uint64n draws a uniform number in [0, n). It panics if n is zero.
func (s *Source) Uint64n(n uint64) uint64 {
	if n == 0 {
		panic("BUG: entropy.Uint64n of an empty range")
	}
	// Lemire's multiply-and-reject: the low half tells whether the draw fell
	// into the incomplete last copy of the range.
	hi, lo := bits.Mul64(s.Uint64(), n)
	if lo < n {
		for reject := -n % n; lo < reject; {
			hi, lo = bits.Mul64(s.Uint64(), n)
		}
	}
	return hi
}

// Fill fills b with random bytes: one draw for each 64 bytes or part of them.
func (s *Source) Fill(b []byte) {
	var out [16]uint32
	var block [64]byte
	for len(b) > 0 {
		s.next(&out)
		for i, w := range out {
			binary.LittleEndian.PutUint32(block[4*i:], w)
		}
		b = b[copy(b, block[:]):]
	}
}

// Fork draws the seed of an independent generator.
func (s *Source) Fork() (seed [32]byte) {
	s.Fill(seed[:])
	return seed
}

// Append packs s behind b in PackedLen bytes. The bytes are as secret as the
// draws that are still to come.
func (s *Source) Append(b []byte) []byte {
	b = append(b, s.key[:]...)
	return binary.BigEndian.AppendUint64(b, s.n)
}

// Parse unpacks what Append wrote and returns the bytes taken, or 0, leaving
// s as it was, if b is too short.
func (s *Source) Parse(b []byte) (n int) {
	if len(b) < PackedLen {
		return 0
	}
	copy(s.key[:], b)
	s.n = binary.BigEndian.Uint64(b[32:])
	return PackedLen
}

// Erase zeroes the key, so that draws already made cannot be repeated from
// this memory.
func (s *Source) Erase() { *s = Source{} }

// next produces block n and moves on.
func (s *Source) next(out *[16]uint32) {
	chacha8(&s.key, s.n, out)
	s.n++
}

// chacha8 is the ChaCha block function with four double rounds.
func chacha8(key *[32]byte, counter uint64, out *[16]uint32) {
	in := [16]uint32{
		0: 0x61707865, 1: 0x3320646e, 2: 0x79622d32, 3: 0x6b206574,
		12: uint32(counter), 13: uint32(counter >> 32),
	}
	for i := range 8 {
		in[4+i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	x0, x1, x2, x3 := in[0], in[1], in[2], in[3]
	x4, x5, x6, x7 := in[4], in[5], in[6], in[7]
	x8, x9, x10, x11 := in[8], in[9], in[10], in[11]
	x12, x13, x14, x15 := in[12], in[13], in[14], in[15]
	for range 4 {
		x0, x4, x8, x12 = quarterRound(x0, x4, x8, x12)
		x1, x5, x9, x13 = quarterRound(x1, x5, x9, x13)
		x2, x6, x10, x14 = quarterRound(x2, x6, x10, x14)
		x3, x7, x11, x15 = quarterRound(x3, x7, x11, x15)

		x0, x5, x10, x15 = quarterRound(x0, x5, x10, x15)
		x1, x6, x11, x12 = quarterRound(x1, x6, x11, x12)
		x2, x7, x8, x13 = quarterRound(x2, x7, x8, x13)
		x3, x4, x9, x14 = quarterRound(x3, x4, x9, x14)
	}
	*out = [16]uint32{x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15}
	for i := range out {
		out[i] += in[i]
	}
}

func quarterRound(a, b, c, d uint32) (uint32, uint32, uint32, uint32) {
	a += b
	d = bits.RotateLeft32(d^a, 16)
	c += d
	b = bits.RotateLeft32(b^c, 12)
	a += b
	d = bits.RotateLeft32(d^a, 8)
	c += d
	b = bits.RotateLeft32(b^c, 7)
	return a, b, c, d
}
