package wire

// AckRange is a run of acknowledged packet numbers, both ends included.
type AckRange struct{ Smallest, Largest uint64 }

// ECNCounts are the cumulative counts of an ACK_ECN frame (RFC 9000, section 19.3.2).
type ECNCounts struct{ ECT0, ECT1, CE uint64 }

// AppendAck appends an ACK frame, or ACK_ECN when ecn is given (RFC 9000, section 19.3). The ranges descend and do not touch
// each other. At most MaxAckRanges of them, and no more than fit into maxLen bytes, are sent; their number is returned. If not
// even the first fits, b comes back as it was, with 0. The delay is already divided by 2^ack_delay_exponent microseconds.
func AppendAck(b []byte, ranges []AckRange, delay uint64, ecn *ECNCounts, maxLen int) (out []byte, nRanges int) {
	if len(ranges) == 0 {
		return b, 0
	}
	first := ranges[0]
	room := maxLen - 2 - VarintLen(first.Largest) - VarintLen(delay) - VarintLen(first.Largest-first.Smallest)
	if ecn != nil {
		room -= VarintLen(ecn.ECT0) + VarintLen(ecn.ECT1) + VarintLen(ecn.CE)
	}
	if room < 0 {
		return b, 0
	}
	typ := byte(FrameAck)
	if ecn != nil {
		typ = FrameAckECN
	}
	b = append(b, typ)
	b = AppendVarint(b, first.Largest)
	b = AppendVarint(b, delay)
	countOff := len(b)
	b = append(b, 0) // at most 63 further ranges: one byte
	b = AppendVarint(b, first.Largest-first.Smallest)
	smallest := first.Smallest
	n := 1
	for _, r := range ranges[1:min(len(ranges), MaxAckRanges)] {
		gap, length := smallest-r.Largest-2, r.Largest-r.Smallest
		if room -= VarintLen(gap) + VarintLen(length); room < 0 {
			break
		}
		b = AppendVarint(b, gap)
		b = AppendVarint(b, length)
		smallest = r.Smallest
		n++
	}
	b[countOff] = byte(n - 1)
	if ecn != nil {
		b = AppendVarint(b, ecn.ECT0)
		b = AppendVarint(b, ecn.ECT1)
		b = AppendVarint(b, ecn.CE)
	}
	return b, n
}

// ParseAck parses an ACK frame, or ACK_ECN, into dst, whose capacity should be MaxAckRanges; the ranges descend and do not touch.
// It returns the delay as sent, and TooManyRanges for n when there are more than MaxAckRanges.
func ParseAck(b []byte, dst []AckRange, ecn bool) (ranges []AckRange, delay uint64, counts ECNCounts, n int) {
	var v [4]uint64 // largest, delay, count, first range
	n = varints(b, v[:])
	if n < 0 || v[3] > v[0] {
		return nil, 0, counts, Malformed
	}
	if v[2] >= MaxAckRanges {
		return nil, 0, counts, TooManyRanges
	}
	smallest := v[0] - v[3]
	ranges = append(dst[:0], AckRange{smallest, v[0]})
	for range v[2] {
		gap, k := Varint(b[n:])
		length, l := Varint(b[n+k:])
		if k == 0 || l == 0 || gap+length+2 > smallest {
			return nil, 0, counts, Malformed
		}
		largest := smallest - gap - 2
		smallest = largest - length
		ranges = append(ranges, AckRange{smallest, largest})
		n += k + l
	}
	if ecn {
		var c [3]uint64
		k := varints(b[n:], c[:])
		if k < 0 {
			return nil, 0, counts, Malformed
		}
		counts = ECNCounts{c[0], c[1], c[2]}
		n += k
	}
	return ranges, v[1], counts, n
}

// maxAckDelayMicros bounds a decoded ack delay far above any believable one and far below overflow in nanoseconds.
const maxAckDelayMicros = 1 << 40

// AckDelayMicros turns the delay of an ACK frame into microseconds; absurd values saturate.
func AckDelayMicros(delay uint64, exponent uint8) uint64 {
	if delay > maxAckDelayMicros>>(exponent&63) {
		return maxAckDelayMicros
	}
	return delay << (exponent & 63)
}
