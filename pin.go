package godwit

import (
	"fmt"

	"godwit.example/godwit/internal/handshake"
)

// Pin is the fingerprint of a public key: the SHA-256 of its SubjectPublicKeyInfo (RFC 7469 §2.4). A server prints its pin at
// start, and a client that knows it needs no certificate authority.
type Pin [32]byte

// String returns the pin as it is written in addresses: "sha256-" and base64url.
func (p Pin) String() string { return handshake.Pin(p).String() }

// ParsePin reads what String returns.
func ParsePin(s string) (Pin, error) {
	p, err := handshake.ParsePin(s)
	if err != nil {
		return Pin{}, fmt.Errorf("godwit: %q is not a pin: %w", s, err)
	}
	return Pin(p), nil
}
