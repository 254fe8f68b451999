package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit.example/godwit/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLateness(t *testing.T) {
	start := time.Unix(1000, 0)
	cases := []struct {
		name  string
		at    []float64 // in intervals
		late  int
		worst float64
	}{
		{"none", nil, 0, 0},
		{"on time", []float64{0, 1, 2, 3, 4}, 0, 0},
		{"a little late", []float64{0, 1.1, 2.2, 3, 4}, 0, 0.2},
		{"late", []float64{0, 1, 2.5, 3, 4}, 1, 0.5},
		{"never came", []float64{0, 1, 3, 4}, 1, 1},
		{"came with the next", []float64{0, 1, 3.1, 3.11, 4}, 1, 1.1},
		{"three lost and one late", []float64{0, 1, 5.5, 6, 7}, 4, 3.5},
		{"the first one was late", []float64{0, 0.7, 1.7, 2.7}, 1, 0.3},
		{"the first one came early", []float64{0, 1.2, 2.2, 3.2}, 0, 0},
	}
	for _, c := range cases {
		var ticks []time.Time
		for _, at := range c.at {
			ticks = append(ticks, start.Add(time.Duration(at*float64(interval))))
		}
		late, behind := lateness(ticks)
		var worst time.Duration
		if len(behind) > 0 {
			worst = slices.Max(behind)
		}
		if want := time.Duration(c.worst * float64(interval)); late != c.late || (worst-want).Abs() > time.Microsecond {
			t.Errorf("%s: %d late, the worst by %v, want %d and %v", c.name, late, worst, c.late, want)
		}
	}
}

// made is a round whose ways cost 1, 1.2 and 1.4 µs a client-tick, with some ticks behind.
func made(late int, stolen float64) round {
	r := make(round)
	for i, way := range turns {
		cost := time.Duration(8+2*i) * 100 * time.Nanosecond // 0.8 for the bare ticker, which has no players
		r[way] = result{CPU: 1000 * cost, Ticks: 1000, States: 1000, Inputs: 999, Behind: []time.Duration{0, 3 * time.Millisecond, time.Millisecond}, Noise: load.Noise{Stolen: &stolen}}
	}
	b := r["blocking"]
	b.Late = late
	r["blocking"] = b
	return r
}

func TestReportNamesWhatIsMissed(t *testing.T) {
	o := &options{players: 1, rounds: 2, check: true}
	slow := made(0, 0)
	g := slow["goroutine"]
	g.CPU = 2 * time.Millisecond
	slow["goroutine"] = g
	cases := []struct {
		name    string
		rounds  []round
		invalid int
		busy    bool
		want    string // in the error
	}{
		{"all is well", []round{made(0, 0.01), made(0, 0.02)}, 4, false, ""},
		{"a late tick", []round{made(0, 0.01), made(1, 0.02)}, 0, false, "blocking: 1 late ticks, 0 of the bare ticker"},
		{"a dear goroutine", []round{slow, slow}, 0, false, "costs 2.00 times"},
		{"too few valid rounds", []round{made(0, 0)}, 5, false, "1 valid rounds of 2: no result"},
		{"invalid rounds that count", []round{made(0, 0), made(0, 0.2)}, 1, true, "1 valid rounds of 2: no result"},
		{"nothing valid", nil, 6, false, "no round is valid"},
	}
	for _, c := range cases {
		var out strings.Builder
		o.busy = c.busy
		err := report(&out, c.rounds, c.invalid, o)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, out.String())
		}
	}
	var out strings.Builder
	if err := report(&out, cases[0].rounds, 4, &options{players: 1, rounds: 2}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"medians of 2 valid rounds of 6\n",
		"bare ticker: 2000 ticks, 0 late, p90 3.0, p99 3.0, the latest by 3.0 ms, 1.50 (1.00-2.00) % stolen\n",
		"  goroutine: 1.20 (1.20-1.20) µs of server CPU a client-tick, 1.20 (1.20-1.20) of tick; 2000 ticks, 0 late,",
		"100.0 % of states and 100.0 % of inputs arrived\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestRoundIsInvalidIfATurnWasDisturbed(t *testing.T) {
	if why := made(0, 0.08).reasons(); why != nil {
		t.Errorf("8 %% stolen: %q", why)
	}
	r := made(0, 0)
	b := r[bare]
	share := 0.09
	b.Noise.Other = &share
	r[bare] = b
	if why := r.reasons(); len(why) != 1 || !strings.HasPrefix(why[0], "bare ticker: other programs") {
		t.Errorf("%q", why)
	}
}

func TestTickOnlyCountsItsTicks(t *testing.T) {
	var out strings.Builder
	if err := tickOnly(t.Context(), &options{duration: 300 * time.Millisecond}, &out); err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil || r.Ticks < 2 || r.Ticks > 9 || len(r.Behind) > r.Ticks {
		t.Errorf("%s: %v", out.String(), err)
	}
}
