package protect

import (
	"encoding/binary"

	"godwit.example/godwit/internal/wire"
)

// Result says what became of a received packet.
type Result uint8

// The results of Open. Only OpenOK, OpenReserved and OpenKeyUpdate speak of an
// authenticated packet; the last two are the peer's fault and close the
// connection. All others mean: drop the packet.
const (
	OpenOK        Result = iota
	OpenNoKeys           // no read keys at this level; the packet's bytes are untouched and may be kept for later
	OpenDuplicate        // its number was seen before or lies below the replay window
	OpenFailed           // too short or not authentic
	OpenReserved         // reserved bits set: PROTOCOL_VIOLATION (RFC 9000 §17.2, §17.3.1)
	OpenKeyUpdate        // key phases out of order: KEY_UPDATE_ERROR (RFC 9001 §6)
)

// String names the result for traces and tests.
func (r Result) String() string {
	names := [...]string{"ok", "no keys", "duplicate", "failed", "reserved bits", "key update error"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// Scratch holds what a shard passes through cipher interfaces: as locals these
// bytes would escape, one allocation a packet each. The zero value is ready
// for use; one goroutine uses it.
type Scratch struct {
	nonce [ivLen]byte
	mask  [sampleLen]byte
}

// Open authenticates and decrypts the packet pkt in place. pkt holds exactly
// one packet and pnOff is the offset of its packet number, both as the header
// parser found them. On success out has Level, Number, Payload, KeyPhase and
// Reserved set and the packet's number is in the replay window; the fields that
// describe the datagram are the caller's.
//
// Exactly one AEAD operation is spent on a packet, after the replay check. A
// packet that was refused has undefined contents but for its last 16 bytes. A
// stateless reset is refused as OpenFailed or, by chance, as OpenDuplicate, so its
// token has to be looked for after either.
func (s *Scratch) Open(k *Keys, pkt []byte, pnOff int, level wire.Level, out *wire.Packet) Result {
	sp, window := k.space(level)
	if sp == nil || !sp.read.has() {
		return OpenNoKeys
	}
	if sp.read.plain() {
		return s.openPlain(k, pkt, pnOff, out)
	}
	if pnOff < 1 || len(pkt) < pnOff+sampleSkip+sampleLen {
		k.short++
		return OpenFailed
	}
	d := &sp.read
	if !d.ready {
		d.build()
	}
	first, number, pnLen := s.unmask(d, pkt, pnOff, sp.top)
	if seen(window, sp.top, number) {
		k.duplicates++
		return OpenDuplicate
	}
	if level == wire.LevelOneRTT && first&wire.KeyPhaseBit>>2 != k.Phase() {
		return s.openOtherPhase(k, pkt, pnOff+pnLen, number, out)
	}
	xorNonce(&s.nonce, &d.iv, number)
	body := pnOff + pnLen
	payload, err := d.aead.Open(pkt[body:body], s.nonce[:], pkt[body:], pkt[:body])
	if err != nil {
		k.forged++
		return OpenFailed
	}
	if level == wire.LevelOneRTT {
		if number < k.oldTop {
			// A number that an older phase already passed (RFC 9001 §6.4).
			return OpenKeyUpdate
		}
		if k.phaseRead == 0 || number < k.phaseRead-1 {
			k.phaseRead = number + 1
		}
	}
	sp.top = mark(window, sp.top, number)
	return k.accept(out, level, first, number, payload)
}

// accept fills out for a packet that is authentic.
func (k *Keys) accept(out *wire.Packet, level wire.Level, first byte, number uint64, payload []byte) Result {
	k.opened++
	out.Level, out.Number, out.Payload = level, number, payload
	out.KeyPhase = 0
	reserved := byte(wire.ReservedLongBits)
	if !wire.IsLong(first) {
		out.KeyPhase = first & wire.KeyPhaseBit >> 2
		reserved = wire.ReservedShortBits
	}
	out.Reserved = first&reserved != 0
	if out.Reserved {
		return OpenReserved
	}
	return OpenOK
}

// unmask removes header protection in place (RFC 9001 §5.4.1) and decodes the
// packet number against the largest one opened.
func (s *Scratch) unmask(d *direction, pkt []byte, pnOff int, top uint64) (first byte, number uint64, pnLen int) {
	s.headerMask(d, pkt[pnOff+sampleSkip:pnOff+sampleSkip+sampleLen])
	first = pkt[0]
	if wire.IsLong(first) {
		first ^= s.mask[0] & wire.ProtectedLong
	} else {
		first ^= s.mask[0] & wire.ProtectedShort
	}
	pkt[0] = first
	pnLen = int(first&wire.PNLenBits) + 1
	var truncated uint64
	for i := range pnLen {
		b := pkt[pnOff+i] ^ s.mask[1+i]
		pkt[pnOff+i] = b
		truncated = truncated<<8 | uint64(b)
	}
	return first, wire.DecodePN(truncated, pnLen, int64(top)-1), pnLen
}

// headerMask computes the mask of a sample into s.mask.
func (s *Scratch) headerMask(d *direction, sample []byte) {
	if d.header != nil {
		d.header.Encrypt(s.mask[:], sample)
		return
	}
	chachaMask(&s.mask, &d.hpKey, sample)
}

// xorNonce makes the nonce of a packet: the IV with the packet number in its
// low bytes (RFC 9001 §5.3).
func xorNonce(nonce, iv *[ivLen]byte, number uint64) {
	binary.BigEndian.PutUint32(nonce[:4], binary.BigEndian.Uint32(iv[:4]))
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(iv[4:])^number)
}
