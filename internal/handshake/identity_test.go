package handshake

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a settable time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestCertificateFilesReload(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ours")
	first, second := ca.sign(t, leaf{name: "a.example"}), ca.sign(t, leaf{name: "a.example", filler: 10})
	certFile, keyFile := writeFiles(t, dir, first)
	var reported []error
	id, err := LoadIdentity(certFile, keyFile, IdentityOptions{OnError: func(err error) { reported = append(reported, err) }})
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{now: time.Now()}
	id.now = c.Now
	uses := func(want tls.Certificate) {
		t.Helper()
		if got := id.Certificate(); PinOf(got.Leaf) != PinOf(want.Leaf) {
			t.Error("the wrong certificate is in use")
		}
	}
	uses(first)

	writeFiles(t, dir, second)
	uses(first) // looked at less than a second ago
	c.advance(2 * time.Second)
	uses(second)

	// A file that is only half there leaves the old certificate in use, and is
	// reported once.
	if err := os.WriteFile(certFile, []byte("-----BEGIN CERT"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c.advance(2 * time.Second)
		uses(second)
	}
	if n, last := id.Reloads(); n != 1 || last == nil || len(reported) != 1 {
		t.Fatalf("%d reloads, last error %v, reported %v", n, last, reported)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c.advance(2 * time.Second)
		uses(second)
	}
	if len(reported) != 2 {
		t.Fatalf("reported %v", reported)
	}
	var e *Error
	for _, err := range reported {
		if !errors.As(err, &e) || e.Kind != KindIdentity || e.Hint() == "" {
			t.Errorf("reported %v", err)
		}
	}

	writeFiles(t, dir, first)
	c.advance(2 * time.Second)
	uses(first)
	if n, last := id.Reloads(); n != 2 || last != nil {
		t.Errorf("%d reloads, last error %v", n, last)
	}
}

func TestIdentitiesThatCannotServeAreRefused(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ours")
	check := func(name string, kind Kind, err error) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Kind != kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := LoadIdentity(filepath.Join(dir, "none"), filepath.Join(dir, "none"), IdentityOptions{})
	check("missing", KindIdentity, err)

	certFile, keyFile := writeFiles(t, dir, ca.sign(t, leaf{name: "a.example", expired: true}))
	_, err = LoadIdentity(certFile, keyFile, IdentityOptions{})
	check("expired", KindExpired, err)

	certFile, keyFile = writeFiles(t, dir, ca.sign(t, leaf{name: "a.example", useRSA: true}))
	_, err = LoadIdentity(certFile, keyFile, IdentityOptions{})
	check("RSA", KindRSA, err)
	if id, err := LoadIdentity(certFile, keyFile, IdentityOptions{AllowRSA: true}); err != nil || id.Certificate() == nil {
		t.Errorf("RSA, allowed: %v", err)
	}

	other := ca.sign(t, leaf{name: "b.example"})
	writePEM(t, certFile, "CERTIFICATE", other.Certificate[0])
	_, err = LoadIdentity(certFile, keyFile, IdentityOptions{AllowRSA: true})
	check("another key", KindIdentity, err)
	_, err = NewIdentity(tls.Certificate{}, IdentityOptions{})
	check("empty", KindIdentity, err)
}

func TestDevelopmentIdentityKeepsItsPin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "godwit")
	first, err := LoadDevelopment(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadDevelopment(dir)
	if err != nil {
		t.Fatal(err)
	}
	if first.Pin() != again.Pin() {
		t.Error("a restart changes the pin")
	}
	path := filepath.Join(dir, DevelopmentFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files in the directory", len(entries))
	}
	cert := first.Certificate().Leaf
	if cert.PublicKeyAlgorithm != x509.ECDSA || cert.NotAfter.Year() != 9999 || cert.IsCA {
		t.Errorf("certificate %v until %v", cert.PublicKeyAlgorithm, cert.NotAfter)
	}
	other, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	if other.Pin() == first.Pin() {
		t.Error("two identities share a key")
	}

	var e *Error
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDevelopment(dir); !errors.As(err, &e) || e.Kind != KindDevelopment {
		t.Errorf("a damaged file: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDevelopment(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read: %v", err)
	}
}

func TestServersThatStartTogetherShareOneIdentity(t *testing.T) {
	dir := t.TempDir()
	pins := make([]Pin, 8)
	var wg sync.WaitGroup
	for i := range pins {
		wg.Go(func() {
			id, err := LoadDevelopment(dir)
			if err != nil {
				t.Error(err)
				return
			}
			pins[i] = id.Pin()
		})
	}
	wg.Wait()
	for _, p := range pins {
		if p != pins[0] {
			t.Fatalf("pins %v", pins)
		}
	}
}

func TestPinsSurviveTheirTextForms(t *testing.T) {
	pin := testIdentity(t).Pin()
	forms := []string{pin.String(), " " + pin.String() + "\n", pin.String() + "=", "sha256-" + hex.EncodeToString(pin[:]), "sha256-" + strings.ToUpper(hex.EncodeToString(pin[:]))}
	for _, form := range forms {
		if got, err := ParsePin(form); err != nil || got != pin {
			t.Errorf("%q: %v", form, err)
		}
	}
	if len(pin.String()) != 50 {
		t.Errorf("%q has %d characters", pin, len(pin.String()))
	}
	for _, bad := range []string{"", "sha256-", "sha256-abc", pin.String()[7:], pin.String() + "A", "sha1-" + pin.String()[7:], "sha256-" + strings.Repeat("g", 64), pin.String()[:49] + "!"} {
		if _, err := ParsePin(bad); !errors.Is(err, ErrBadPin) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add("sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("sha256-" + strings.Repeat("0f", 32))
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePin(s); err == nil {
			if again, err := ParsePin(p.String()); err != nil || again != p {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}

func TestFileInPlaceOfTheStateDirectoryIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "godwit")} {
		_, err := LoadDevelopment(dir)
		if err == nil || !strings.Contains(err.Error(), file+" is a file") || !strings.Contains(err.Error(), "XDG_STATE_HOME") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
