package protect

import (
	"crypto/cipher"

	"godwit.example/godwit/internal/wire"
)

const (
	windowWords     = 32 // 2,048 packets in the 1-RTT space
	longWindowWords = 2  // 128 in the Initial and Handshake spaces, which see a dozen
)

// direction is one half of one encryption level: what is needed to protect, or
// to open, its packets. The cipher objects are built from the secrets at first
// use and may be dropped at any time.
type direction struct {
	aead   cipher.AEAD
	header cipher.Block // AES header protection; nil for ChaCha20 and plain mode
	secret [maxSecret]byte
	hpKey  [maxKey]byte
	iv     [ivLen]byte
	suite  uint16 // 0: no keys
	ready  bool   // aead, iv and header are built
}

func (d *direction) has() bool   { return d.suite != 0 }
func (d *direction) plain() bool { return d.suite == wire.SuitePlain }

func (d *direction) install(suite uint16, secret []byte) {
	*d = direction{suite: suite}
	if d.plain() {
		return
	}
	copy(d.secret[:], secret)
	hp := expandLabel(suite, secret, "quic hp", keyLen(suite))
	copy(d.hpKey[:], hp)
	clear(hp)
}

// build makes the cipher objects; called at first use, never in plain mode.
func (d *direction) build() {
	d.aead = newAEAD(d.suite, d.secret[:secretLen(d.suite)], &d.iv)
	if d.suite != suiteChaCha20 && d.header == nil {
		d.header = newHeader(d.hpKey[:keyLen(d.suite)])
	}
	d.ready = true
}

// evict drops the cipher objects; the next use builds them again.
func (d *direction) evict() {
	d.aead, d.header, d.ready = nil, nil, false
	clear(d.iv[:])
}

// epoch is what a direction needs for a key phase other than its current one:
// header protection keys stay the same through updates.
type epoch struct {
	aead   cipher.AEAD
	secret [maxSecret]byte
	iv     [ivLen]byte
}

// space is one packet-number space with both its directions.
type space struct {
	read, write direction
	top         uint64 // one more than the largest packet number opened
	next        uint64 // the lowest packet number that may still be sealed
}

// longSpace is the Initial or the Handshake space; it exists from the first
// install until Drop.
type longSpace struct {
	space
	window [longWindowWords]uint64
}

// Keys are the packet protection state of one connection: secrets of each
// level and direction, the 1-RTT key phase, packet-number state, replay
// windows and counters. The zero value has no keys and is ready for use.
//
// Keys belong to one goroutine at a time, the shard that owns the connection.
type Keys struct {
	long   [2]*longSpace // by level: Initial, Handshake
	ahead  *epoch        // read keys of the next phase, once a packet asked for them
	before *epoch        // read keys of the previous phase, until DropPrevious
	app    space

	// The 1-RTT key phase (RFC 9001 §6). Numbers are kept plus one, so that
	// zero means none.
	phaseRead  uint64 // the lowest number opened in the current phase
	oldTop     uint64 // the largest number opened in earlier phases
	phaseStart uint64 // the first number sealed in the current phase
	phaseSent  uint64 // packets sealed in the current phase

	opened, duplicates uint64
	forged             uint64 // packets that failed authentication; counts towards the AEAD limits
	short              uint32 // packets too short to be tried
	aheadTries         uint32 // packets tried with the keys of the next phase
	updates            uint32 // phases begun; its low bit is the key phase bit
	plainSeed          uint32

	window [windowWords]uint64
}

// NewKeys returns Keys without any keys installed.
func NewKeys() *Keys { return new(Keys) }

// space returns the packet-number space of level and its replay window, nil if
// it does not exist.
func (k *Keys) space(level wire.Level) (*space, []uint64) {
	if level == wire.LevelOneRTT {
		return &k.app, k.window[:]
	}
	if level < wire.LevelOneRTT {
		if l := k.long[level]; l != nil {
			return &l.space, l.window[:]
		}
	}
	return nil, nil
}

// InstallInitial installs the Initial keys of a connection whose client chose
// dcid as its first Destination Connection ID (RFC 9001 §5.2). A client calls
// it again after a Retry with the server's new ID: keys change, packet numbers
// go on.
func (k *Keys) InstallInitial(dcid []byte, isClient bool) {
	client, server := InitialSecrets(dcid)
	read, write := server, client
	if !isClient {
		read, write = client, server
	}
	k.Install(wire.LevelInitial, false, read, 0)
	k.Install(wire.LevelInitial, true, write, 0)
}

