package protect

import "godwit.example/godwit/internal/wire"

// The limits of RFC 9001 §6.6 and §9.5.
const (
	updateAfter    = 1 << 22 // packets in a phase after which an update is due, for every suite
	sealLimitGCM   = 1<<23 - 1<<12
	forgedLimitGCM = 1 << 52
	forgedLimitCha = 1 << 36
	numberLimit    = 1<<62 - 1<<12
)

// Update begins the next key phase on our side (RFC 9001 §6.1): from now on we
// seal with new keys and expect them from the peer. It returns false, and does
// nothing, in plain mode, without 1-RTT keys, and while nothing was sealed in
// the current phase or nothing opened in it: the peer has to follow before
// the next update. The caller asks only after the handshake is confirmed and
// a packet numbered PhaseStart or above was acknowledged.
func (k *Keys) Update() bool {
	if !k.app.read.has() || !k.app.write.has() || k.Plain() || k.phaseSent == 0 || k.phaseRead == 0 {
		return false
	}
	k.advance(k.nextRead())
	k.phaseRead = 0
	return true
}

// PhaseStart returns the first packet number sealed in the current phase;
// false while there is none. The next update has to wait until it, or a
// later one, is acknowledged.
func (k *Keys) PhaseStart() (uint64, bool) {
	return k.phaseStart - 1, k.phaseStart != 0
}

// Phase returns the current key phase bit.
func (k *Keys) Phase() uint8 { return uint8(k.updates & 1) }

// WantsUpdate reports whether a key update is due.
func (k *Keys) WantsUpdate() bool {
	return k.phaseSent >= updateAfter && !k.Plain()
}

// Exhausted reports whether the connection has to close: the current keys have
// protected as many packets, or all keys together have seen as many forgeries,
// as the AEAD allows (RFC 9001 §6.6), less a margin for the closing itself.
func (k *Keys) Exhausted() bool {
	if k.app.next >= numberLimit {
		return true
	}
	switch k.app.write.suite {
	case suiteAES128, suiteAES256:
		return k.phaseSent >= sealLimitGCM || k.forged >= forgedLimitGCM
	case suiteChaCha20:
		return k.forged >= forgedLimitCha
	}
	return false
}

// HasPrevious reports whether read keys of an earlier phase are held that may
// be dropped: the peer has been seen in the current one. From then on they are
// kept for three PTO (RFC 9001 §6.5).
func (k *Keys) HasPrevious() bool { return k.before != nil && k.phaseRead != 0 }

// DropPrevious erases the read keys of the previous phase. It does nothing as
// long as the peer has not followed an update of ours, since its packets still
// need them.
func (k *Keys) DropPrevious() {
	if k.HasPrevious() {
		k.before.erase()
		k.before = nil
	}
}

// nextRead derives the read keys of the next phase; they are kept, so that
// forged packets cost the derivation once.
func (k *Keys) nextRead() *epoch {
	if k.ahead == nil {
		e := new(epoch)
		nextSecret(k.app.read.suite, &e.secret, &k.app.read.secret)
		e.build(k.app.read.suite)
		k.ahead = e
	}
	return k.ahead
}

func (e *epoch) build(suite uint16) {
	e.aead = newAEAD(suite, e.secret[:secretLen(suite)], &e.iv)
}

// nextSecret is the step of RFC 9001 §6.1.
func nextSecret(suite uint16, dst, src *[maxSecret]byte) {
	n := secretLen(suite)
	s := expandLabel(suite, src[:n], "quic ku", n)
	copy(dst[:], s)
	clear(s)
}

// advance makes next the current read keys, keeps the current ones as previous
// and moves the write keys along.
func (k *Keys) advance(next *epoch) {
	r, w := &k.app.read, &k.app.write
	if k.before == nil {
		k.before = new(epoch)
	}
	*k.before = epoch{aead: r.aead, secret: r.secret, iv: r.iv}
	r.aead, r.secret, r.iv = next.aead, next.secret, next.iv
	k.ahead.erase()
	k.ahead = nil
	nextSecret(w.suite, &w.secret, &w.secret)
	w.ready, w.aead = false, nil // the header protection object stays
	k.oldTop = k.app.top
	k.phaseStart, k.phaseSent = 0, 0
	k.updates++
}

// openOtherPhase opens a 1-RTT packet whose key phase bit is not the current
// one. Its number tells whether it is late or early: at or above the lowest number
// of this phase it can only belong to the next.
func (s *Scratch) openOtherPhase(k *Keys, pkt []byte, body int, number uint64, out *wire.Packet) Result {
	var e *epoch
	late := k.phaseRead == 0 || number < k.phaseRead-1
	switch {
	case !late:
		k.aheadTries++
		e = k.nextRead()
	case k.before != nil:
		e = k.before
		if e.aead == nil {
			e.build(k.app.read.suite)
		}
	case k.phaseRead == 0 && k.updates == 0:
		// Nothing was opened in the first phase, so this is the next one.
		k.aheadTries++
		late, e = false, k.nextRead()
	default:
		k.forged++ // the keys of its phase are gone
		return OpenFailed
	}
	if !s.openWith(k, e, pkt, body, number) {
		return OpenFailed
	}
	first := pkt[0]
	payload := pkt[body : len(pkt)-tagLen]
	if late {
		k.oldTop = max(k.oldTop, number+1)
	} else {
		// The peer has begun a phase. After its first update it may do so only
		// once we acknowledged the current one, in a packet of the current
		// one, and its numbers never run backwards (RFC 9001 §6.1, §6.4).
		if k.phaseSent == 0 && k.updates > 0 || number < k.app.top {
			return OpenKeyUpdate
		}
		k.advance(e)
		k.phaseRead = number + 1
	}
	k.app.top = mark(k.window[:], k.app.top, number)
	return k.accept(out, wire.LevelOneRTT, first, number, payload)
}

func (s *Scratch) openWith(k *Keys, e *epoch, pkt []byte, body int, number uint64) bool {
	xorNonce(&s.nonce, &e.iv, number)
	if _, err := e.aead.Open(pkt[body:body], s.nonce[:], pkt[body:], pkt[:body]); err != nil {
		k.forged++
		return false
	}
	return true
}
