package wire

import "encoding/binary"

// Level is an encryption level, and at once a packet-number space (RFC 9000, section 12.3); 0-RTT has none in this version.
type Level uint8

// The levels in the order in which a handshake passes them.
const (
	LevelInitial Level = iota
	LevelHandshake
	LevelOneRTT
	NumLevels = 3
)

// String returns the RFC's name of the level.
func (l Level) String() string {
	switch l {
	case LevelInitial:
		return "Initial"
	case LevelHandshake:
		return "Handshake"
	case LevelOneRTT:
		return "1-RTT"
	}
	return "unknown"
}

// ECN codepoints, the two low bits of the IP header's traffic class (RFC 3168, section 5).
const (
	ECNNotECT uint8 = 0
	ECNECT1   uint8 = 1
	ECNECT0   uint8 = 2
	ECNCE     uint8 = 3
)

// Addr is a UDP address as comparable bytes: 0-15 the IP, IPv4 mapped into IPv6; 16-17 the port, big endian; 18-19 zero;
// 20-23 the scope, big endian. The zero Addr is no address.
type Addr [24]byte

// Port returns the UDP port.
func (a Addr) Port() uint16 { return binary.BigEndian.Uint16(a[16:18]) }

// Is4 reports whether the address is IPv4, that is IPv4 mapped into IPv6.
func (a Addr) Is4() bool {
	return binary.BigEndian.Uint64(a[0:8]) == 0 && binary.BigEndian.Uint32(a[8:12]) == 0xffff
}

// SameHost reports whether a and b differ in nothing but the port, as after most NAT rebindings.
func (a Addr) SameHost(b Addr) bool {
	return [16]byte(a[:16]) == [16]byte(b[:16]) && [4]byte(a[20:]) == [4]byte(b[20:])
}

// Path is a pair of addresses. Local is the address that the datagrams come to, with its port zero; bytes 20-23 of it hold the
// interface index, and the zero value means that it is not known.
type Path struct{ Remote, Local Addr }

// ConnID is a connection ID of 0 to 20 bytes (RFC 9000, section 5.1). It is comparable.
type ConnID struct {
	n uint8
	b [MaxConnIDLen]byte
}

// MakeConnID copies b; it returns false when b is longer than MaxConnIDLen.
func MakeConnID(b []byte) (c ConnID, ok bool) {
	if len(b) > MaxConnIDLen {
		return c, false
	}
	c.n = uint8(len(b))
	copy(c.b[:], b)
	return c, true
}

// Bytes returns the bytes of c; they stay c's.
func (c *ConnID) Bytes() []byte { return c.b[:c.n] }

// Len returns the length of the connection ID.
func (c *ConnID) Len() int { return int(c.n) }

// Suites of a Secret: the TLS 1.3 ones by their TLS number, and the plain mode, which has no cipher.
const (
	SuiteAES128GCMSHA256        uint16 = 0x1301
	SuiteAES256GCMSHA384        uint16 = 0x1302
	SuiteChaCha20Poly1305SHA256 uint16 = 0x1303
	SuitePlain                  uint16 = 0xff00
)

// Secret is a traffic secret (RFC 9001, section 5.1) with the suite it belongs to: B[:Len].
type Secret struct {
	Suite uint16
	Len   uint8
	B     [48]byte
}

// Packet is an opened and authenticated packet. Payload aliases the datagram it came in.
type Packet struct {
	Payload  []byte
	Path     *Path
	Number   uint64
	Size     int // bytes of the whole datagram, for the accounts of its path
	Level    Level
	ECN      uint8
	KeyPhase uint8
	Reserved bool // a reserved header bit was set: PROTOCOL_VIOLATION
}

// Outgoing describes an unprotected packet inside the buffer of a train: its header starts at Off, its packet number at
// Off+PNOff, and End includes the room for the tag.
type Outgoing struct {
	Off, PNOff, End int32
	Number          uint64
	Level           Level
	PNLen, TagLen   uint8
}

// MaxTrainPackets is how many packets one train holds.
const MaxTrainPackets = 24

// Train is a row of datagrams for one path, side by side in one buffer: all of SegmentSize but the last, which may be shorter.
// The first may hold coalesced packets. Packets[:N] describes them until they are sealed.
type Train struct {
	Path        Path
	SegmentSize int
	Len         int // bytes of all datagrams
	Segments    int
	ECN         uint8
	N           int
	Packets     [MaxTrainPackets]Outgoing
}

// SecretInstall is a secret that the handshake has produced.
type SecretInstall struct {
	Level  Level
	Write  bool
	Secret Secret
}

// HandshakeOutput collects what a handshake step produced; a later step adds to it until its reader empties it.
type HandshakeOutput struct {
	Crypto       [NumLevels][]byte // bytes for CRYPTO frames
	Secrets      []SecretInstall   // in the order of installation
	PeerParams   []byte            // the peer's transport parameters, once known
	Complete     bool
	Alert        int // TLS alert to close with, -1 for none
	Err          error
	ChecksumSeed uint32
	ALPN         string
	PeerCerts    any // []*x509.Certificate
	Resumed      bool

	VerifiedChains any // [][]*x509.Certificate
}
