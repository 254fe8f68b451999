package protect

import (
	"encoding/binary"
	"hash/crc32"

	"godwit.example/godwit/internal/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC32C of b, begun at seed as if seed were the checksum of
// something before it.
func checksum(seed uint32, b []byte) uint32 { return crc32.Update(seed, castagnoli, b) }

// openPlain is Open for a 1-RTT packet in plain mode: the last four bytes are
// the checksum of all others, the packet number is clear.
func (s *Scratch) openPlain(k *Keys, pkt []byte, pnOff int, out *wire.Packet) Result {
	sp := &k.app
	if pnOff < 1 || len(pkt) < pnOff+1+plainTagLen {
		k.short++
		return OpenFailed
	}
	first := pkt[0]
	pnLen := int(first&wire.PNLenBits) + 1
	body, end := pnOff+pnLen, len(pkt)-plainTagLen
	if end < body {
		k.short++
		return OpenFailed
	}
	number := wire.DecodePN(wire.TruncatedPN(pkt[pnOff:body], pnLen), pnLen, int64(sp.top)-1)
	if seen(k.window[:], sp.top, number) {
		k.duplicates++
		return OpenDuplicate
	}
	if checksum(k.plainSeed, pkt[:end]) != binary.LittleEndian.Uint32(pkt[end:]) {
		k.forged++
		return OpenFailed
	}
	sp.top = mark(k.window[:], sp.top, number)
	return k.accept(out, wire.LevelOneRTT, first, number, pkt[body:end])
}

// sealPlain writes the checksum of a 1-RTT packet in plain mode.
func (s *Scratch) sealPlain(k *Keys, buf []byte, o *wire.Outgoing) {
	pkt := buf[o.Off:o.End]
	end := len(pkt) - plainTagLen
	k.phaseSent++
	binary.LittleEndian.PutUint32(pkt[end:], checksum(k.plainSeed, pkt[:end]))
}
