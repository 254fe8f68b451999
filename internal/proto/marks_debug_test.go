//go:build godwitdebug

package proto

import (
	"strings"
	"testing"

	"godwit.example/godwit/internal/mark"
)

// TestHistoriesReachEveryRarePath proves, in builds that count them, that the paths that traffic rarely takes are taken here.
func TestHistoriesReachEveryRarePath(t *testing.T) {
	before := make([]uint64, len(mark.Names))
	for id := range before {
		before[id] = mark.Count(mark.ID(id))
	}
	for seed := range uint64(100) {
		w := newWorld(t, randomHistory(seed, 900))
		w.play()
		w.heal()
	}
	histories := make([]uint64, len(mark.Names))
	for id := range histories {
		histories[id] = mark.Count(mark.ID(id)) - before[id]
	}
	for _, story := range rareStories {
		story(t)
	}
	for id, name := range mark.Names {
		if n := mark.Count(mark.ID(id)) - before[id]; strings.HasPrefix(name, "proto: ") {
			t.Logf("%6d in histories, %6d in all: %s", histories[id], n, name)
			if n == 0 {
				t.Errorf("%s: never", name)
			}
		}
	}
}
