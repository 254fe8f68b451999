package handshake

import (
	"crypto"
	"crypto/tls"
	"io"
	"testing"
)

func TestSecretOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadDevelopment(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadDevelopment(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	a, ok1 := first.Secret("tests")
	b, ok2 := again.Secret("tests")
	c, ok3 := other.Secret("tests")
	d, ok4 := first.Secret("something else")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		t.Fatal("a key in memory yields no secret")
	}
	if a != b {
		t.Error("the same identity, loaded twice, yields two secrets")
	}
	if a == c || a == d {
		t.Error("another identity or another purpose yields the same secret")
	}
	var none *Identity
	if _, ok := none.Secret("tests"); ok {
		t.Error("no identity has a secret")
	}
}

// hardware is a key that can sign and be no more than that.
type hardware struct{ crypto.Signer }

func (h hardware) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return h.Signer.Sign(rand, digest, opts)
}

func TestKeyInHardwareHasNoSecret(t *testing.T) {
	id, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	cert := *id.Certificate()
	cert.PrivateKey = hardware{cert.PrivateKey.(crypto.Signer)}
	locked, err := NewIdentity(tls.Certificate{Certificate: cert.Certificate, PrivateKey: cert.PrivateKey}, IdentityOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := locked.Secret("tests"); ok {
		t.Error("a secret was derived from a key that cannot be read")
	}
}
