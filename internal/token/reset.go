package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"

	"godwit.example/godwit/internal/wire"
)

// Reset returns the stateless reset token of a connection ID: the first 16
// bytes of HMAC-SHA256(key, id) (RFC 9000 §10.3.2). The key is that of the
// server ID within id, so that every process of this server, and no other,
// computes the same.
func Reset(key *[32]byte, id []byte) (tok [wire.ResetTokenLen]byte) {
	mac := hmac.New(sha256.New, key[:])
	mac.Write(id)
	var sum [sha256.Size]byte
	copy(tok[:], mac.Sum(sum[:0]))
	return tok
}

// IsReset reports whether a datagram that could not be opened ends with tok, in
// time that does not depend on where they differ (RFC 9000 §10.3.1).
func IsReset(datagram []byte, tok *[wire.ResetTokenLen]byte) bool {
	n := len(datagram) - wire.ResetTokenLen
	return n >= 5 && subtle.ConstantTimeCompare(datagram[n:], tok[:]) == 1
}
