package wire

import "encoding/binary"

// Bits of a packet's first byte (RFC 9000, section 17).
const (
	LongBit           = 0x80 // header form: long
	FixedBit          = 0x40
	KeyPhaseBit       = 0x04 // short header, under header protection
	ReservedLongBits  = 0x0c // under header protection
	ReservedShortBits = 0x18 // under header protection
	PNLenBits         = 0x03 // packet number length minus one, under header protection
	ProtectedLong     = 0x0f // the bits that header protection covers in a long header
	ProtectedShort    = 0x1f // and in a short one
)

// PacketType is the type of a long-header packet.
type PacketType uint8

// The types of RFC 9000, section 17.2, by their number in the header, and two that have none.
const (
	PacketInitial PacketType = iota
	PacketZeroRTT
	PacketHandshake
	PacketRetry
	PacketVersionNegotiation // version zero
	PacketUnknownVersion     // another version: only the fields of RFC 8999 are known
)

// LongHeader is a parsed long header. Its slices alias the datagram.
//
// For Initial, Handshake and 0-RTT packets the protected part, which begins with the packet number, is b[PNOff:End]; another
// packet may follow at End. For Retry, Token is the Retry token and the integrity tag is b[PNOff:End]. For Version Negotiation
// the list of versions is b[PNOff:End]. For another version everything after the connection IDs is.
type LongHeader struct {
	Dst, Src, Token []byte
	PNOff, End      int
	Version         uint32
	Type            PacketType
}

// IsLong reports whether a packet's first byte announces a long header.
func IsLong(b0 byte) bool { return b0&LongBit != 0 }

// ParseLong parses the long header at the start of b (RFC 9000, section 17.2, and RFC 8999, section 5.1). It returns false for
// bytes that are to be dropped: cut short, a fixed bit of zero or a connection ID above 20 bytes in this version, a Length
// beyond the datagram. In the space between PNOff and End it proves nothing but that it lies within b.
func ParseLong(b []byte, h *LongHeader) bool {
	dst, src, n := longIDs(b)
	if n < 0 {
		return false
	}
	h.Version = binary.BigEndian.Uint32(b[1:])
	h.Dst, h.Src, h.Token = dst, src, nil
	h.PNOff, h.End = n, len(b)
	switch h.Version {
	case Version:
	case 0:
		h.Type = PacketVersionNegotiation
		return true
	default:
		h.Type = PacketUnknownVersion
		return true
	}
	if b[0]&FixedBit == 0 || len(dst) > MaxConnIDLen || len(src) > MaxConnIDLen {
		return false
	}
	h.Type = PacketType(b[0] >> 4 & 3)
	switch h.Type {
	case PacketRetry:
		h.PNOff = len(b) - TagLen
		if h.PNOff <= n {
			return false
		}
		h.Token = b[n:h.PNOff:h.PNOff]
		return true
	case PacketInitial:
		token, k := lengthed(b[n:])
		if k < 0 {
			return false
		}
		h.Token = token
		n += k
	}
	length, k := Varint(b[n:])
	if k == 0 || length > uint64(len(b)-n-k) {
		return false
	}
	h.PNOff = n + k
	h.End = h.PNOff + int(length)
	return true
}

// longIDs reads the version-independent start of a long header and returns the offset behind the connection IDs, or Malformed.
func longIDs(b []byte) (dst, src []byte, n int) {
	if len(b) < 7 || b[0]&LongBit == 0 {
		return nil, nil, Malformed
	}
	d := 6 + int(b[5])
	if d >= len(b) {
		return nil, nil, Malformed
	}
	s := d + 1 + int(b[d])
	if s > len(b) {
		return nil, nil, Malformed
	}
	return b[6:d:d], b[d+1 : s : s], s
}

// LongHeaderLen returns the length of a long header up to the packet number, with a two-byte Length field.
func LongHeaderLen(typ PacketType, dst, src, token []byte) int {
	n := 1 + 4 + 1 + len(dst) + 1 + len(src) + 2
	if typ == PacketInitial {
		n += VarintLen(uint64(len(token))) + len(token)
	}
	return n
}

// AppendLong appends the header of an Initial or Handshake packet up to its packet number, which the caller appends next. The
// Length field is two bytes at lengthOff in the returned slice, to be set by SetLength. Token is sent in Initials only.
func AppendLong(b []byte, typ PacketType, version uint32, dst, src, token []byte, pnLen int) (out []byte, lengthOff int) {
	b = append(b, LongBit|FixedBit|byte(typ)<<4|byte(pnLen-1))
	b = appendLongIDs(b, version, dst, src)
	if typ == PacketInitial {
		b = AppendVarint(b, uint64(len(token)))
		b = append(b, token...)
	}
	return append(b, 0x40, 0), len(b)
}

func appendLongIDs(b []byte, version uint32, dst, src []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, byte(len(dst)))
	b = append(b, dst...)
	b = append(b, byte(len(src)))
	return append(b, src...)
}

// SetLength writes the Length field of a long header: n counts the packet number, the payload and the tag.
func SetLength(b []byte, lengthOff, n int) { PutVarint2(b[lengthOff:], n) }

// ParseShort parses a short header (RFC 9000, section 17.3.1) whose connection ID has cidLen bytes. It returns the connection
// ID and the offset of the packet number, or false when the packet is to be dropped.
func ParseShort(b []byte, cidLen int) (dst []byte, pnOff int, ok bool) {
	pnOff = 1 + cidLen
	if len(b) < pnOff || b[0]&(LongBit|FixedBit) != FixedBit {
		return nil, 0, false
	}
	return b[1:pnOff:pnOff], pnOff, true
}

// AppendShort appends a short header up to its packet number, which the caller appends next. The spin bit is always zero.
func AppendShort(b, dst []byte, keyPhase uint8, pnLen int) []byte {
	b = append(b, FixedBit|keyPhase&1<<2|byte(pnLen-1))
	return append(b, dst...)
}

// AppendRetry appends a Retry packet without its integrity tag (RFC 9000, section 17.2.5). The four low bits of unused are sent
// as they are.
func AppendRetry(b []byte, version uint32, dst, src, token []byte, unused uint8) []byte {
	b = append(b, LongBit|FixedBit|byte(PacketRetry)<<4|unused&0x0f)
	b = appendLongIDs(b, version, dst, src)
	return append(b, token...)
}

// AppendVersionNegotiation appends a Version Negotiation packet (RFC 9000, section 17.2.1). The low six bits of unused are sent
// as they are; dst is the Source Connection ID of the packet answered, src its destination.
func AppendVersionNegotiation(b, dst, src []byte, versions []uint32, unused uint8) []byte {
	b = append(b, LongBit|FixedBit|unused&0x3f)
	b = appendLongIDs(b, 0, dst, src)
	for _, v := range versions {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// ParseVersionNegotiation parses a Version Negotiation packet. Versions is the list as it was sent, four bytes each, at least
// one; HasVersion reads it.
func ParseVersionNegotiation(b []byte) (dst, src, versions []byte, ok bool) {
	dst, src, n := longIDs(b)
	if n < 0 || binary.BigEndian.Uint32(b[1:]) != 0 || n == len(b) || (len(b)-n)%4 != 0 {
		return nil, nil, nil, false
	}
	return dst, src, b[n:], true
}

// HasVersion reports whether a list of versions, as ParseVersionNegotiation returns it, names v.
func HasVersion(versions []byte, v uint32) bool {
	for ; len(versions) >= 4; versions = versions[4:] {
		if binary.BigEndian.Uint32(versions) == v {
			return true
		}
	}
	return false
}
