// Package proto is the protocol: everything stateful about a connection, without input or output of its own.
//
// A Conn takes opened packets, commands and the time, and gives back events, unprotected packets and one deadline.
// The room knows nothing of sockets, clocks, TLS or AEADs: packet protection happens before and after it (package
// protect), the handshake's bytes pass through it (package handshake), and the shard drives it. Time and randomness
// are arguments, so the same inputs in the same order give the same bytes.
//
// The machinery of a connection (packets, acknowledgments, loss, paths, identifiers) is in the files conn_*.go; channels and
// messages are in channel_*.go. Sections of RFC 9000 and RFC 9002 are cited where a rule comes from there; docs/SPEC.md
// says where godwit differs.
package proto
