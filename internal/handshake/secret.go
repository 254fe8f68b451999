package handshake

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
)

// Secret derives 32 bytes from the identity's private key (HKDF with SHA-256, RFC 5869), others for each purpose: what has to be the
// same in every process that has this identity, and in no other. ok is false if there is no identity, or its key cannot be
// read because it lies in hardware.
func (id *Identity) Secret(purpose string) (secret [32]byte, ok bool) {
	if id == nil {
		return secret, false
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.current.Load().PrivateKey)
	if err != nil {
		return secret, false
	}
	defer clear(key)
	derived, err := hkdf.Key(sha256.New, key, nil, "godwit "+purpose, len(secret))
	if err != nil {
		return secret, false
	}
	copy(secret[:], derived)
	clear(derived)
	return secret, true
}
