package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit.example/godwit/tools/internal/process"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("godwit.example/godwit/internal/shard.(*Shard).Run")) // the engine of the last dials ends a little later
}

// margin is what a test machine may need more than the goal says, because its kernel or its compiler differs.
const margin = 1.25

func TestThousandConnectionsFitInTenMegabytes(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system has no /proc:", err)
	}
	if testing.Short() {
		t.Skip("short")
	}
	o := &options{conns: goalConnections, messages: 10, size: 64, settle: 3 * time.Second, gomaxprocs: 1}
	r, err := measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v, %v at the end of the echoes, %v before", r.Connected.Settled, r.Connected.Echoed, r.Start)
	if got := r.Connected.Settled.Anon; float64(got) > margin*goalRSS {
		t.Errorf("RssAnon of %d connections is %.2f MB, the goal is %.2f MB", goalConnections, process.Mega(got), process.Mega(goalRSS))
	}
	// The runtime has a thread for each processor and a few for blocking calls, none for connections.
	if got := r.Connected.Settled.Threads; got > 40 {
		t.Errorf("the server has %d threads", got)
	}
}

func TestGoalsThatAreMissedAreNamed(t *testing.T) {
	good := report{
		Connected: phase{Connections: goalConnections, Settled: process.Memory{Anon: goalRSS}},
		Idle:      &phase{Connections: 10_000, CPUPercent: goalCPU},
	}
	if err := good.goals(); err != nil {
		t.Error(err)
	}
	bad := report{
		Connected: phase{Connections: goalConnections, Settled: process.Memory{Anon: goalRSS + 1}},
		Idle:      &phase{Connections: 10_000, CPUPercent: 0.2},
	}
	if err := bad.goals(); err == nil || !strings.Contains(err.Error(), "RssAnon") || !strings.Contains(err.Error(), "core") {
		t.Errorf("got %v", err)
	}
	few := report{Connected: phase{Connections: 10, Settled: process.Memory{Anon: 1 << 30}}}
	if err := few.goals(); err != nil {
		t.Errorf("the goal of %d connections is applied to 10: %v", goalConnections, err)
	}
}
