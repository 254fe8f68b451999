//go:build godwitmutant

package proto

import (
	"fmt"
	"testing"

	"godwit.example/godwit/internal/mutant"
)

// A witness is a testing.TB that notes a failure instead of failing.
type witness struct {
	testing.TB
	saw string
}

func (w *witness) Fatalf(format string, args ...any) {
	w.saw = fmt.Sprintf(format, args...)
	panic(w)
}

func (w *witness) Logf(string, ...any) {}

// TestEveryMutantOfChannelsIsKilled proves that the pipe is able to fail.
func TestEveryMutantOfChannelsIsKilled(t *testing.T) {
	for _, id := range []mutant.ID{
		mutant.NoSkip, mutant.CreditLeak, mutant.LossForgotten, mutant.DuplicatePassed, mutant.OrderBroken, mutant.StaleLatest,
		mutant.ChunkLeak, mutant.FragmentShifted,
	} {
		mutant.Plant(id)
		killed := ""
		for seed := uint64(0); seed < 40 && killed == ""; seed++ {
			killed = attempt(t, seed)
		}
		mutant.Plant(mutant.None)
		if killed == "" {
			t.Errorf("%v survived", id)
		}
		t.Logf("%v: %.100s", id, killed)
	}
}

func attempt(t *testing.T, seed uint64) (saw string) {
	w := &witness{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(w) {
			saw = fmt.Sprint(r) // the code noticed by itself
		} else {
			saw = w.saw
		}
	}()
	promisePipe(w, seed).run(400)
	return ""
}
