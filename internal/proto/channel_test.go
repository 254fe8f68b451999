package proto

import (
	"testing"

	"godwit.example/godwit/internal/mark"
)

// promisePipe is a pipe whose link and priorities follow from the seed.
func promisePipe(t testing.TB, seed uint64) *pipe {
	cfg := pipeConfig()
	cfg.Channels[7].Priority = int8(seed%3) - 1
	cfg.Channels[9] = ChannelConfig{Mode: Unordered, Priority: int8(seed % 2), Weight: uint8(1 + seed*37%255)}
	p := newPipe(t, seed, cfg)
	p.loss = float64(seed%5) * 0.08
	p.dup = float64(seed%3) * 0.05
	p.pack = seed%4 == 3
	p.dark = seed%7 == 6
	return p
}

func TestEveryModeKeepsItsPromiseOnABadLink(t *testing.T) {
	for seed := range uint64(40) {
		promisePipe(t, seed).run(400)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if !mark.Enabled {
		return
	}
	for _, id := range []mark.ID{
		markEvicted, markStalled, markStalledAll, markReplaced, markSuperseded, markRecut, markPieceRecut, markSkip, markExpiredLate,
		markSkippedPartial, markStale, markOverlap, markLooseEvicted,
	} {
		if mark.Count(id) == 0 {
			t.Errorf("%s: never", mark.Names[id])
		} else {
			t.Logf("%s: %d times", mark.Names[id], mark.Count(id))
		}
	}
}
