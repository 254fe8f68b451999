package main

import (
	"strings"
	"testing"
)

// Over a bad network every round trip takes twice its delay at least, datagrams are
// lost, those of the raw peer for good and godwit's not.
func TestFarWorkloads(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out runs of a second over a network of 20 ms")
	}
	c, _, _ := compared(t, "-workloads W6a-5,W6b-1 -peers godwit,tcp,udp -runs 1 -duration 1s -warmup 100ms")
	for _, r := range c.Failed {
		if !strings.Contains(r.Failed, "carries no TCP") && !strings.Contains(r.Failed, "do not fit") {
			t.Errorf("%s %s: %s", r.Workload, r.Peer, r.Failed)
		}
	}
	runs := append(c.Runs, c.Invalid...)
	if len(runs) != 3 {
		t.Errorf("%d runs of 3", len(runs))
	}
	for _, r := range runs {
		if r.Network == nil || r.Network.Up.Lost == 0 || r.Received == 0 || r.Latency.P50 < 20_000 {
			t.Errorf("%s %s: %+v", r.Workload, r.Peer, r)
		}
		if raw := r.Peer == "udp"; raw != (r.Lost > 0) {
			t.Errorf("%s %s: %d messages lost", r.Workload, r.Peer, r.Lost)
		}
	}
}
