//go:build !godwitdebug

package proto

import (
	"testing"
)

func TestChannelsAllocateNothingOnTheSteadyPath(t *testing.T) {
	for _, c := range []struct {
		name    string
		channel uint16
		size    int
		burst   int
		lost    int
	}{
		{"ordered", 0, 64, 64, 0},
		{"one at a time", 0, 64, 1, 0},
		{"unordered", 1, 64, 64, 0},
		{"latest", 2, 64, 64, 0},
		{"sequenced", 3, 64, 64, 0},
		{"unreliable", 4, 64, 64, 0},
		{"fragments", 0, 20_000, 3, 0},
		{"unordered fragments", 1, 5000, 6, 0},
		{"latest fragments", 2, 5000, 6, 0},
		{"sequenced fragments", 3, 5000, 6, 0},
		{"unreliable fragments", 4, 5000, 6, 0},
		{"ordered, 1 % lost", 0, 64, 64, 100},
		{"unordered, 1 % lost", 1, 64, 64, 100},
		{"latest, 1 % lost", 2, 64, 64, 100},
		{"sequenced, 1 % lost", 3, 64, 64, 100},
		{"unreliable, 1 % lost", 4, 64, 64, 100},
		{"fragments, 1 % lost", 0, 20_000, 3, 100},
		{"unordered fragments, 1 % lost", 1, 5000, 6, 100},
		{"sequenced fragments, 1 % lost", 3, 5000, 6, 100},
		{"latest fragments, 1 % lost", 2, 5000, 6, 100},
		{"unreliable fragments, 1 % lost", 4, 5000, 6, 100},
	} {
		l := newLane(laneConfig())
		l.lost = c.lost
		round := func() {
			for i := range c.burst {
				if r := l.queue(c.channel, uint64(i), c.size); r != SendOK {
					t.Fatalf("%s: send answered %d", c.name, r)
				}
			}
			l.cross()
			if l.from.loose.n+l.to.loose.n > 0 { // unreliable messages that will never be complete
				l.now = l.now.Add(looseTimeout)
				l.to.handleTimeout(l.now)
			}
		}
		for range 2000 {
			round()
		}
		if n := testing.AllocsPerRun(500, round); n != 0 {
			t.Errorf("%s: %v allocations a round", c.name, n)
		}
		if l.delivered == 0 {
			t.Errorf("%s: nothing was delivered", c.name)
		}
		l.fsh.Chunks.Release(l.chunk)
		l.from.release()
		l.to.release()
		if n := l.fsh.Pool.InUse() + l.tsh.Pool.InUse() + l.fsh.Chunks.InUse(); n != 0 {
			t.Errorf("%s: %d blocks or chunks are still in use", c.name, n)
		}
	}
}
