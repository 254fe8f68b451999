package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/load"
)

func init() {
	register(
		&Peer{
			Name: "tcp", TCP: true, About: "net.TCPConn, length-framed, TCP_NODELAY; not encrypted", Mode: godwit.Ordered, Handshake: true, Procs: 2,
			serveLinks: func(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
				l, err := net.Listen("tcp", listen.String())
				if err != nil {
					return err
				}
				ready(addrOf(l), "")
				return serveListener(ctx, l, each)
			},
			Transport: func(addr netip.AddrPort, _ string) load.Transport {
				return &links{dial: func(ctx context.Context, _ int) (link, error) {
					c, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
					return &streamLink{ReadWriteCloser: c}, err
				}}
			},
		},
		&Peer{
			Name: "tls", TCP: true, About: "crypto/tls 1.3 over TCP, length-framed, TCP_NODELAY", Mode: godwit.Ordered, Encrypted: true, Handshake: true, Procs: 2,
			serveLinks: func(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
				cfg, secret, err := serverTLS()
				if err != nil {
					return err
				}
				l, err := tls.Listen("tcp", listen.String(), cfg)
				if err != nil {
					return err
				}
				ready(addrOf(l), secret)
				return serveListener(ctx, l, each)
			},
			Transport: func(addr netip.AddrPort, secret string) load.Transport {
				return &links{dial: func(ctx context.Context, _ int) (link, error) {
					cfg, err := clientTLS(secret)
					if err != nil {
						return nil, err
					}
					c, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr.String())
					return &streamLink{ReadWriteCloser: c}, err
				}}
			},
		},
	)
}

func addrOf(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// serverName is the name in every server's certificate.
const serverName = "bench.test"

// serverTLS makes a P-256 certificate that is as costly to check as one of a user
// who signs their own. secret is what clientTLS trusts.
func serverTLS() (cfg *tls.Config, secret string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, "", err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13, NextProtos: []string{alpn},
	}, base64.RawURLEncoding.EncodeToString(der), nil
}

// alpn is the protocol that peers with TLS agree on; QUIC demands one.
const alpn = "bench"

// clientTLS trusts the server whose serverTLS made secret.
func clientTLS(secret string) (*tls.Config, error) {
	der, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.Join(errors.New("the server's certificate"), err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}}, nil
}
