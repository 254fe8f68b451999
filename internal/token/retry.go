package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

const (
	// RetryValid is how long a Retry cookie is accepted.
	RetryValid = 10 * mono.Second
	// retryRotate is how long one key makes cookies.
	retryRotate = mono.Minute

	kindRetry = 0x01
	nonceLen  = 12
	// kind, key ID, nonce, time, length of the original ID
	retryFixed = 1 + 1 + nonceLen + 8 + 1 + wire.TagLen
	// MaxRetryLen is the longest cookie.
	MaxRetryLen = retryFixed + wire.MaxConnIDLen
)

// Verdict says what Check found.
type Verdict uint8

// The verdicts. Whatever is not Valid proves nothing: the Initial is treated
// as if it had brought no token.
const (
	Valid   Verdict = iota // the client is where it says it is
	Foreign                // not a Retry cookie, or made with a key that is long gone
	Expired                // ours, and too old
	Forged                 // damaged, another master key's, or of another address, version or connection ID
)

// Retry issues and checks Retry cookies (RFC 9000 §8.1.2). All its keys follow
// from a master key and the time, so any instance with the same master and the
// same clock checks what any other issued, and nothing is remembered of a client.
// A Retry belongs to one goroutine; it keeps the two ciphers used last.
type Retry struct {
	master [32]byte
	slots  [2]retryKey
	plain  [8 + 1 + wire.MaxConnIDLen]byte
	aad    [24 + 4 + 1 + wire.MaxConnIDLen]byte
	nonce  [nonceLen]byte
}

type retryKey struct {
	epoch int64
	aead  cipher.AEAD
	mac   [32]byte // derives nonces
}

// NewRetry returns a Retry whose keys follow from master.
func NewRetry(master [32]byte) *Retry { return &Retry{master: master} }

// key returns the key of an epoch, derived at first use.
func (r *Retry) key(epoch int64) *retryKey {
	k := &r.slots[epoch&1]
	if k.aead != nil && k.epoch == epoch {
		return k
	}
	k.epoch = epoch
	k.mac = r.derive("godwit retry nonce", epoch)
	key := r.derive("godwit retry key", epoch)
	block, err := aes.NewCipher(key[:16])
	if err == nil {
		k.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		panic("BUG: AES-GCM: " + err.Error())
	}
	return k
}

func (r *Retry) derive(label string, epoch int64) (out [32]byte) {
	mac := hmac.New(sha256.New, r.master[:])
	mac.Write([]byte(label))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(epoch)))
	mac.Sum(out[:0])
	return out
}

func epochOf(now mono.Time) int64 { return int64(now) / int64(retryRotate) }

// Issue appends a cookie behind dst: proof that whoever presents it received
// a Retry at client after an Initial of this version to odcid, and was
// told to use rscid. now is a clock that all checkers share. The cookie is at
// most MaxRetryLen bytes, so a Retry is far smaller than the Initial it
// answers.
func (r *Retry) Issue(dst []byte, now mono.Time, client wire.Addr, version uint32, odcid, rscid []byte) []byte {
	if len(odcid) > wire.MaxConnIDLen || len(rscid) > wire.MaxConnIDLen {
		panic("BUG: connection ID too long for a Retry cookie")
	}
	epoch := epochOf(now)
	k := r.key(epoch)
	plain := binary.BigEndian.AppendUint64(r.plain[:0], uint64(now))
	plain = append(plain, byte(len(odcid)))
	plain = append(plain, odcid...)
	aad := r.bind(client, version, rscid)

	// The nonce is a MAC of all that is sealed, so that no counter and no
	// source of randomness is needed: cookies that differ have nonces that
	// differ, but for a chance of 2^-96 a pair, and equal ones are harmless.
	mac := hmac.New(sha256.New, k.mac[:])
	mac.Write(aad)
	mac.Write(plain)
	var sum [sha256.Size]byte
	copy(r.nonce[:], mac.Sum(sum[:0]))

	dst = append(dst, kindRetry, byte(epoch))
	dst = append(dst, r.nonce[:]...)
	return k.aead.Seal(dst, r.nonce[:], plain, aad)
}

// bind builds the associated data: what the checker knows from the packet that
// brings the cookie.
func (r *Retry) bind(client wire.Addr, version uint32, rscid []byte) []byte {
	aad := append(r.aad[:0], client[:]...)
	aad = binary.BigEndian.AppendUint32(aad, version)
	aad = append(aad, byte(len(rscid)))
	return append(aad, rscid...)
}

// Check checks the token of an Initial that came from client with Destination
// Connection ID dcid. A Valid one yields the original Destination Connection
// ID, for the original_destination_connection_id parameter; dcid is then the Retry's
// Source Connection ID.
func (r *Retry) Check(tok []byte, now mono.Time, client wire.Addr, version uint32, dcid []byte) (odcid wire.ConnID, v Verdict) {
	if len(tok) < retryFixed || len(tok) > MaxRetryLen || tok[0] != kindRetry || len(dcid) > wire.MaxConnIDLen {
		return odcid, Foreign
	}
	epoch := epochOf(now)
	if tok[1] != byte(epoch) {
		epoch--
		if tok[1] != byte(epoch) {
			return odcid, Foreign
		}
	}
	copy(r.nonce[:], tok[2:])
	plain, err := r.key(epoch).aead.Open(r.plain[:0], r.nonce[:], tok[2+nonceLen:], r.bind(client, version, dcid))
	if err != nil {
		return odcid, Forged
	}
	issued := mono.Time(binary.BigEndian.Uint64(plain))
	if age := now.Sub(issued); age < 0 || age > RetryValid {
		return odcid, Expired
	}
	if int(plain[8]) != len(plain)-9 {
		return odcid, Forged
	}
	odcid, _ = wire.MakeConnID(plain[9:])
	return odcid, Valid
}
