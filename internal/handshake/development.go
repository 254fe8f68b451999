package handshake

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
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// DevelopmentFile is the name of the development identity in its directory.
const DevelopmentFile = "identity.pem"

// LoadDevelopment returns the development identity kept in dir, making it first
// if it is not there: an ECDSA P-256 key with a self-signed certificate, in one
// file that only its owner may read. The file stays, so a restarted server has
// the same pin; several processes that start at once agree on one identity.
func LoadDevelopment(dir string) (*Identity, error) {
	path := filepath.Join(dir, DevelopmentFile)
	if at := notDirectory(dir); at != "" {
		return nil, developmentError(fmt.Errorf("%s is a file, where the development identity %s needs a directory; remove it", at, path))
	}
	id, err := readDevelopment(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := createDevelopment(dir, path); err != nil {
		return nil, developmentError(err)
	}
	return readDevelopment(path)
}

func developmentError(err error) error {
	return &Error{Kind: KindDevelopment, Alert: NoAlert, Err: err}
}

// notDirectory returns the path of the file that stands where dir or a directory above it should be, and nothing if there is none.
func notDirectory(dir string) string {
	for {
		info, err := os.Stat(dir)
		if err == nil {
			if info.IsDir() {
				return ""
			}
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// NewDevelopment makes a development identity that is kept nowhere.
func NewDevelopment() (*Identity, error) {
	text, err := makeDevelopment(time.Now())
	if err != nil {
		return nil, developmentError(err)
	}
	cert, err := tls.X509KeyPair(text, text)
	clear(text)
	if err != nil {
		return nil, developmentError(err)
	}
	return NewIdentity(cert, IdentityOptions{})
}

func readDevelopment(path string) (*Identity, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, developmentError(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, developmentError(fmt.Errorf("%s may be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, developmentError(err)
	}
	defer clear(text)
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, developmentError(fmt.Errorf("%s: %w; remove the file to get a new identity with a new pin", path, err))
	}
	return NewIdentity(cert, IdentityOptions{})
}

// createDevelopment writes the file under another name and links it into
// place: readers see all of it or nothing, and of several writers one wins.
func createDevelopment(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := makeDevelopment(time.Now())
	if err != nil {
		return err
	}
	defer clear(text)
	f, err := os.CreateTemp(dir, DevelopmentFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was first: its identity is ours too
	}
	if err != nil {
		// No links on this file system: a rename is as atomic, the last one wins.
		err = os.Rename(f.Name(), path)
	}
	return err
}

// makeDevelopment makes key and certificate, both PEM. The certificate has no
// end (RFC 5280 §4.1.2.5): clients trust its pin, and dates would only break
// them one day.
func makeDevelopment(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "godwit development identity"},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(pkcs8)
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}); err != nil {
		return nil, err
	}
	if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
