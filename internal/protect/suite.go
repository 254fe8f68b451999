package protect

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"

	"godwit.example/godwit/internal/wire"
)

// Short names for the suites that wire.Secret.Suite may hold.
const (
	suiteAES128   = wire.SuiteAES128GCMSHA256
	suiteAES256   = wire.SuiteAES256GCMSHA384
	suiteChaCha20 = wire.SuiteChaCha20Poly1305SHA256
)

const (
	tagLen      = wire.TagLen
	plainTagLen = wire.ChecksumLen
	ivLen       = 12
	sampleLen   = 16 // bytes of ciphertext that header protection looks at
	sampleSkip  = 4  // they begin this far behind the packet number's offset
	maxSecret   = 48
	maxKey      = 32
)

// Known reports whether suite can be installed.
func Known(suite uint16) bool {
	return suite == wire.SuitePlain || keyLen(suite) > 0
}

// keyLen is the length of the AEAD key and of the header protection key, 0 for
// a suite that has none.
func keyLen(suite uint16) int {
	switch suite {
	case suiteAES128:
		return 16
	case suiteAES256, suiteChaCha20:
		return 32
	}
	return 0
}

// secretLen is the length of a traffic secret: that of the suite's hash.
func secretLen(suite uint16) int {
	switch suite {
	case suiteAES128, suiteChaCha20:
		return sha256.Size
	case suiteAES256:
		return sha512.Size384
	}
	return 0
}

// expandLabel is HKDF-Expand-Label of RFC 8446 §7.1 with an empty context.
func expandLabel(suite uint16, secret []byte, label string, n int) []byte {
	const prefix = "tls13 "
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(len(prefix)+len(label)))
	info = append(info, prefix...)
	info = append(info, label...)
	info = append(info, 0)
	h := sha256.New
	if suite == suiteAES256 {
		h = func() hash.Hash { return sha512.New384() }
	}
	out, err := hkdf.Expand(h, secret, string(info), n)
	if err != nil {
		// Only an output longer than 255 hashes fails; ours are at most 48 bytes.
		panic("BUG: HKDF-Expand: " + err.Error())
	}
	return out
}

// Observer, if it is set, is given each cipher object of packet protection when it is built, and what it returns is used in its place:
// tests count calls with it. In programs it is nil. Packets do not read it.
var Observer interface {
	AEAD(cipher.AEAD) cipher.AEAD
	Header(cipher.Block) cipher.Block
}

// newAEAD makes what packets are sealed or opened with.
func newAEAD(suite uint16, secret []byte, iv *[ivLen]byte) cipher.AEAD {
	aead := deriveAEAD(suite, secret, iv)
	if Observer != nil {
		aead = Observer.AEAD(aead)
	}
	return aead
}

// newHeader makes what header protection encrypts its samples with.
func newHeader(key []byte) cipher.Block {
	block := newBlock(key)
	if Observer != nil {
		block = Observer.Header(block)
	}
	return block
}

// deriveAEAD derives key and IV from a traffic secret (RFC 9001 §5.1).
func deriveAEAD(suite uint16, secret []byte, iv *[ivLen]byte) cipher.AEAD {
	key := expandLabel(suite, secret, "quic key", keyLen(suite))
	defer clear(key)
	tmp := expandLabel(suite, secret, "quic iv", ivLen)
	copy(iv[:], tmp)
	clear(tmp)
	if suite == suiteChaCha20 {
		aead, err := chacha20poly1305.New(key)
		if err != nil {
			panic("BUG: ChaCha20-Poly1305: " + err.Error())
		}
		return aead
	}
	aead, err := cipher.NewGCM(newBlock(key))
	if err != nil {
		panic("BUG: AES-GCM: " + err.Error())
	}
	return aead
}

func newBlock(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("BUG: AES: " + err.Error())
	}
	return block
}

// chachaMask is the header protection of RFC 9001 §5.4.4. The cipher object
// stays on the stack, so a mask costs no allocation, only a whole block.
func chachaMask(mask *[sampleLen]byte, key *[maxKey]byte, sample []byte) {
	c, err := chacha20.NewUnauthenticatedCipher(key[:], sample[4:16])
	if err != nil {
		panic("BUG: ChaCha20: " + err.Error())
	}
	c.SetCounter(binary.LittleEndian.Uint32(sample))
	*mask = [sampleLen]byte{}
	c.XORKeyStream(mask[:5], mask[:5])
}
