package mono

import (
	"math"
	"testing"
)

func TestAddSaturatesAtNever(t *testing.T) {
	for _, c := range []struct {
		at   Time
		d    Duration
		want Time
	}{
		{0, 5, 5},
		{10, -4, 6},
		{Never - 1, 1, Never},
		{Never - 1, 2, Never},
		{5, MaxDuration, Never},
		{Never, Second, Never},
		{Never, -Second, Never},
		{Never, 0, Never},
	} {
		if got := c.at.Add(c.d); got != c.want {
			t.Errorf("%d.Add(%d) = %d, want %d", c.at, c.d, got, c.want)
		}
	}
}

func TestOrderAndDistance(t *testing.T) {
	a, b := Time(100), Time(350)
	if !a.Before(b) || b.Before(a) || a.Before(a) {
		t.Error("Before does not order 100 and 350")
	}
	if !b.After(a) || a.After(b) || a.After(a) {
		t.Error("After does not order 100 and 350")
	}
	if d := b.Sub(a); d != 250 {
		t.Errorf("350-100 = %d", d)
	}
	if d := Never.Sub(0); d != math.MaxInt64 {
		t.Errorf("distance from zero to Never = %d", d)
	}
}

func TestNowRunsForwardsAndIsNeverZero(t *testing.T) {
	last := Now()
	if last.IsZero() || last.Add(-Minute) <= 0 {
		t.Fatalf("the first instant %v leaves no room below it", last)
	}
	for range 1000 {
		now := Now()
		if now < last {
			t.Fatalf("the clock ran backwards from %d to %d", last, now)
		}
		last = now
	}
}

func TestUnitsAreThoseOfTheStandardLibrary(t *testing.T) {
	if got := (2*Minute + 3*Second + 4*Millisecond + 5*Microsecond + 6*Nanosecond).String(); got != "2m3.004005006s" {
		t.Errorf("units add up to %s", got)
	}
	if got := Time(1500 * Millisecond).String(); got != "1.5s" {
		t.Errorf("Time formats as %s", got)
	}
	if got := Never.String(); got != "never" {
		t.Errorf("Never formats as %s", got)
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}
