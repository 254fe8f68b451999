package congestion

import (
	"encoding/binary"

	"godwit.example/godwit/internal/mono"
)

// The packed form is a run of varints. Instants are stored as their distance
// from a reference the caller names, because the process that unpacks may have
// a clock of another origin; zero, which means "not yet", keeps its meaning.

func appendTime(b []byte, t, ref mono.Time) []byte {
	if t == 0 {
		return append(b, 0)
	}
	d := int64(t - ref)
	return binary.AppendUvarint(b, uint64(d<<1^d>>63)+1)
}

func appendInt[T ~int64 | ~int32 | ~uint16 | ~uint8](b []byte, v T) []byte {
	return binary.AppendUvarint(b, uint64(v))
}

// unpacker reads what the append functions wrote. Once bad it stays bad and
// returns zeros, so that a parser checks once, at its end.
type unpacker struct {
	b   []byte
	n   int
	bad bool
}

// limited reads a varint and rejects one above limit.
func (u *unpacker) limited(limit uint64) uint64 {
	v, n := binary.Uvarint(u.b[u.n:])
	if u.bad || n <= 0 || v > limit {
		u.bad = true
		return 0
	}
	u.n += n
	return v
}

func (u *unpacker) duration() mono.Duration {
	return mono.Duration(u.limited(uint64(mono.MaxDuration) / 16))
}

func (u *unpacker) bytes() int64 { return int64(u.limited(1 << 48)) }

func (u *unpacker) time(ref mono.Time) mono.Time {
	v := u.limited(1 << 63)
	if v == 0 {
		return 0
	}
	v--
	d := int64(v>>1) ^ -int64(v&1)
	// An instant below 1 would read as "not yet"; the oldest one it can be
	// is as good, since everything is later.
	return max(ref+mono.Time(d), 1)
}

// done returns the number of bytes read, or 0 if any of them was malformed.
func (u *unpacker) done() int {
	if u.bad {
		return 0
	}
	return u.n
}

// Append appends the estimator's packed form to b. Instants are stored
// relative to ref.
func (r *RTT) Append(b []byte, ref mono.Time) []byte {
	b = appendBool(b, r.sampled)
	b = appendInt(b, int64(r.Latest))
	b = appendInt(b, int64(r.Min))
	b = appendInt(b, int64(r.Smoothed))
	b = appendInt(b, int64(r.Var))
	b = appendInt(b, int64(r.adjusted))
	b = appendTime(b, r.halfStart, ref)
	b = appendInt(b, int64(r.halfMin))
	return appendInt(b, int64(r.prevMin))
}

// Parse restores what Append wrote, where ref is the instant that the
// reference given to Append has on the new clock. It returns the number of
// bytes read, or 0 and an unchanged estimator if b is malformed.
func (r *RTT) Parse(b []byte, ref mono.Time) int {
	u := unpacker{b: b}
	v := RTT{
		sampled:  u.limited(1) == 1,
		Latest:   u.duration(),
		Min:      u.duration(),
		Smoothed: u.duration(),
		Var:      u.duration(),
		adjusted: u.duration(),
	}
	v.halfStart = u.time(ref)
	v.halfMin = u.duration()
	v.prevMin = u.duration()
	n := u.done()
	if n > 0 {
		*r = v
	}
	return n
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// Append appends the controller's packed form to b. Instants are stored
// relative to ref.
func (c *Controller) Append(b []byte, ref mono.Time) []byte {
	b = append(b, byte(c.kind), byte(c.state))
	b = appendInt(b, c.maxDatagram)
	b = appendInt(b, c.window)
	b = appendInt(b, c.ssthresh)
	b = appendInt(b, c.credit)
	b = appendTime(b, c.recoveryStart, ref)
	b = appendInt(b, c.rate)
	if c.kind != Adaptive {
		return b
	}
	return c.adaptive.append(b, ref)
}

func (a *adaptive) append(b []byte, ref mono.Time) []byte {
	b = appendInt(b, a.maxWindow)
	b = appendTime(b, a.roundStart, ref)
	b = appendInt(b, a.roundAcked)
	b = appendInt(b, int64(a.blockMin))
	b = appendInt(b, a.probeBase)
	for i := range a.acked {
		b = appendInt(b, a.acked[i])
		b = appendInt(b, a.lost[i])
		b = appendInt(b, a.best[i])
	}
	b = appendTime(b, a.halfStart, ref)
	b = appendInt(b, a.rounds)
	b = appendInt(b, a.probeInterval)
	b = appendInt(b, a.halfRounds)
	b = appendInt(b, a.bestRounds)
	b = appendInt(b, a.blockSize)
	b = appendBool(b, a.roundUsed)
	return appendBool(b, a.delayGrown)
}

// Parse restores what Append wrote, where ref is the instant that the
// reference given to Append has on the new clock. It returns the number of
// bytes read, or 0 and an unchanged controller if b is malformed or describes
// a state that no controller reaches.
func (c *Controller) Parse(b []byte, ref mono.Time) int {
	u := unpacker{b: b}
	v := Controller{
		kind:          Kind(u.limited(uint64(numKinds) - 1)),
		state:         State(u.limited(uint64(numStates) - 1)),
		maxDatagram:   int32(u.limited(1 << 16)),
		window:        u.bytes(),
		ssthresh:      u.bytes(),
		credit:        u.bytes(),
		recoveryStart: u.time(ref),
		rate:          u.bytes(),
	}
	if v.kind == Adaptive {
		v.adaptive.parse(&u, ref)
	}
	n := u.done()
	if n == 0 || v.maxDatagram == 0 || v.window < v.minWindow() || v.window > v.maxWindow() || v.maxWindow() > maxWindowBytes {
		return 0
	}
	*c = v
	return n
}

func (a *adaptive) parse(u *unpacker, ref mono.Time) {
	a.maxWindow = u.bytes()
	a.roundStart = u.time(ref)
	a.roundAcked = u.bytes()
	a.blockMin = u.duration()
	a.probeBase = u.bytes()
	for i := range a.acked {
		a.acked[i] = u.bytes()
		a.lost[i] = u.bytes()
		a.best[i] = u.bytes()
	}
	a.halfStart = u.time(ref)
	a.rounds = uint16(u.limited(1 << 15))
	a.probeInterval = uint16(u.limited(lastProbeInterval))
	a.halfRounds = uint8(u.limited(lossHalfRounds))
	a.bestRounds = uint8(u.limited(rateHalfRounds))
	a.blockSize = uint8(u.limited(blockSamples))
	a.roundUsed = u.limited(1) == 1
	a.delayGrown = u.limited(1) == 1
}

// Append appends the pacer's packed form to b. Instants are stored relative
// to ref.
func (p *Pacer) Append(b []byte, ref mono.Time) []byte {
	b = appendInt(b, p.level)
	b = appendTime(b, p.last, ref)
	b = appendInt(b, p.maxDatagram)
	return appendBool(b, p.off)
}

// Parse restores what Append wrote, where ref is the instant that the
// reference given to Append has on the new clock. It returns the number of
// bytes read, or 0 and an unchanged pacer if b is malformed.
func (p *Pacer) Parse(b []byte, ref mono.Time) int {
	u := unpacker{b: b}
	v := Pacer{level: u.bytes(), last: u.time(ref), maxDatagram: int32(u.limited(1 << 16)), off: u.limited(1) == 1}
	n := u.done()
	if n > 0 {
		*p = v
	}
	return n
}
