// Package handshake runs the cryptographic handshake of a connection: bytes
// of CRYPTO frames in, bytes and traffic secrets out.
//
// [Session] is TLS 1.3 through the QUIC API of crypto/tls (RFC 9001 §4), with
// ALPN godwit/1 and the transport parameters inside. [Fake] has the same
// methods and the same flights at the same levels, is deterministic and protects
// nothing; the simulator uses it. Both run on workers, never on a shard: one
// step of a TLS handshake takes as long as a thousand messages.
//
// The package also holds what a handshake proves: certificate files that
// reload ([Identity]), the persistent development identity, public-key pins
// ([Pin]), the session caches of both sides, and errors that say what to do
// about them ([Error]).
package handshake
