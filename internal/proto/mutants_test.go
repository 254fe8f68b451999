//go:build godwitmutant && godwitdebug

package proto

import (
	"fmt"
	"testing"

	"godwit.example/godwit/internal/mutant"
)

// A jury is a testing.TB that remembers the first failure instead of failing, and runs no cleanup of its own.
type jury struct {
	testing.TB
	verdict string
}

func (j *jury) Helper()                           {}
func (j *jury) Cleanup(func())                    {}
func (j *jury) Logf(string, ...any)               {}
func (j *jury) Error(args ...any)                 { j.find(fmt.Sprint(args...)) }
func (j *jury) Errorf(format string, args ...any) { j.find(fmt.Sprintf(format, args...)) }
func (j *jury) Fatal(args ...any)                 { j.find(fmt.Sprint(args...)) }
func (j *jury) Fatalf(format string, args ...any) { j.find(fmt.Sprintf(format, args...)) }

// find ends the history.
func (j *jury) find(what string) {
	j.verdict = what
	panic(j)
}

// judge plays one lossy history with all modes and returns why it failed, or nothing.
func judge(t testing.TB, seed uint64) (verdict string) {
	j := &jury{TB: t}
	defer func() {
		switch r := recover(); {
		case r == nil:
		case r == any(j):
			verdict = j.verdict
		default:
			verdict = fmt.Sprint(r) // the code noticed by itself
		}
	}()
	w := newWorld(j, randomHistory(seed, 900))
	w.play()
	w.heal()
	return ""
}

// maxMutantSeeds is within how many histories each mutant must be found.
const maxMutantSeeds = 200

// TestMutants proves that the histories can fail: each planted fault breaks an invariant or a promise, and without one the same
// histories keep them all.
func TestMutants(t *testing.T) {
	for _, id := range append([]mutant.ID{mutant.None}, mutant.All()...) {
		mutant.Plant(id)
		verdict, seed := "", uint64(0)
		for ; seed < maxMutantSeeds && verdict == ""; seed++ {
			verdict = judge(t, seed)
		}
		mutant.Plant(mutant.None)
		switch {
		case id == mutant.None && verdict != "":
			t.Fatalf("without a mutant, seed %d: %s", seed-1, verdict)
		case id != mutant.None && verdict == "":
			t.Errorf("%v survived %d histories", id, maxMutantSeeds)
		case id != mutant.None:
			t.Logf("%v: killed by seed %d: %.110s", id, seed-1, verdict)
		}
	}
}
