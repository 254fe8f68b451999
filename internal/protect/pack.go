package protect

import (
	"encoding/binary"

	"godwit.example/godwit/internal/wire"
)

// The packed form: a version byte, a byte of flags, the 1-RTT and Handshake
// spaces that exist, the key phase, the counters. Numbers are varints of
// wire: none of them reaches 62 bits.
const packVersion = 1

// Flags of the packed form.
const (
	packIdle      = 1 << iota // replay windows are left out: all below the top is refused
	packPrevious              // previous read keys follow
	packHandshake             // the Handshake space follows
	packInitial               // the Initial space follows
	packSeed                  // the checksum seed follows
)

// Append packs k behind b: secrets, key phase, packet-number state, replay
// windows, counters, but no cipher object. With idle the replay windows are
// left out, so that the record of an idle connection stays small (about 120
// bytes with AES-128); after such a record every number up to the largest one
// counts as seen, and packets that were still under way are lost.
//
// The bytes are as secret as the keys. Whoever packs to hand the connection
// over calls Erase afterwards, so that no nonce is used by two owners.
func (k *Keys) Append(b []byte, idle bool) []byte {
	flags := byte(0)
	if idle {
		flags |= packIdle
	}
	if k.before != nil {
		flags |= packPrevious
	}
	if k.long[wire.LevelHandshake] != nil {
		flags |= packHandshake
	}
	if k.long[wire.LevelInitial] != nil {
		flags |= packInitial
	}
	if k.plainSeed != 0 {
		flags |= packSeed
	}
	b = append(b, packVersion, flags)
	for level := wire.Level(0); level < wire.NumLevels; level++ {
		if sp, window := k.space(level); sp != nil {
			b = sp.append(b, window, idle)
		}
	}
	if k.before != nil {
		b = append(b, k.before.secret[:secretLen(k.app.read.suite)]...)
	}
	if k.plainSeed != 0 {
		b = binary.BigEndian.AppendUint32(b, k.plainSeed)
	}
	for _, v := range k.numbers() {
		b = wire.AppendVarint(b, *v)
	}
	b = wire.AppendVarint(b, uint64(k.short))
	b = wire.AppendVarint(b, uint64(k.aheadTries))
	return wire.AppendVarint(b, uint64(k.updates))
}

// numbers are the counts that are packed, in their packed order.
func (k *Keys) numbers() [7]*uint64 {
	return [...]*uint64{
		&k.phaseRead, &k.oldTop, &k.phaseStart, &k.phaseSent,
		&k.opened, &k.duplicates, &k.forged,
	}
}

func (sp *space) append(b []byte, window []uint64, idle bool) []byte {
	b = sp.read.append(b)
	b = sp.write.append(b)
	b = wire.AppendVarint(b, sp.top)
	b = wire.AppendVarint(b, sp.next)
	if idle {
		return b
	}
	for _, w := range window {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}

func (d *direction) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, d.suite)
	b = append(b, d.secret[:secretLen(d.suite)]...)
	return append(b, d.hpKey[:keyLen(d.suite)]...)
}

// Parse unpacks what Append wrote into k, whose former contents are erased,
// and returns the bytes taken, or 0, leaving k empty, when b is no such record.
// Cipher objects are built again when the first packet needs them.
func (k *Keys) Parse(b []byte) (n int) {
	k.Erase()
	p := parser{rest: b}
	k.parse(&p)
	if p.bad {
		k.Erase()
		return 0
	}
	return len(b) - len(p.rest)
}

func (k *Keys) parse(p *parser) {
	head := p.take(2)
	if p.bad || head[0] != packVersion {
		p.bad = true
		return
	}
	flags := head[1]
	if flags&packInitial != 0 {
		k.long[wire.LevelInitial] = new(longSpace)
	}
	if flags&packHandshake != 0 {
		k.long[wire.LevelHandshake] = new(longSpace)
	}
	for level := wire.Level(0); level < wire.NumLevels; level++ {
		if sp, window := k.space(level); sp != nil {
			sp.parse(p, window, flags&packIdle != 0)
			// Both directions have one suite, and plain mode is for 1-RTT only.
			r, w := sp.read.suite, sp.write.suite
			if r != w && r != 0 && w != 0 || level < wire.LevelOneRTT && (sp.read.plain() || sp.write.plain()) {
				p.bad = true
				return
			}
		}
	}
	if flags&packPrevious != 0 {
		k.before = new(epoch)
		copy(k.before.secret[:], p.take(secretLen(k.app.read.suite)))
	}
	if flags&packSeed != 0 {
		if s := p.take(4); s != nil {
			k.plainSeed = binary.BigEndian.Uint32(s)
		}
	}
	for _, v := range k.numbers() {
		*v = p.varint()
	}
	k.short, k.aheadTries, k.updates = uint32(p.varint()), uint32(p.varint()), uint32(p.varint())
}

func (sp *space) parse(p *parser, window []uint64, idle bool) {
	sp.read.parse(p)
	sp.write.parse(p)
	sp.top, sp.next = p.varint(), p.varint()
	if idle {
		fill(window)
		return
	}
	for i := range window {
		if w := p.take(8); w != nil {
			window[i] = binary.BigEndian.Uint64(w)
		}
	}
}

func (d *direction) parse(p *parser) {
	if s := p.take(2); s != nil {
		d.suite = binary.BigEndian.Uint16(s)
	}
	if d.suite != 0 && !Known(d.suite) {
		p.bad = true
		return
	}
	copy(d.secret[:], p.take(secretLen(d.suite)))
	copy(d.hpKey[:], p.take(keyLen(d.suite)))
}

// parser reads a packed record and remembers whether it ran out.
type parser struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes, nil if they are not there.
func (p *parser) take(n int) []byte {
	if p.bad || len(p.rest) < n {
		p.bad = true
		return nil
	}
	out := p.rest[:n]
	p.rest = p.rest[n:]
	return out
}

func (p *parser) varint() uint64 {
	if p.bad {
		return 0
	}
	v, n := wire.Varint(p.rest)
	if n == 0 {
		p.bad = true
		return 0
	}
	p.rest = p.rest[n:]
	return v
}
