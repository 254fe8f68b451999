package godwit

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"

	"godwit.example/godwit/internal/handshake"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// Peer is what a handshake has proven about the other end of a connection. A server knows of a client what its TLS configuration asks for:
// nothing by default, a certificate with Config.TLS.ClientAuth.
type Peer struct {
	// Addr is the address that the handshake came from. The peer may have moved since, see Conn.RemoteAddr.
	Addr netip.AddrPort
	// Pin is the fingerprint of the public key, whose owner the peer is; zero if it has shown no certificate.
	Pin Pin
	// Certificates is the chain that the peer has shown, its own first. Unless ClientAuth asks for verification, or with pins, nothing but
	// the possession of the first one's key is proven.
	Certificates []*x509.Certificate
	// VerifiedChains are the chains from that certificate to a trusted authority, if it was verified against authorities.
	VerifiedChains [][]*x509.Certificate
	// Resumed says that the session was resumed by a ticket of an earlier one, whose proof it inherits.
	Resumed bool
}

// maxAuthorizing bounds the calls of Config.Authorize that an endpoint has under way.
const maxAuthorizing = 1024

var errAuthorizing = errors.New("godwit: too many clients are waiting to be authorized")

// peerOf makes a Peer of a session's result.
func peerOf(out *wire.HandshakeOutput, remote wire.Addr) Peer {
	p := Peer{Addr: udp.Addr(remote).AddrPort(), Resumed: out.Resumed}
	p.Certificates, _ = out.PeerCerts.([]*x509.Certificate)
	p.VerifiedChains, _ = out.VerifiedChains.([][]*x509.Certificate)
	if len(p.Certificates) > 0 {
		p.Pin = Pin(handshake.PinOf(p.Certificates[0]))
	}
	return p
}

// Identity returns what the handshake has proven about the peer. It is kept with the connection if the peer has shown a certificate, which
// servers always do; otherwise, and when the connection is over and forgotten, it is the zero Peer.
func (c Conn) Identity() Peer {
	if c.ep == nil {
		return Peer{}
	}
	s := c.sides().get(c.ref())
	if s == nil {
		return Peer{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer == nil {
		return Peer{}
	}
	return *s.peer
}

// identify keeps what the handshake has proven. It runs on the shard, before the application learns of the connection.
func (e app) identify(s *shard.Shard, r shard.Ref) {
	out, remote := s.Proven(r)
	if out == nil {
		return
	}
	if p := peerOf(out, remote); len(p.Certificates) > 0 {
		side := e.sides(r).obtain(r)
		side.mu.Lock()
		side.peer = &p
		side.mu.Unlock()
	}
}

// authorize asks the application whether a client may come in, on a goroutine of its own.
func (e *Endpoint) authorize(out *wire.HandshakeOutput, remote wire.Addr) (err error) {
	if e.authorizing.Add(1) > maxAuthorizing {
		e.authorizing.Add(-1)
		e.unasked.Add(1)
		return errAuthorizing
	}
	defer e.authorizing.Add(-1)
	ctx, cancel := context.WithTimeout(e.life, e.limits.HandshakeTimeout)
	defer cancel()
	if e.limits.Panic != nil {
		defer func() {
			if v := recover(); v != nil {
				e.panics.Add(1)
				e.limits.Panic(Conn{}, v)
				err = fmt.Errorf("godwit: Config.Authorize failed: %v", v)
			}
		}()
	}
	return e.limits.Authorize(ctx, peerOf(out, remote))
}
