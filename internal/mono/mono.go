// Package mono is the clock type of godwit: a monotonic instant in
// nanoseconds, small enough to be copied everywhere and packed into bytes.
//
// Below the public face no other clock type exists. Rooms that must be
// deterministic take a Time as an argument; only the engine and the tools
// that drive it call Now.
package mono

import (
	"math"
	"time"
)

// Time is an instant in nanoseconds since an arbitrary start. Instants are
// never negative; zero lies before every instant that Now returns, so it may
// stand for "not yet". Compare with the ordinary operators or with min and max.
type Time int64

// Never is later than every instant: the deadline of a timer that is not set.
const Never Time = math.MaxInt64

// Duration is time.Duration under a name that pure rooms may import.
type Duration = time.Duration

// The units of Duration.
const (
	Nanosecond  Duration = 1
	Microsecond          = 1000 * Nanosecond
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
)

// MaxDuration is the longest Duration: the distance to Never.
const MaxDuration Duration = math.MaxInt64

// lead is how far the process's first instant lies from zero. Subtracting a
// round trip from an early instant must not go below zero, and zero itself
// must remain free to mean "not yet".
const lead = time.Hour

var start = time.Now()

// Now reads the monotonic clock.
func Now() Time { return Time(time.Since(start) + lead) }

// Add returns t+d, saturating at Never; Never plus anything is Never.
func (t Time) Add(d Duration) Time {
	sum := t + Time(d)
	if t == Never || d > 0 && sum < t {
		return Never
	}
	return sum
}

// Sub returns t-u. The distance from any instant to Never is at least as long
// as the distance to any other instant.
func (t Time) Sub(u Time) Duration { return Duration(t - u) }

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t > u }

// IsZero reports whether t is the zero Time, which no clock returns.
func (t Time) IsZero() bool { return t == 0 }

// String formats t as a duration since the clock's start.
func (t Time) String() string {
	if t == Never {
		return "never"
	}
	return Duration(t).String()
}
