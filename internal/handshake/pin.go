package handshake

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// A Pin names a public key: the SHA-256 of its SubjectPublicKeyInfo (as in RFC
// 7469 §2.4). It stays the same when a certificate is renewed with its key.
type Pin [sha256.Size]byte

const pinPrefix = "sha256-"

// PinOf returns the pin of a certificate's key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String returns the text form: "sha256-" and 43 characters of base64url.
func (p Pin) String() string { return pinPrefix + base64.RawURLEncoding.EncodeToString(p[:]) }

// ErrBadPin is returned by ParsePin.
var ErrBadPin = errors.New(`handshake: a pin is written as "sha256-" and 43 characters of base64url or 64 of hex`)

// ParsePin reads a pin: what String returns, or "sha256-" and hex in either
// case. Spaces around it are ignored.
func ParsePin(s string) (p Pin, err error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), pinPrefix)
	var raw []byte
	switch {
	case !ok:
		return p, ErrBadPin
	case len(text) == 2*len(p):
		raw, err = hex.DecodeString(text)
	default:
		raw, err = base64.RawURLEncoding.Strict().DecodeString(strings.TrimSuffix(text, "="))
	}
	if err != nil || len(raw) != len(p) {
		return p, ErrBadPin
	}
	return Pin(raw), nil
}

// verifyPins returns a VerifyConnection that accepts a server whose key is one of
// pins. The name and the issuer do not matter then; the dates do, since they
// are how an owner limits the use of a lost key. It runs on resumed
// connections too.
func verifyPins(pins []Pin, now func() time.Time) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return &Error{Kind: KindNoCertificate, Alert: NoAlert, Err: errors.New("the server sent no certificate")}
		}
		leaf := state.PeerCertificates[0]
		got := PinOf(leaf)
		found := false
		for _, p := range pins {
			found = found || p == got
		}
		if !found {
			return &Error{Kind: KindPin, Alert: NoAlert, Err: errors.New("the server's key has the pin " + got.String() + ", which is not expected")}
		}
		if t := now(); t.Before(leaf.NotBefore) || t.After(leaf.NotAfter) {
			return x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired, Detail: "pinned certificate"}
		}
		return nil
	}
}
