package congestion

import (
	"math/bits"

	"godwit.example/godwit/internal/mono"
)

const (
	burstDatagrams = 16
	burstTime      = mono.Millisecond

	// unpaced is what Ready returns when no rate applies: more than any train.
	unpaced = 1 << 30

	defaultMaxDatagram = 1200
)

// Pacer spreads a window over its round trip (RFC 9002 §7.7). It is a leaky
// bucket of 16 datagrams or 1 ms of the rate, whichever is more: so much may
// leave at once after a pause. The zero value is an empty bucket for datagrams
// of 1,200 bytes.
//
// It is asked once per train. The rate is an argument of every call, as
// Controller.PacingRate returns it, in bytes a second; zero means unlimited,
// and then the pacer neither counts nor delays.
type Pacer struct {
	level       int64     // bytes in the bucket
	last        mono.Time // when level was true
	maxDatagram int32
	off         bool // no rate applied when last asked
}

// NewPacer returns a pacer for datagrams of up to maxDatagram bytes.
func NewPacer(maxDatagram int) Pacer { return Pacer{maxDatagram: int32(maxDatagram)} }

// SetMaxDatagram changes the size of a datagram, and with it the burst.
func (p *Pacer) SetMaxDatagram(n int) { p.maxDatagram = int32(n) }

// Ready returns how many bytes may leave now; zero or less means that the
// train must wait until Next. A train may be longer than what is ready by less
// than one datagram; the excess is paid back before the next one.
func (p *Pacer) Ready(now mono.Time, rate int64) int {
	p.off = rate <= 0
	if p.off {
		p.level = 0
		return unpaced
	}
	p.leak(now, rate)
	return int(min(p.burst(rate)-p.level, unpaced))
}

// Sent notes that bytes left at now.
func (p *Pacer) Sent(now mono.Time, bytes int) {
	if p.off {
		return
	}
	if p.level == 0 {
		p.last = now
	}
	p.level += int64(bytes)
}

// Next returns the earliest time at which bytes may leave; a time not after
// now means at once. More than a burst is granted as soon as a burst would be.
func (p *Pacer) Next(now mono.Time, bytes int, rate int64) mono.Time {
	if rate <= 0 {
		return now
	}
	p.leak(now, rate)
	burst := p.burst(rate)
	excess := p.level + min(int64(bytes), burst) - burst
	if excess <= 0 {
		return now
	}
	// Rounded up: a timer that fires a nanosecond early finds the bucket
	// still too full and would have to be set again.
	return p.last.Add(mono.Duration(mulDiv(excess, int64(mono.Second), rate) + 1))
}

// leak lets the bucket run out at rate up to now. The instant kept is the one
// at which the last whole byte left, so that frequent calls lose no fraction.
func (p *Pacer) leak(now mono.Time, rate int64) {
	elapsed := int64(now - p.last)
	if elapsed <= 0 || p.level == 0 {
		return
	}
	out := mulDiv(elapsed, rate, int64(mono.Second))
	switch {
	case out >= p.level:
		p.level, p.last = 0, now
	case out > 0:
		p.level -= out
		p.last += mono.Time(mulDiv(out, int64(mono.Second), rate))
	}
}

func (p *Pacer) burst(rate int64) int64 {
	size := int64(p.maxDatagram)
	if size == 0 {
		size = defaultMaxDatagram
	}
	return max(burstDatagrams*size, rate/int64(mono.Second/burstTime))
}

// mulDiv returns a·b/c for values that are not negative, saturating instead of
// overflowing.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return 1<<63 - 1
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(q, 1<<63-1))
}
