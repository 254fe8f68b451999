package wire

import "encoding/binary"

func append2(b []byte, x, y uint64) []byte    { return AppendVarint(AppendVarint(b, x), y) }
func append3(b []byte, x, y, z uint64) []byte { return AppendVarint(append2(b, x, y), z) }

func parse1(b []byte) (v uint64, n int) {
	if v, n = Varint(b); n == 0 {
		return 0, Malformed
	}
	return v, n
}

func parse2(b []byte) (x, y uint64, n int) {
	var v [2]uint64
	if n = varints(b, v[:]); n < 0 {
		return 0, 0, Malformed
	}
	return v[0], v[1], n
}

// AppendPing appends a PING frame, which has no fields.
func AppendPing(b []byte) []byte { return append(b, FramePing) }

// AppendHandshakeDone appends a HANDSHAKE_DONE frame, which has no fields.
func AppendHandshakeDone(b []byte) []byte { return append(b, FrameHandshakeDone) }

// AppendImmediateAck appends an IMMEDIATE_ACK frame, which has no fields (draft-ietf-quic-ack-frequency, section 5).
func AppendImmediateAck(b []byte) []byte { return append(b, FrameImmediateAck) }

// AppendMaxData appends a MAX_DATA frame: the credit limit of the connection.
func AppendMaxData(b []byte, limit uint64) []byte {
	return AppendVarint(append(b, FrameMaxData), limit)
}

// ParseMaxData parses a MAX_DATA frame.
func ParseMaxData(b []byte) (limit uint64, n int) { return parse1(b) }

// AppendMaxChannel appends a MAX_CHANNEL frame: the credit limit of a channel, or of the stream of that number.
func AppendMaxChannel(b []byte, channel, limit uint64) []byte {
	return append2(append(b, FrameMaxChannel), channel, limit)
}

// ParseMaxChannel parses a MAX_CHANNEL frame.
func ParseMaxChannel(b []byte) (channel, limit uint64, n int) { return parse2(b) }

// AppendBlocked appends a BLOCKED frame: the connection's credit limit at which the sender stands.
func AppendBlocked(b []byte, limit uint64) []byte {
	return AppendVarint(append(b, FrameBlocked), limit)
}

// ParseBlocked parses a BLOCKED frame.
func ParseBlocked(b []byte) (limit uint64, n int) { return parse1(b) }

// AppendChannelBlocked appends a CHANNEL_BLOCKED frame: the credit limit of the channel, or of the stream of that number, at which the
// sender stands.
func AppendChannelBlocked(b []byte, channel, limit uint64) []byte {
	return append2(append(b, FrameChannelBlocked), channel, limit)
}

// ParseChannelBlocked parses a CHANNEL_BLOCKED frame.
func ParseChannelBlocked(b []byte) (channel, limit uint64, n int) { return parse2(b) }

// CryptoOverhead returns what a CRYPTO frame takes beyond its data of at most length bytes.
func CryptoOverhead(offset uint64, length int) int {
	return 1 + VarintLen(offset) + VarintLen(uint64(length))
}

// AppendCrypto appends a CRYPTO frame (RFC 9000, section 19.6).
func AppendCrypto(b []byte, offset uint64, data []byte) []byte {
	b = append2(append(b, FrameCrypto), offset, uint64(len(data)))
	return append(b, data...)
}

// ParseCrypto parses a CRYPTO frame. Data that would end beyond 2^62-1 is Malformed.
func ParseCrypto(b []byte) (offset uint64, data []byte, n int) {
	offset, i := Varint(b)
	if i == 0 {
		return 0, nil, Malformed
	}
	data, k := lengthed(b[i:])
	if k < 0 || offset+uint64(len(data)) > MaxVarint {
		return 0, nil, Malformed
	}
	return offset, data, i + k
}

// AppendNewToken appends a NEW_TOKEN frame (RFC 9000, section 19.7).
func AppendNewToken(b, token []byte) []byte {
	b = AppendVarint(append(b, FrameNewToken), uint64(len(token)))
	return append(b, token...)
}

// ParseNewToken parses a NEW_TOKEN frame. An empty token is Malformed.
func ParseNewToken(b []byte) (token []byte, n int) {
	token, n = lengthed(b)
	if len(token) == 0 {
		return nil, Malformed
	}
	return token, n
}

// NewConnectionID is a NEW_CONNECTION_ID frame (RFC 9000, section 19.15).
type NewConnectionID struct {
	Seq, RetirePriorTo uint64
	ID                 ConnID
	ResetToken         [ResetTokenLen]byte
}

// AppendNewConnectionID appends a NEW_CONNECTION_ID frame.
func AppendNewConnectionID(b []byte, f *NewConnectionID) []byte {
	b = append2(append(b, FrameNewConnectionID), f.Seq, f.RetirePriorTo)
	b = append(b, f.ID.n)
	b = append(b, f.ID.Bytes()...)
	return append(b, f.ResetToken[:]...)
}

