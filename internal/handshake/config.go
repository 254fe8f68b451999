package handshake

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"godwit.example/godwit/internal/wire"
)

// ServerOptions say how a server proves who it is and whom it lets in.
type ServerOptions struct {
	// TLS is the base, may be nil and is not changed: ClientAuth, ClientCAs,
	// VerifyConnection, Certificates, GetCertificate, KeyLogWriter and so on pass
	// through. Versions and protocols are set here.
	TLS *tls.Config
	// Identity, if set, supplies the certificate instead of TLS.
	Identity *Identity
	// AllowRSA lets certificates with RSA keys be used. They make the server's
	// flight and its work per handshake several times larger.
	AllowRSA bool
	// Tickets keeps the sessions whose tickets would be too long for a
	// ClientHello; nil means a store of DefaultTickets.
	Tickets *TicketStore
}

// ServerConfig builds the configuration that all of a server's sessions share.
// Without any certificate it fails with KindIdentity.
func ServerConfig(o ServerOptions) (*tls.Config, error) {
	cfg := base(o.TLS)
	if o.Identity != nil {
		cfg.Certificates, cfg.GetCertificate = nil, o.Identity.GetCertificate
	}
	if len(cfg.Certificates) == 0 && cfg.GetCertificate == nil && cfg.GetConfigForClient == nil {
		return nil, &Error{Kind: KindIdentity, Alert: NoAlert, Err: errors.New("a server needs a certificate")}
	}
	if !o.AllowRSA {
		if err := guardRSA(cfg); err != nil {
			return nil, err
		}
	}
	if !cfg.SessionTicketsDisabled {
		store := o.Tickets
		if store == nil {
			store = NewTicketStore(DefaultTickets)
		}
		store.attach(cfg)
	}
	if choose := cfg.GetConfigForClient; choose != nil {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if err != nil || chosen == nil {
				return nil, err
			}
			chosen = base(chosen)
			chosen.WrapSession, chosen.UnwrapSession = cfg.WrapSession, cfg.UnwrapSession
			if !o.AllowRSA {
				err = guardRSA(chosen)
			}
			return chosen, err
		}
	}
	return cfg, nil
}

// guardRSA makes cfg refuse certificates with RSA keys, now and whenever one is
// chosen.
func guardRSA(cfg *tls.Config) error {
	for i := range cfg.Certificates {
		if err := refuseRSA(&cfg.Certificates[i]); err != nil {
			return err
		}
	}
	if get := cfg.GetCertificate; get != nil {
		cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := get(hello)
			if err == nil && cert != nil {
				err = refuseRSA(cert)
			}
			return cert, err
		}
	}
	return nil
}

// ClientOptions say whom a client trusts.
type ClientOptions struct {
	// TLS is the base, may be nil and is not changed: RootCAs, Certificates,
	// VerifyConnection, KeyLogWriter and so on pass through.
	TLS *tls.Config
	// ServerName is the name, or the address, that the server's certificate must
	// be for; it is also part of the key of cached sessions. It wins over the
	// one in TLS.
	ServerName string
	// Pins, if any, are the keys that the server may have, the current one and
	// the next; name and issuer are then not looked at.
	Pins []Pin
	// Sessions keeps tickets for resumption; nil means none. Configurations with
	// VerifyPeerCertificate or GetClientCertificate do not resume.
	Sessions *SessionCache
}

// ClientConfig builds the configuration of connections to one server.
func ClientConfig(o ClientOptions) (*tls.Config, error) {
	cfg := base(o.TLS)
	if o.ServerName != "" {
		cfg.ServerName = o.ServerName
	}
	if len(o.Pins) > 0 {
		pins := append([]Pin(nil), o.Pins...)
		now := cfg.Time
		if now == nil {
			now = time.Now
		}
		verify, also := verifyPins(pins, now), cfg.VerifyConnection
		// The pins are the verification: crypto/tls still proves that the
		// server holds the key of its certificate.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil || also == nil {
				return err
			}
			return also(state)
		}
	}
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		return nil, &Error{Kind: KindHostname, Alert: NoAlert, Err: errors.New("no server name to verify the certificate against")}
	}
	// crypto/tls asks neither callback when it resumes, so a session could
	// carry over another configuration's verification or certificate.
	if o.Sessions != nil && cfg.VerifyPeerCertificate == nil && cfg.GetClientCertificate == nil {
		cfg.ClientSessionCache = o.Sessions.bind(trustOf(cfg, o.Pins))
	}
	return cfg, nil
}

// base copies cfg and sets what is not open to choice: TLS 1.3, our protocol
// and no 0-RTT. Key exchanges stay those of crypto/tls, with X25519MLKEM768
// first.
func base(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		cfg = new(tls.Config)
	}
	cfg = cfg.Clone()
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	cfg.NextProtos = []string{wire.ALPN}
	return cfg
}

// trustOf hashes what the identity of a session depends on besides the server's
// name: protocol, pins and our own certificate.
func trustOf(cfg *tls.Config, pins []Pin) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(wire.ALPN))
	for _, p := range pins {
		h.Write(p[:])
	}
	for _, c := range cfg.Certificates {
		for _, der := range c.Certificate {
			sum := sha256.Sum256(der)
			h.Write(sum[:])
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// refuseRSA returns an error for a certificate with an RSA key.
func refuseRSA(cert *tls.Certificate) error {
	leaf, err := leafOf(cert)
	if err != nil {
		return &Error{Kind: KindIdentity, Alert: NoAlert, Err: err}
	}
	if _, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
		return &Error{Kind: KindRSA, Alert: NoAlert, Err: errors.New("the certificate's key is RSA")}
	}
	return nil
}

func leafOf(cert *tls.Certificate) (*x509.Certificate, error) {
	if cert.Leaf != nil {
		return cert.Leaf, nil
	}
	if len(cert.Certificate) == 0 {
		return nil, errors.New("the certificate is empty")
	}
	return x509.ParseCertificate(cert.Certificate[0])
}

// MaxFlight is the size of a server's first flight that fits the
// anti-amplification limit of the three datagrams a client may get for its first
// one (RFC 9000 §8.1). A larger flight waits a round trip.
const MaxFlight = 3600

// FlightSize estimates the bytes of a server's first flight with cert, datagram
// headers included: ServerHello with a hybrid key share, encrypted extensions,
// certificate chain, its signature and Finished.
func FlightSize(cert *tls.Certificate) int {
	const (
		serverHello = 4 + 2 + 32 + 1 + 2 + 1 + 2 + 6 + 8 + 1120 // X25519MLKEM768: 1,088 + 32
		extensions  = 4 + 2 + 15 + 160                          // ALPN and transport parameters
		finished    = 4 + 48
		overhead    = 3 * (60 + wire.TagLen + 10) // long header, tag, frame headers a datagram
	)
	n := serverHello + extensions + finished + overhead + messageHeader + 4
	for _, der := range cert.Certificate {
		n += len(der) + 5
	}
	n += len(cert.OCSPStaple)
	for _, sct := range cert.SignedCertificateTimestamps {
		n += len(sct) + 2
	}
	n += messageHeader + 4 + signatureLen(cert)
	return n
}

// signatureLen is the length of a CertificateVerify signature.
func signatureLen(cert *tls.Certificate) int {
	leaf, err := leafOf(cert)
	if err != nil {
		return 0
	}
	if key, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
		return key.Size()
	}
	return 72 // ECDSA P-256; Ed25519 is 64
}
