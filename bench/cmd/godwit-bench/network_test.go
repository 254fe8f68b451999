package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/run"
)

// Over a bad network every round trip takes twice its delay at least, datagrams are
// lost, those of the raw peer for good and godwit's not.
func TestFarWorkloads(t *testing.T) {
	if testing.Short() {
		t.Skip("runs over a network of 20 ms")
	}
	if _, err := peer.Named("udp"); err != nil {
		t.Skip(err) // it is written for Linux
	}
	file := filepath.Join(t.TempDir(), "record.json")
	args := strings.Fields("-workloads W6a-5,W6b-1 -peers godwit,tcp,udp -runs 1 -attempts 1 -duration 1s -warmup 100ms -server-cpu -1 -client-cpu -1 -json " + file)
	if err := compare(t.Context(), args, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c run.Record
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
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
