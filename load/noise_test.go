package load

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestNoiseIsWhatOthersTake(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("this system does not tell what the machine's CPUs did, and runs say that it is unknown: ", err)
	}
	// The same busy time is this process's own or, if nobody says so, another's.
	own, other := StartNoise(0), StartNoise()
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; {
	}
	mine, foreign := own(), other()
	if mine.Other == nil || foreign.Other == nil || mine.Stolen == nil {
		t.Fatalf("not known: %+v, %+v", mine, foreign)
	}
	if *foreign.Other <= *mine.Other {
		t.Errorf("other programs used %v without this one and %v with it", *mine.Other, *foreign.Other)
	}
	if n := StartNoise(1 << 30)(); n.Other != nil {
		t.Errorf("a process that is gone left %v for others", *n.Other)
	}
}

func TestNoiseAboveTheBoundIsNamed(t *testing.T) {
	if why := (Noise{}).Reasons(); why != nil {
		t.Errorf("nothing known: %q", why)
	}
	if why := (Noise{Other: ptr(0.08), Stolen: ptr(0.08)}).Reasons(); why != nil {
		t.Errorf("at the bound: %q", why)
	}
	why := Noise{Other: ptr(0.09), Stolen: ptr(0.1)}.Reasons()
	if len(why) != 2 || !strings.Contains(why[0], "programs used 9.0 %") || !strings.Contains(why[1], "hypervisor kept 10.0 %") {
		t.Errorf("above it: %q", why)
	}
}
