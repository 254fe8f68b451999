package handshake

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strconv"
)

// Kind says why a handshake failed.
type Kind uint8

// The kinds of failure.
const (
	KindProtocol         Kind = iota // the peer broke TLS, or something in between did
	KindALPN                         // the peer does not speak godwit/1
	KindPin                          // the server's key is none of the pinned ones
	KindUnknownAuthority             // the peer's certificate is signed by nobody we trust
	KindHostname                     // the certificate is for another name
	KindExpired                      // the certificate is out of its dates
	KindCertificate                  // the certificate is bad in another way
	KindNoCertificate                // the peer sent no certificate, and one is required
	KindRSA                          // our certificate has an RSA key and those are not allowed
	KindIdentity                     // our certificate or key cannot be loaded
	KindDevelopment                  // the development identity cannot be loaded or made
	KindInternal                     // our side failed
)

// hints tell what to do next. They are part of the error's text, because that is
// what reaches the person who has to act.
var hints = [...]string{
	KindProtocol:         "the peer or something between broke the handshake; check that both ends run compatible versions",
	KindALPN:             "the other end does not speak godwit/1; check address and port",
	KindPin:              "the server's key changed or this is another server; compare with the pin that it prints at start and set that one if you trust it",
	KindUnknownAuthority: "set the server's pin, which it prints at start, or add its CA to the trusted roots",
	KindHostname:         "dial a name that the certificate lists, or set the server name in the configuration",
	KindExpired:          "renew the certificate, or check the clocks of both machines",
	KindCertificate:      "see the certificate with: openssl x509 -text -noout -in FILE",
	KindNoCertificate:    "configure a client certificate that the server's CA has signed",
	KindRSA:              "have a certificate issued for an ECDSA or Ed25519 key, made with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE",
	KindIdentity:         "check that both files are readable, in PEM, and that the key belongs to the certificate",
	KindDevelopment:      "choose another directory for the development identity, with XDG_STATE_HOME or in the configuration, or bring a certificate",
	KindInternal:         "see the error before this hint; if it is not about your configuration, it is a fault of this library",
}

// An Error is a failed handshake or an identity that cannot be used.
type Error struct {
	Kind  Kind
	Alert int // the TLS alert to close with, NoAlert if there is no peer
	Err   error
}

// Error returns what happened and what to do about it.
func (e *Error) Error() string {
	return "handshake: " + e.Err.Error() + " (" + e.Hint() + ")"
}

// Hint returns what to do about the error.
func (e *Error) Hint() string {
	if int(e.Kind) < len(hints) {
		return hints[e.Kind]
	}
	return ""
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// classify finds out what an error of crypto/tls, or of our callbacks in it, is
// about, and which alert goes with it.
func classify(err error, isClient bool) *Error {
	e := &Error{Kind: KindProtocol, Alert: alertInternalError, Err: err}
	if a, ok := errors.AsType[tls.AlertError](err); ok {
		e.Alert = int(a)
	}
	if own, ok := errors.AsType[*Error](err); ok {
		e.Kind, e.Err = own.Kind, own.Err
		return e
	}
	if kind, ok := certificateKind(err); ok {
		e.Kind = kind
		return e
	}
	e.Kind = kindOfAlert(e.Alert, isClient)
	return e
}

func certificateKind(err error) (kind Kind, ok bool) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return KindUnknownAuthority, true
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		if c := host.Certificate; c != nil && bytes.Equal(c.RawIssuer, c.RawSubject) {
			return KindUnknownAuthority, true // it signed itself: no name makes it valid, as that of a development identity
		}
		return KindHostname, true
	}
	if c, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if c.Reason == x509.Expired {
			return KindExpired, true
		}
		return KindCertificate, true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return KindCertificate, true
	}
	return 0, false
}

// kindOfAlert sorts the alerts of RFC 8446 §6.2 that say more than "no".
func kindOfAlert(alert int, isClient bool) Kind {
	switch alert {
	case 42, 43, 44, 46: // bad, unsupported, revoked, unknown certificate
		return KindCertificate
	case 45: // certificate_expired
		return KindExpired
	case 48: // unknown_ca
		return KindUnknownAuthority
	case 112: // unrecognized_name
		if isClient {
			return KindHostname
		}
		return KindIdentity
	case 116: // certificate_required
		return KindNoCertificate
	case 120: // no_application_protocol
		return KindALPN
	case 80: // internal_error
		return KindInternal
	}
	return KindProtocol
}

// PeerAlert makes the error for an alert that the peer closed with
// (CRYPTO_ERROR, RFC 9001 §4.8). isClient tells which side we are.
func PeerAlert(alert uint8, isClient bool) *Error {
	kind := kindOfAlert(int(alert), isClient)
	if kind == KindInternal {
		kind = KindProtocol // it is the peer's inside, not ours
	}
	return &Error{Kind: kind, Alert: NoAlert, Err: errors.New("the peer closed with TLS alert " + strconv.Itoa(int(alert)) + ", " + tls.AlertError(alert).Error())}
}
