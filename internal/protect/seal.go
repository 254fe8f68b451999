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
	if d := s.encrypt(k, buf, o); d != nil {
		s.protectHeader(d, buf, o)
	}
}

// SealTrain seals all packets of a train, which lies in buf. Header protection
// comes in a second pass: right behind the encryption its sample would be read
// out of stores that are still under way.
func (s *Scratch) SealTrain(k *Keys, buf []byte, t *wire.Train) {
	var directions [wire.MaxTrainPackets]*direction
	packets := t.Packets[:t.N]
	for i := range packets {
		directions[i] = s.encrypt(k, buf, &packets[i])
	}
	for i := range packets {
		if d := directions[i]; d != nil {
			s.protectHeader(d, buf, &packets[i])
		}
	}
}

// encrypt does all of Seal but header protection, for which it returns the
// keys: nil in plain mode.
func (s *Scratch) encrypt(k *Keys, buf []byte, o *wire.Outgoing) *direction {
	sp, _ := k.space(o.Level)
	if sp == nil || !sp.write.has() {
		panic("BUG: sealing a packet without keys")
	}
	if o.Number < sp.next {
		panic("BUG: a packet number would be used twice")
	}
	sp.next = o.Number + 1
	d := &sp.write
	if d.plain() {
		s.sealPlain(k, buf, o)
		return nil
	}
	if !d.ready {
		d.build()
	}
	pkt := buf[o.Off:o.End]
	body, end := int(o.PNOff)+int(o.PNLen), len(pkt)-tagLen
	if end-int(o.PNOff) < sampleSkip {
		panic("BUG: packet too short for header protection")
	}
	if o.Level == wire.LevelOneRTT {
		pkt[0] = pkt[0]&^wire.KeyPhaseBit | k.Phase()<<2
		if k.phaseSent == 0 {
			k.phaseStart = o.Number + 1
		}
		k.phaseSent++
	}
	xorNonce(&s.nonce, &d.iv, o.Number)
	d.aead.Seal(pkt[body:body], s.nonce[:], pkt[body:end], pkt[:body])
	return d
}

// protectHeader applies header protection (RFC 9001 §5.4.1).
func (s *Scratch) protectHeader(d *direction, buf []byte, o *wire.Outgoing) {
	pkt := buf[o.Off:o.End]
	pnOff := int(o.PNOff)
	s.headerMask(d, pkt[pnOff+sampleSkip:pnOff+sampleSkip+sampleLen])
	masked := byte(wire.ProtectedShort)
	if wire.IsLong(pkt[0]) {
		masked = wire.ProtectedLong
	}
	pkt[0] ^= s.mask[0] & masked
	for i := range int(o.PNLen) {
		pkt[pnOff+i] ^= s.mask[1+i]
	}
}