// Install installs the traffic secret of one level and direction. The suite
// wire.SuitePlain replaces 1-RTT protection by a checksum that begins at
// plainSeed; other suites ignore the seed. An unknown suite, a secret of
// the wrong length and plain mode at another level are programmer errors.
func (k *Keys) Install(level wire.Level, write bool, s wire.Secret, plainSeed uint32) {
	plain := s.Suite == wire.SuitePlain
	if !Known(s.Suite) || plain && level != wire.LevelOneRTT ||
		!plain && int(s.Len) != secretLen(s.Suite) || level >= wire.NumLevels {
		panic("BUG: secret does not fit its suite or level")
	}
	if level < wire.LevelOneRTT && k.long[level] == nil {
		k.long[level] = new(longSpace)
	}
	if plain {
		k.plainSeed = plainSeed
	}
	sp, _ := k.space(level)
	d := &sp.read
	if write {
		d = &sp.write
	}
	d.install(s.Suite, s.B[:s.Len])
}

// Has reports whether level has keys in the given direction.
func (k *Keys) Has(level wire.Level, write bool) bool {
	sp, _ := k.space(level)
	if sp == nil {
		return false
	}
	if write {
		return sp.write.has()
	}
	return sp.read.has()
}

// Plain reports whether 1-RTT packets carry a checksum instead of encryption.
func (k *Keys) Plain() bool { return k.app.write.plain() || k.app.read.plain() }

// TagLen returns how many bytes Seal puts behind a packet of level: 16, or 4
// for 1-RTT packets in plain mode.
func (k *Keys) TagLen(level wire.Level) int {
	if level == wire.LevelOneRTT && k.Plain() {
		return plainTagLen
	}
	return tagLen
}

// Drop erases the keys of level for good and frees its state (RFC 9001 §4.9).
// Packets of a dropped level give OpenNoKeys.
func (k *Keys) Drop(level wire.Level) {
	if level >= wire.LevelOneRTT {
		k.dropApp()
		return
	}
	if l := k.long[level]; l != nil {
		*l = longSpace{}
		k.long[level] = nil
	}
}

func (k *Keys) dropApp() {
	k.app.read, k.app.write = direction{}, direction{}
	k.plainSeed = 0
	k.before.erase()
	k.ahead.erase()
	k.before, k.ahead = nil, nil
}

func (e *epoch) erase() {
	if e != nil {
		*e = epoch{}
	}
}

// Erase zeroes every secret and every number: afterwards k is as new. The
// expanded keys inside cipher objects cannot be reached; the objects are
// dropped.
func (k *Keys) Erase() {
	k.Drop(wire.LevelInitial)
	k.Drop(wire.LevelHandshake)
	k.dropApp()
	*k = Keys{}
}

// Evict drops the cipher objects (about 2.5 KiB with AES) and keeps the
// secrets; the next packet builds them again, which costs a few microseconds.
func (k *Keys) Evict() {
	for _, l := range k.long {
		if l != nil {
			l.read.evict()
			l.write.evict()
		}
	}
	k.app.read.evict()
	k.app.write.evict()
	k.ahead.erase()
	k.ahead = nil
	if k.before != nil {
		k.before.aead = nil
		clear(k.before.iv[:])
	}
}

// Packets counts the packets opened and the 1-RTT packets sealed, numbers left out among them: as long as it stays, no cipher object was
// in use.
func (k *Keys) Packets() uint64 { return k.opened + k.app.next }

// Largest returns the largest packet number opened at level, -1 if there is
// none: what truncated packet numbers are decoded against.
func (k *Keys) Largest(level wire.Level) int64 {
	if sp, _ := k.space(level); sp != nil {
		return int64(sp.top) - 1
	}
	return -1
}

// Stats are the counters of one connection's packet protection.
type Stats struct {
	Opened     uint64 // packets authenticated
	Failed     uint64 // packets that failed authentication or were too short for it
	Duplicates uint64 // packets refused by the replay window
	NextTries  uint64 // packets tried with the keys of the next phase
	Updates    uint64 // key phases begun after the first
}

// Stats returns the counters.
func (k *Keys) Stats() Stats {
	return Stats{Opened: k.opened, Failed: k.forged + uint64(k.short), Duplicates: k.duplicates, NextTries: uint64(k.aheadTries), Updates: uint64(k.updates)}
}
