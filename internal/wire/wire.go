// Package wire is godwit's pure codec: packet headers, variable-length integers, packet numbers, frames, transport
// parameters and error codes, and the descriptors by which packets travel between the rooms. It holds no state, reads no
// clock and allocates nothing on the hot path.
//
// Parsers take bytes of unknown origin. They return ok or a length, never an allocated error, and never panic; slices they
// return alias their input. A frame parser gets the bytes after the frame's type and returns how many of them the frame took,
// or Malformed. Appenders take fields of our own making; a field that no varint can carry is a programmer's error and panics.
//
// docs/SPEC.md is the normative text; testdata holds its vectors, which the tests of this package compare byte by byte.
package wire

// Version is the version number of godwit/1 packets. It is deliberately not a QUIC version.
const Version uint32 = 0x67770001

// ALPN is the one application protocol that a godwit handshake negotiates.
const ALPN = "godwit/1"

// ChecksumExporterLabel is the label of the TLS exporter (RFC 8446, section 7.5) that yields the checksum seed of the plain
// mode, with an empty context; ChecksumSeedLen is how many bytes it yields.
const (
	ChecksumExporterLabel = "EXPORTER-godwit-checksum"
	ChecksumSeedLen       = 4
)

// InitialSalt is the salt of the Initial secrets (RFC 9001, section 5.2): the first 20 bytes of
// SHA-256("godwit/1 initial salt").
var InitialSalt = [20]byte{
	0x25, 0xa1, 0xa8, 0x60, 0x24, 0xf6, 0x6c, 0x08, 0x6e, 0xd7, 0xc7, 0xb3, 0x42, 0x27, 0x83, 0x66, 0x67, 0x9b, 0x96, 0xd1,
}

// RetryKey and RetryNonce protect Retry packets against accidents, as in RFC 9001, section 5.8: the first bytes of
// SHA-256("godwit/1 retry key") and SHA-256("godwit/1 retry nonce").
var (
	RetryKey = [16]byte{
		0x34, 0xc1, 0x26, 0xb4, 0xef, 0x8a, 0x0d, 0x59, 0xcd, 0xa4, 0x73, 0x72, 0xf9, 0x0f, 0x6e, 0x69,
	}
	RetryNonce = [12]byte{
		0x37, 0xa4, 0x25, 0x16, 0x89, 0x6e, 0x87, 0x86, 0x8a, 0xda, 0x17, 0x84,
	}
)

// Sizes that headers and frames are bound to.
const (
	MaxConnIDLen   = 20   // longest connection ID of this version (RFC 9000, section 17.2)
	MinInitialSize = 1200 // smallest UDP payload that carries an Initial (RFC 9000, section 14.1)
	TagLen         = 16   // authentication tag of every AEAD used, and the Retry integrity tag
	ChecksumLen    = 4    // CRC-32C that ends a plain-mode packet
	ResetTokenLen  = 16   // stateless reset token (RFC 9000, section 10.3)
	MaxChannel     = 255  // highest message channel; larger numbers are streams
	CreditOverhead = 32   // credit that a message costs beyond its length
	MaxAckRanges   = 64   // an ACK with more ranges is refused
)

// Malformed is what a frame parser returns instead of a length when the bytes are no such frame.
const Malformed = -1

// TooManyRanges is what ParseAck returns for an ACK with more than MaxAckRanges ranges.
const TooManyRanges = -2
