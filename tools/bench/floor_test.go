package main

import (
	"testing"
	"time"
)

func TestFloorIsTheTimeThatCPUsAreAway(t *testing.T) {
	const ms = int64(time.Millisecond)
	whole := func(gaps ...gap) watched { return watched{Gaps: gaps, From: 0, To: 1000 * ms} }
	for name, c := range map[string]struct {
		client, server watched
		want           float64
	}{
		"nothing is away":    {whole(), whole(), 0},
		"0.5 % is away":      {whole(gap{100 * ms, 105 * ms}), whole(), 0},
		"the client's CPU":   {whole(gap{100 * ms, 120 * ms}), whole(), 10_000},
		"the server's CPU":   {whole(), whole(gap{100 * ms, 120 * ms}), 10_000},
		"one after another":  {whole(gap{100 * ms, 110 * ms}), whole(gap{110 * ms, 120 * ms}), 10_000},
		"both at once":       {whole(gap{100 * ms, 120 * ms}), whole(gap{100 * ms, 120 * ms}), 10_000},
		"away on the return": {whole(gap{110 * ms, 120 * ms}), whole(gap{100 * ms, 110 * ms}), 10_000},
	} {
		if got := floorOf(c.client, c.server); got < c.want-100 || got > c.want+100 {
			t.Errorf("%s: %v µs, want %v", name, got, c.want)
		}
	}
	if got := floorOf(watched{}, watched{}); got != 0 {
		t.Errorf("nothing watched: %v", got)
	}
}

func TestGapsAreNotedInOrder(t *testing.T) {
	start := time.Now()
	w := watch(50 * time.Millisecond)
	if d := time.Since(start); d < 50*time.Millisecond || w.To-w.From != int64(50*time.Millisecond) {
		t.Errorf("it took %v; from %d to %d", d, w.From, w.To)
	}
	last := w.From
	for _, g := range w.Gaps {
		if g.From < last || g.To-g.From < int64(leastGap) {
			t.Fatalf("%v after %v", g, last)
		}
		last = g.To
	}
}
