package wire

import "math/bits"

// PNLen returns how many bytes of the packet number pn must be sent when the peer has acknowledged largestAcked, -1 for
// nothing yet (RFC 9000, appendix A.2): enough to span twice the numbers in doubt.
func PNLen(pn uint64, largestAcked int64) int {
	unacked := pn - uint64(largestAcked) // pn+1 when nothing is acknowledged
	n := (bits.Len64(unacked) + 1 + 7) / 8
	if n > 4 {
		return 4
	}
	return n
}

// AppendPN appends the low n bytes of pn, 1 to 4 of them, most significant first.
func AppendPN(b []byte, pn uint64, n int) []byte {
	switch n {
	case 1:
		return append(b, byte(pn))
	case 2:
		return append(b, byte(pn>>8), byte(pn))
	case 3:
		return append(b, byte(pn>>16), byte(pn>>8), byte(pn))
	}
	return append(b, byte(pn>>24), byte(pn>>16), byte(pn>>8), byte(pn))
}

// TruncatedPN reads a truncated packet number of n bytes, 1 to 4; b must hold them.
func TruncatedPN(b []byte, n int) uint64 {
	var v uint64
	for _, c := range b[:n] {
		v = v<<8 | uint64(c)
	}
	return v
}

// DecodePN restores a packet number from its low n bytes and the largest number received in its space, -1 for none (RFC
// 9000, appendix A.3): of all numbers with these low bytes, the nearest to the next expected one, the upper one on a tie.
func DecodePN(truncated uint64, n int, largest int64) uint64 {
	shift := 64 - 8*uint(n)
	expected := largest + 1
	// The difference, sign-extended from n bytes, lies in [-half, half); subtracting it puts the result into the window
	// (expected-half, expected+half] without a branch.
	pn := expected - int64((uint64(expected)-truncated)<<shift)>>shift
	switch {
	case pn < 0:
		pn += 1 << (8 * uint(n))
	case pn > MaxVarint:
		pn -= 1 << (8 * uint(n))
	}
	return uint64(pn)
}
