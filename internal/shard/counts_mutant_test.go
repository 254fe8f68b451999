//go:build godwitmutant && godwitdebug

package shard

import (
	"slices"
	"testing"

	"godwit.example/godwit/internal/mutant"
)

// costOf says by which count each mutant has to be noticed, and in which phase.
var costOf = map[mutant.ID]struct{ phase, count string }{
	mutant.EagerAcks:      {"group", "client acks"},
	mutant.LoneMessages:   {"W3", "server bytes out"},
	mutant.LonePackets:    {"W4", "client trains out"},
	mutant.CopiedTwice:    {"W3", "server bytes copied"},
	mutant.EagerWrites:    {"W3", "server writes"},
	mutant.ReadsOn:        {"W1", "server reads of nothing"},
	mutant.TimersReset:    {"group", "client timers set"},
	mutant.ClockEachEntry: {"W3", "server clock readings"},
	mutant.WakesAlways:    {"W3", "server wakes"},
	mutant.Garbage:        {"W3", allocations},
}

// TestCostMutants proves that the counts can fail: what wastes time is noticed, by more of what it wastes.
func TestCostMutants(t *testing.T) {
	for _, id := range mutant.Costs() {
		cost := costOf[id]
		i := slices.IndexFunc(phases, func(p phase) bool { return p.name == cost.phase })
		if i < 0 {
			t.Errorf("nobody says what %v costs", id)
			continue
		}
		without := phases[i].count(t)
		mutant.Plant(id)
		with := phases[i].count(t)
		mutant.Plant(mutant.None)
		if with[cost.count] <= without[cost.count] {
			t.Errorf("%v survived: %s of %s: %d -> %d", id, cost.count, cost.phase, without[cost.count], with[cost.count])
			continue
		}
		t.Logf("%v: %s: %s: %d -> %d", id, cost.phase, cost.count, without[cost.count], with[cost.count])
	}
}
