package protect

import "godwit.example/godwit/internal/wire"

// Seal protects the packet that o describes inside buf in place: it sets the
// key phase bit of a 1-RTT packet, encrypts the payload, writes the tag into
// the room left for it and applies header protection.
//
// Sealing without keys, a packet too short for header protection (packet
// number and payload together must have four bytes) and a packet number that is
// not above the last one of its space are programmer errors: the last would
// use a nonce twice.
func (s *Scratch) Seal(k *Keys, buf []byte, o *wire.Outgoing) {
	sp, _ := k.space(o.Level)
	if sp == nil || !sp.write.has() {
		panic("BUG: sealing a packet without keys")
	}
	if o.Number < sp.next {
		panic("BUG: a packet number would be used twice")
	}
	sp.next = o.Number + 1
	if sp.write.plain() {
		s.SealPlain(k, buf, o)
		return
	}
	d := &sp.write
	if !d.ready {
		d.build()
	}
	pkt := buf[o.Off:o.End]
	pnOff, body, end := int(o.PNOff), int(o.PNOff)+int(o.PNLen), len(pkt)-tagLen
	if end-pnOff < sampleSkip {
		panic("BUG: packet too short for header protection")
	}
	masked := byte(wire.ProtectedLong)
	if o.Level == wire.LevelOneRTT {
		masked = wire.ProtectedShort
		pkt[0] = pkt[0]&^wire.KeyPhaseBit | k.phase<<2
		if k.phaseSent == 0 {
			k.phaseStart = o.Number + 1
		}
		k.phaseSent++
	}
	xorNonce(&s.nonce, &d.iv, o.Number)
	d.aead.Seal(pkt[body:body], s.nonce[:], pkt[body:end], pkt[:body])
	s.headerMask(d, pkt[pnOff+sampleSkip:pnOff+sampleSkip+sampleLen])
	pkt[0] ^= s.mask[0] & masked
	for i := range int(o.PNLen) {
		pkt[pnOff+i] ^= s.mask[1+i]
	}
}

// SealTrain seals all packets of a train, which lies in buf.
func (s *Scratch) SealTrain(k *Keys, buf []byte, t *wire.Train) {
	for i := range t.Packets[:t.N] {
		s.Seal(k, buf, &t.Packets[i])
	}
}
