package wire

// MinStream is the lowest number of a byte stream; its two low bits say who opened it and which way it runs (RFC 9000,
// section 2.1).
const MinStream = MaxChannel + 1

// MaxStreams bounds the value of MAX_STREAMS and initial_max_streams (RFC 9000, section 19.11).
const MaxStreams = 1 << 60

// AppendStream appends a STREAM frame with its length (RFC 9000, section 19.8).
func AppendStream(b []byte, stream, offset uint64, data []byte, fin bool) []byte {
	return append(AppendStreamHeader(b, stream, offset, len(data), fin), data...)
}

// StreamOverhead returns what a STREAM frame takes beyond its data of at most length bytes.
func StreamOverhead(stream, offset uint64, length int) int {
	n := 1 + VarintLen(stream) + VarintLen(uint64(length))
	if offset != 0 {
		n += VarintLen(offset)
	}
	return n
}

// AppendStreamHeader appends a STREAM frame up to its data, of which the caller appends length bytes.
func AppendStreamHeader(b []byte, stream, offset uint64, length int, fin bool) []byte {
	typ := byte(FrameStream | StreamLen)
	if offset != 0 {
		typ |= StreamOff
	}
	if fin {
		typ |= StreamFin
	}
	b = AppendVarint(append(b, typ), stream)
	if offset != 0 {
		b = AppendVarint(b, offset)
	}
	return AppendVarint(b, uint64(length))
}

// ParseStream parses a STREAM frame of any of its eight types. Without a length the data run to the end of b.
func ParseStream(typ byte, b []byte) (stream, offset uint64, data []byte, fin bool, n int) {
	stream, n = Varint(b)
	if n == 0 || stream < MinStream {
		return 0, 0, nil, false, Malformed
	}
	if typ&StreamOff != 0 {
		var k int
		if offset, k = Varint(b[n:]); k == 0 {
			return 0, 0, nil, false, Malformed
		}
		n += k
	}
	data, k := b[n:len(b):len(b)], len(b)-n
	if typ&StreamLen != 0 {
		data, k = lengthed(b[n:])
	}
	if k < 0 || offset+uint64(len(data)) > MaxVarint {
		return 0, 0, nil, false, Malformed
	}
	return stream, offset, data, typ&StreamFin != 0, n + k
}

// AppendResetStream appends a RESET_STREAM frame (RFC 9000, section 19.4).
func AppendResetStream(b []byte, stream, code, finalSize uint64) []byte {
	return append3(append(b, FrameResetStream), stream, code, finalSize)
}

// ParseResetStream parses a RESET_STREAM frame.
func ParseResetStream(b []byte) (stream, code, finalSize uint64, n int) {
	var v [3]uint64
	if n = varints(b, v[:]); n < 0 || v[0] < MinStream {
		return 0, 0, 0, Malformed
	}
	return v[0], v[1], v[2], n
}

// AppendStopSending appends a STOP_SENDING frame (RFC 9000, section 19.5).
func AppendStopSending(b []byte, stream, code uint64) []byte {
	return append2(append(b, FrameStopSending), stream, code)
}

// ParseStopSending parses a STOP_SENDING frame.
func ParseStopSending(b []byte) (stream, code uint64, n int) {
	if stream, code, n = parse2(b); n < 0 || stream < MinStream {
		return 0, 0, Malformed
	}
	return stream, code, n
}

// AppendMaxStreams appends a MAX_STREAMS frame (RFC 9000, section 19.11): how many bidirectional streams the peer may open.
func AppendMaxStreams(b []byte, limit uint64) []byte {
	return AppendVarint(append(b, FrameMaxStreams), limit)
}

// ParseMaxStreams parses a MAX_STREAMS frame. A limit above 2^60 is Malformed.
func ParseMaxStreams(b []byte) (limit uint64, n int) {
	if limit, n = parse1(b); n < 0 || limit > MaxStreams {
		return 0, Malformed
	}
	return limit, n
}