// ParseNewConnectionID parses a NEW_CONNECTION_ID frame. A length outside 1 to 20, or a Retire Prior To above the sequence
// number, is Malformed.
func ParseNewConnectionID(b []byte) (f NewConnectionID, n int) {
	f.Seq, f.RetirePriorTo, n = parse2(b)
	if n < 0 || f.RetirePriorTo > f.Seq || n == len(b) {
		return f, Malformed
	}
	length := int(b[n])
	n++
	if length < 1 || length > MaxConnIDLen || len(b)-n < length+ResetTokenLen {
		return f, Malformed
	}
	f.ID, _ = MakeConnID(b[n : n+length])
	n += length
	f.ResetToken = [ResetTokenLen]byte(b[n:])
	return f, n + ResetTokenLen
}

// AppendRetireConnectionID appends a RETIRE_CONNECTION_ID frame (RFC 9000, section 19.16).
func AppendRetireConnectionID(b []byte, seq uint64) []byte {
	return AppendVarint(append(b, FrameRetireConnectionID), seq)
}

// ParseRetireConnectionID parses a RETIRE_CONNECTION_ID frame.
func ParseRetireConnectionID(b []byte) (seq uint64, n int) { return parse1(b) }

// AppendPathChallenge appends a PATH_CHALLENGE frame (RFC 9000, section 19.17); data is eight opaque bytes, big endian.
func AppendPathChallenge(b []byte, data uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, FramePathChallenge), data)
}

// AppendPathResponse appends a PATH_RESPONSE frame (RFC 9000, section 19.18) with the data of the challenge.
func AppendPathResponse(b []byte, data uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, FramePathResponse), data)
}

// ParsePathChallenge parses a PATH_CHALLENGE frame.
func ParsePathChallenge(b []byte) (data uint64, n int) { return parsePathData(b) }

// ParsePathResponse parses a PATH_RESPONSE frame.
func ParsePathResponse(b []byte) (data uint64, n int) { return parsePathData(b) }

func parsePathData(b []byte) (data uint64, n int) {
	if len(b) < 8 {
		return 0, Malformed
	}
	return binary.BigEndian.Uint64(b), 8
}

// AppendClose appends a CLOSE frame (RFC 9000, section 19.19, type 0x1c): frameType is the frame that caused it, 0 for none.
func AppendClose(b []byte, code ErrorCode, frameType uint64, reason []byte) []byte {
	b = append3(append(b, FrameClose), uint64(code), frameType, uint64(len(reason)))
	return append(b, reason...)
}

// AppendApplicationClose appends an APPLICATION_CLOSE frame (type 0x1d); the code is the application's.
func AppendApplicationClose(b []byte, code uint64, reason []byte) []byte {
	b = append2(append(b, FrameApplicationClose), code, uint64(len(reason)))
	return append(b, reason...)
}

// ParseClose parses a CLOSE frame. The reason is not checked to be UTF-8.
func ParseClose(b []byte) (code ErrorCode, frameType uint64, reason []byte, n int) {
	c, frameType, n := parse2(b)
	if n < 0 {
		return 0, 0, nil, Malformed
	}
	reason, k := lengthed(b[n:])
	if k < 0 {
		return 0, 0, nil, Malformed
	}
	return ErrorCode(c), frameType, reason, n + k
}

// ParseApplicationClose parses an APPLICATION_CLOSE frame.
func ParseApplicationClose(b []byte) (code uint64, reason []byte, n int) {
	code, n = parse1(b)
	if n < 0 {
		return 0, nil, Malformed
	}
	reason, k := lengthed(b[n:])
	if k < 0 {
		return 0, nil, Malformed
	}
	return code, reason, n + k
}

// AckFrequency is an ACK_FREQUENCY frame (draft-ietf-quic-ack-frequency, section 4).
type AckFrequency struct {
	Seq            uint64
	Threshold      uint64 // ack-eliciting packets that may go unacknowledged
	MaxDelayMicros uint64 // the max_ack_delay asked for, in microseconds
	Reordering     uint64
}

// AppendAckFrequency appends an ACK_FREQUENCY frame.
func AppendAckFrequency(b []byte, f *AckFrequency) []byte {
	b = append2(append(b, FrameAckFrequency), f.Seq, f.Threshold)
	return append2(b, f.MaxDelayMicros, f.Reordering)
}

// ParseAckFrequency parses an ACK_FREQUENCY frame.
func ParseAckFrequency(b []byte) (f AckFrequency, n int) {
	var v [4]uint64
	if n = varints(b, v[:]); n < 0 {
		return f, Malformed
	}
	return AckFrequency{v[0], v[1], v[2], v[3]}, n
}
