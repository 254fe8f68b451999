package godwit_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
)

// certificate makes a self-signed certificate for a name, as PEM.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func pool(t *testing.T, cert []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(cert) {
		t.Fatal("no certificate in the PEM")
	}
	return p
}

// logBuffer takes the key log of handshakes that run at once.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestCertificateFilesAndNames(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, "game.example")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	e := listen(t, godwit.Config{Handler: echo, Shards: 1, CertFile: certFile, KeyFile: keyFile})
	var keys logBuffer
	c := dial(t, e, godwit.Config{TLS: &tls.Config{RootCAs: pool(t, cert), ServerName: "game.example"}, KeyLog: &keys})
	exchange(t, c, "hello")
	if !strings.Contains(keys.b.String(), "CLIENT_TRAFFIC_SECRET_0 ") {
		t.Error("the key log is empty")
	}
	for name, cfg := range map[string]*tls.Config{
		"another name":      {RootCAs: pool(t, cert), ServerName: "other.example"},
		"another authority": {RootCAs: x509.NewCertPool(), ServerName: "game.example"},
	} {
		_, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), &godwit.Config{TLS: cfg})
		var failed *godwit.HandshakeError
		if !errors.As(err, &failed) || failed.Stage != "tls" || failed.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClientCertificatesAreAskedFor(t *testing.T) {
	cert, key := certificate(t, "player")
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan godwit.Conn, 10)
	e := listen(t, godwit.Config{
		Shards: 1, TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(t, cert)},
		Handler: godwit.Handler{Open: func(c godwit.Conn) error { opened <- c; return nil }, Message: echo.Message},
	})
	pins := []godwit.Pin{e.Identity()}
	c := dial(t, e, godwit.Config{Pins: pins, TLS: &tls.Config{Certificates: []tls.Certificate{own}}})
	exchange(t, c, "it is me")
	<-opened

	stranger, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), &godwit.Config{Pins: pins})
	if err == nil { // TLS 1.3 lets a client finish before the server has looked at its certificate
		<-stranger.Done()
		err = stranger.Err()
	}
	if err == nil || len(opened) != 0 {
		t.Errorf("a client without a certificate: %v, %d opened", err, len(opened))
	}
}

func TestIdentitySurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Identity: dir})
	if err != nil {
		t.Fatal(err)
	}
	pin := first.Identity()
	first.Close()
	second := listen(t, godwit.Config{Identity: dir, Handler: echo})
	if second.Identity() != pin {
		t.Error("the pin has changed")
	}
	if _, err := godwit.Dial(deadline(t, 10*time.Second), second.Addr().String(), nil); err == nil {
		t.Error("a client with another state directory trusts the server")
	}
	exchange(t, dial(t, second, godwit.Config{Identity: dir}), "the same user")
}

func TestMissingCertificateIsNamed(t *testing.T) {
	_, err := godwit.Listen("127.0.0.1:0", &godwit.Config{CertFile: "/nowhere/cert.pem", KeyFile: "/nowhere/key.pem"})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("got %v", err)
	}
}
