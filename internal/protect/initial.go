package protect

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"sync"

	"godwit.example/godwit/internal/wire"
)

// InitialSecrets derives the secrets of the Initial level from the Destination
// Connection ID of the client's first Initial (RFC 9001 §5.2). Anyone who sees
// that packet can do the same: Initial protection keeps out corruption and
// off-path senders, not readers.
func InitialSecrets(dcid []byte) (client, server wire.Secret) {
	initial, err := hkdf.Extract(sha256.New, dcid, wire.InitialSalt[:])
	if err != nil {
		panic("BUG: HKDF-Extract: " + err.Error())
	}
	fill := func(s *wire.Secret, label string) {
		s.Suite, s.Len = suiteAES128, sha256.Size
		copy(s.B[:], expandLabel(suiteAES128, initial, label, sha256.Size))
	}
	fill(&client, "client in")
	fill(&server, "server in")
	return client, server
}

// retryAEAD is the fixed AEAD of the Retry integrity tag, shared by everybody.
var retryAEAD = sync.OnceValue(func() cipher.AEAD {
	aead, err := cipher.NewGCM(newBlock(wire.RetryKey[:]))
	if err != nil {
		panic("BUG: AES-GCM: " + err.Error())
	}
	return aead
})

// RetryTag computes the integrity tag of a Retry packet (RFC 9001 §5.8): retry
// is the packet without its tag, odcid the Destination Connection ID of the
// Initial that it answers.
func RetryTag(odcid, retry []byte) (tag [16]byte) {
	pseudo := make([]byte, 0, 1+len(odcid)+len(retry))
	pseudo = append(pseudo, byte(len(odcid)))
	pseudo = append(pseudo, odcid...)
	pseudo = append(pseudo, retry...)
	copy(tag[:], retryAEAD().Seal(nil, wire.RetryNonce[:], nil, pseudo))
	return tag
}
