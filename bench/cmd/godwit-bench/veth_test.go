package main

import (
	"io"
	"strings"
	"testing"

	"godwit.example/godwit/bench/internal/hosttest"
)

// Where there are no namespaces, the workloads that need them are listed as not run.
func TestWorkloadsThatAreNotHere(t *testing.T) {
	t.Setenv("PATH", "")
	var out strings.Builder
	args := strings.Fields("-workloads W3v,W4v -peers tcp -runs 1 -server-cpu -1 -client-cpu -1")
	if err := compare(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not run here: W3v: ", "not run here: W4v: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// Over a veth trains are cut: no packet is longer than the MTU, and a message of raw
// UDP is a packet, whatever made it leave.
func TestVethWorkloads(t *testing.T) {
	hosttest.NeedNamespaces(t)
	c, _, _ := compared(t, "-workloads W3v,W4v -peers godwit,tcp,udp-gso -runs 1 -duration 200ms -warmup 50ms")
	if len(c.Failed) != 1 || !strings.Contains(c.Failed[0].Failed, "do not fit") {
		t.Errorf("W4v's messages fit into no datagram: %+v", c.Failed)
	}
	runs := append(c.Runs, c.Invalid...)
	if len(runs) != 5 {
		t.Errorf("%d runs of 5", len(runs))
	}
	for _, r := range runs {
		if r.Wire == nil || r.Wire.ToServer.Packets == 0 || r.Received == 0 {
			t.Errorf("%s %s: %+v", r.Workload, r.Peer, r.Wire)
		} else if r.Peer == "udp-gso" && (r.Wire.ToServer.Packets < r.Received || r.Wire.FromServer.Packets < r.Received) {
			t.Errorf("%d messages, but %+v crossed the veth", r.Received, r.Wire)
		}
	}
}
