package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/run"
)

// TestMain is also what this program is when the comparison starts it as an end of a peer.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"serve", "client", "netem"}, os.Args[1]) {
		if err := start(context.Background(), os.Args[1:]); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m,
		// kcp-go starts its timers' goroutines when it is imported, and never ends them.
		goleak.IgnoreTopFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).sched"),
		goleak.IgnoreTopFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).prepend"),
	)
}

func TestMistakesAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"-workloads W1,W77":                     `no workload "W77"; there are W1,`,
		"-peers godwit,carrier":                 `no peer "carrier"; there are godwit,`,
		"-peers gamenetworkingsockets":          "does not run here: ",
		"-peers godwit+drop":                    "cannot be sabotaged",
		"-peers tcp+scratch":                    "cannot be sabotaged",
		"-runs 1 something":                     `"something"`,
		"-runs 0":                               "at least 1",
		"serve carrier echo":                    `no peer "carrier"`,
		"serve tcp nothing":                     `no application "nothing"`,
		"serve tcp echo somewhere":              `"somewhere"`,
		"selftest -sabotage scratch -peers tcp": "-peers",
	} {
		if err := start(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

// The self-test passes, and fails when the good adapter is sabotaged.
func TestSelfTest(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out nine runs of a second each")
	}
	t.Run("honest", func(t *testing.T) {
		var out strings.Builder
		if err := selfTest(t.Context(), nil, &out); err != nil {
			t.Errorf("%v\n%s", err, &out)
		}
	})
	for _, way := range peer.Sabotages {
		t.Run(way, func(t *testing.T) {
			err := selfTest(t.Context(), []string{"-sabotage", way}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), "must be good") {
				t.Errorf("a comparison whose adapters %s: %v", way, err)
			}
		})
	}
}

// compared runs a comparison that is bound to no CPU, an attempt at each run, and returns its record, the file that has it, and what it printed.
func compared(t *testing.T, args string) (c run.Record, file, said string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "record.json")
	var out strings.Builder
	if err := compare(t.Context(), strings.Fields(args+" -attempts 1 -server-cpu -1 -client-cpu -1 -json "+file), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c, file, out.String()
}

// A server that does not start is a run that failed, and the others go on.
func TestServersThatDoNotStart(t *testing.T) {
	p, err := peer.Named("tcp")
	if err != nil {
		t.Fatal(err)
	}
	o := run.Options{ServerCPU: -1, ClientCPU: -1}
	if r := o.Run(t.Context(), p, &run.Workload{Name: "none", App: "nothing"}); !strings.Contains(r.Failed, `no application "nothing"`) {
		t.Errorf("%+v", r)
	}
}

func TestComparison(t *testing.T) {
	c, file, out := compared(t, "-workloads W1,W4 -peers godwit,tcp,tls -runs 2 -duration 200ms -warmup 50ms")
	if n := len(c.Runs) + len(c.Invalid); n < 12 || len(c.Failed) != 0 {
		t.Errorf("%d runs of 12, failed: %+v", n, c.Failed)
	}
	page := filepath.Join(t.TempDir(), "PAGE.md")
	if err := os.WriteFile(page, []byte("before\n"+reportBegins+"old\n"+reportEnds+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := report([]string{"-page", page, file}, io.Discard); err != nil {
		t.Fatal(err)
	}
	written, _ := os.ReadFile(page)
	if s := string(written); !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "after\n") || strings.Contains(s, "old\n") || !strings.Contains(s, "| tls | ") {
		t.Error(s)
	}
	for _, want := range []string{"W1: 1 connection", "W4: ", "godwit ", "tls ", "of tls's", "not run here: msquic"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
