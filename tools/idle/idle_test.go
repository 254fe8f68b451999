package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit.example/godwit/load"
)

// TestMain is the program too: it calls itself for its clients.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-hold") || slices.Contains(os.Args, "-live") {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestAFewConnectionsAreHeldAndAnswer(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not tell the memory of processes: ", err)
	}
	if testing.Short() {
		t.Skip("-short leaves out two servers, their clients and a run of live traffic")
	}
	o := &options{
		conns: 40, answers: 30, dials: 8, runs: 1, attempts: 1, duration: 200 * time.Millisecond, window: 100 * time.Millisecond,
		limit: time.Minute, serverCPU: -1, clientCPU: -1, keep: filepath.Join(t.TempDir(), "idle.json"),
	}
	var out, progress bytes.Buffer
	if err := idle(t.Context(), o, &out, &progress); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	text, err := os.ReadFile(o.keep)
	if err != nil {
		t.Fatal(err)
	}
	var r map[string]any
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"connections", "rss_anon_bytes", "answered", "answer_ms_max", "w2_p99_ratio"} {
		if _, ok := r[key]; !ok {
			t.Errorf("what is kept has no %s", key)
		}
	}
	if r["connections"] != 40.0 || r["answered"] != 30.0 || r["connections_ended"] != 0.0 {
		t.Errorf("%v connections, %v answers, %v ends", r["connections"], r["answered"], r["connections_ended"])
	}
	if n := r["resumed_handshakes"].(float64); n < 40/2 { // but for those that were under way before the first ticket came
		t.Errorf("%v handshakes of 40 were resumed", n)
	}
	if len(r["w2_beside"].([]any)) != 1 || len(r["w2_alone"].([]any)) != 1 {
		t.Error("the live traffic did not run on both sides")
	}
}

func TestGoalsThatAreMissedAreNamed(t *testing.T) {
	ratio := goalRatio
	good := report{Connections: 1000, Anon: goalMemory, Asked: 10, Answered: 10, AnswerMax: goalAnswer, Ratio: &ratio, RatioValid: true}
	if err := good.goals(); err != nil {
		t.Error(err)
	}
	more := ratio + 0.1
	for want, spoil := range map[string]func(*report){
		"RssAnon":  func(r *report) { r.Anon++ },
		"answered": func(r *report) { r.Answered-- },
		"last one": func(r *report) { r.AnswerMax++ },
		"p99":      func(r *report) { r.Ratio = &more },
		"valid":    func(r *report) { r.RatioValid = false },
		"too few":  func(r *report) { r.Ratio = nil },
		"ended":    func(r *report) { r.Closed++ },
	} {
		bad := good
		spoil(&bad)
		if err := bad.goals(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %q", err, want)
		}
	}
}

func TestOnlyValidRunsCount(t *testing.T) {
	run := func(p99 float64, valid bool) *load.Result {
		return &load.Result{Latency: load.Latency{P99: p99}, Valid: valid}
	}
	runs := []*load.Result{run(100, true), run(9000, false), run(300, true), run(200, true)}
	if m, n := p99(runs); m != 200 || n != 3 {
		t.Errorf("median %v of %d", m, n)
	}
	if m, n := p99(runs[:3]); m != 200 || n != 2 {
		t.Errorf("median %v of %d", m, n)
	}
	if m, n := p99(runs[1:2]); m != 0 || n != 0 {
		t.Errorf("median %v of %d", m, n)
	}
}

func TestARatioSaysWhetherItsRunsAreValid(t *testing.T) {
	run := func(p99 float64, valid bool) *load.Result {
		return &load.Result{Latency: load.Latency{P99: p99}, Valid: valid}
	}
	r := report{
		With:    []*load.Result{run(600, true), run(800, false)},
		Without: []*load.Result{run(300, true), run(700, false), run(9000, false)},
	}
	r.conclude(1)
	if !r.RatioValid || r.ValidRuns != 1 || r.Ratio == nil || *r.Ratio != 2 {
		t.Errorf("one valid run each: %+v", r)
	}
	r.conclude(2)
	if r.RatioValid || r.ValidRuns != 1 || *r.Ratio != 1.4 { // of two complete rounds
		t.Errorf("two valid runs are asked for: valid %v, %d, ratio %v", r.RatioValid, r.ValidRuns, *r.Ratio)
	}
	none := report{}
	none.conclude(0)
	if none.Ratio != nil || none.RatioValid {
		t.Errorf("without live traffic: %+v", none)
	}
}
