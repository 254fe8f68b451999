// Package protect is the packet protection of godwit: it turns built packets
// into protected ones and received ones into authenticated ones, train by
// train, for all three packet-number spaces of a connection.
//
// It follows RFC 9001 §5 and §6 with the labels unchanged: HKDF key schedule,
// AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305, header protection, key
// update, and the AEAD limits of §6.6. Only the Initial salt and the Retry
// integrity key are godwit's own. In plain mode the 1-RTT protection is a
// seeded CRC32C, which keeps corruption and blind off-path packets out and
// nothing else.
//
// Two types share the work. [Keys] belongs to one connection and holds its
// secrets, key phases, packet-number state and replay windows; it is a plain
// struct that packs into bytes. [Scratch] belongs to one shard and holds the
// few bytes that must be passed through cipher interfaces, where a local
// variable would escape to the heap once a packet. Neither is safe for
// concurrent use, and nothing here blocks, logs or reads a clock. On the steady
// path nothing allocates; building an AEAD object does, once a key.
package protect
