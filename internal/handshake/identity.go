package handshake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// recheck is how often, at most, certificate files are looked at.
const recheck = time.Second

// An Identity is the certificate that a server presents. One that was loaded from files follows them: at most once a second, when a handshake
// needs it, the files' times and sizes are compared and new ones are loaded. Files
// that cannot be loaded leave the old certificate in use and are reported.
// It is safe for concurrent use.
type Identity struct {
	certFile, keyFile string
	options           IdentityOptions
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]
	checkAt atomic.Int64 // Unix nanoseconds
	reloads atomic.Uint64

	mu      sync.Mutex
	tried   fileStamp // of the files that were last tried
	lastErr error
}

// IdentityOptions say how an Identity treats its files. The zero value is fine.
type IdentityOptions struct {
	// AllowRSA lets the key be RSA.
	AllowRSA bool
	// OnError, if set, is told once of each pair of files that could not be
	// loaded. It runs on a handshake worker.
	OnError func(error)
}

// fileStamp tells one state of the two files from another.
type fileStamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// LoadIdentity loads a PEM certificate chain and its key. Errors have
// KindIdentity or KindRSA.
func LoadIdentity(certFile, keyFile string, o IdentityOptions) (*Identity, error) {
	id := &Identity{certFile: certFile, keyFile: keyFile, options: o, now: time.Now}
	stamp, err := id.stat()
	if err != nil {
		return nil, identityError(err)
	}
	cert, err := id.load()
	if err != nil {
		return nil, err
	}
	id.tried = stamp
	id.checkAt.Store(id.now().Add(recheck).UnixNano())
	id.current.Store(cert)
	return id, nil
}

// NewIdentity wraps a certificate that is in memory already.
func NewIdentity(cert tls.Certificate, o IdentityOptions) (*Identity, error) {
	leaf, err := leafOf(&cert)
	if err != nil {
		return nil, identityError(err)
	}
	cert.Leaf = leaf
	if !o.AllowRSA {
		if err := refuseRSA(&cert); err != nil {
			return nil, err
		}
	}
	id := &Identity{options: o, now: time.Now}
	id.current.Store(&cert)
	return id, nil
}

// Certificate returns the certificate in use, after a look at its files if that
// is due.
func (id *Identity) Certificate() *tls.Certificate {
	if id.certFile != "" && id.now().UnixNano() >= id.checkAt.Load() && id.mu.TryLock() {
		id.refresh()
		id.mu.Unlock()
	}
	return id.current.Load()
}

// GetCertificate is Certificate in the form of tls.Config.
func (id *Identity) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return id.Certificate(), nil
}

// Pin returns the pin of the certificate's key.
func (id *Identity) Pin() Pin { return PinOf(id.current.Load().Leaf) }

// Reloads returns how often new files were taken over, and the error of the last
// attempt, nil if it succeeded.
func (id *Identity) Reloads() (n uint64, lastErr error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.reloads.Load(), id.lastErr
}

// refresh looks at the files and loads them if they changed. The caller holds mu.
func (id *Identity) refresh() {
	id.checkAt.Store(id.now().Add(recheck).UnixNano())
	stamp, err := id.stat()
	if err == nil && stamp == id.tried {
		return
	}
	if err != nil {
		// A file that is missing has the zero stamp, so it is reported once.
		if id.tried == (fileStamp{}) {
			return
		}
		id.tried = fileStamp{}
		id.report(identityError(err))
		return
	}
	id.tried = stamp
	cert, err := id.load()
	if err != nil {
		id.report(err)
		return
	}
	id.lastErr = nil
	id.reloads.Add(1)
	id.current.Store(cert)
}

func (id *Identity) report(err error) {
	id.lastErr = err
	if id.options.OnError != nil {
		id.options.OnError(err)
	}
}

func (id *Identity) stat() (stamp fileStamp, err error) {
	c, err := os.Stat(id.certFile)
	if err != nil {
		return fileStamp{}, err
	}
	k, err := os.Stat(id.keyFile)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{certTime: c.ModTime(), keyTime: k.ModTime(), certSize: c.Size(), keySize: k.Size()}, nil
}

func (id *Identity) load() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(id.certFile, id.keyFile)
	if err != nil {
		return nil, identityError(fmt.Errorf("certificate %s, key %s: %w", id.certFile, id.keyFile, err))
	}
	if cert.Leaf, err = leafOf(&cert); err != nil {
		return nil, identityError(err)
	}
	if !id.options.AllowRSA {
		if err := refuseRSA(&cert); err != nil {
			return nil, err
		}
	}
	if t := id.now(); t.After(cert.Leaf.NotAfter) {
		return nil, &Error{Kind: KindExpired, Alert: NoAlert, Err: fmt.Errorf("certificate %s expired on %s", id.certFile, cert.Leaf.NotAfter.Format(time.DateOnly))}
	}
	return &cert, nil
}

func identityError(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Kind: KindIdentity, Alert: NoAlert, Err: err}
}
