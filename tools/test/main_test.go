package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChooseKeepsOrderAndRejectsUnknown(t *testing.T) {
	stages := []stage{{name: "a"}, {name: "b", onlyAsk: true}, {name: "c"}, {name: "d", absent: "there is no d"}}
	for _, c := range []struct{ only, want string }{{"", "a c"}, {"c,a", "a c"}, {"b", "b"}} {
		got, err := choose(stages, c.only)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range got {
			names = append(names, s.name)
		}
		if strings.Join(names, " ") != c.want {
			t.Errorf("-only %q runs %v, want %s", c.only, names, c.want)
		}
	}
	for _, only := range []string{"nonsense", "d"} {
		if _, err := choose(stages, only); err == nil {
			t.Errorf("-only %s is accepted", only)
		}
	}
}

func TestStageOverBudgetFails(t *testing.T) {
	quick := func(context.Context, *runner) error { return nil }
	slow := func(context.Context, *runner) error { time.Sleep(20 * time.Millisecond); return nil }
	fails := func(context.Context, *runner) error { return errors.New("broken") }
	absent := func(context.Context, *runner) error { return skip{"no compiler"} }
	cases := []struct {
		name string
		run  func(context.Context, *runner) error
		ci   bool
		want bool
		say  string
	}{
		{"quick", quick, true, true, "ok in"},
		{"slow", slow, true, false, "over its budget"},
		{"broken", fails, false, false, "FAIL: broken"},
		{"skip on a developer's machine", absent, false, true, "SKIP: no compiler"},
		{"skip in CI", absent, true, false, "FAIL: no compiler"},
	}
	for _, c := range cases {
		var out strings.Builder
		r := &runner{out: &out, ci: c.ci}
		got := r.all(t.Context(), []stage{{name: "s", budget: 10 * time.Millisecond, run: c.run}}, true)
		if got != c.want || !strings.Contains(out.String(), c.say) {
			t.Errorf("%s: passed %v, want %v; it said\n%s", c.name, got, c.want, out.String())
		}
	}
}

func TestFollowerCountsAndShowsFailures(t *testing.T) {
	in := `{"Action":"output","Package":"p","Test":"TestGood","Output":"hidden\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"shown\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"skip","Package":"p","Test":"TestElsewhere"}
{"Action":"output","Package":"p","Test":"TestHung","Output":"panic under it\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s\n"}
{"Action":"pass","Package":"q"}
`
	var out strings.Builder
	var n tally
	f := follower{out: &out, tally: &n, held: map[string]*strings.Builder{}}
	if err := f.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if n != (tally{1, 1, 1}) {
		t.Errorf("counted %+v", n)
	}
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "shown") || !strings.Contains(got, "panic under it") {
		t.Errorf("printed:\n%s", got)
	}
	if want := []failure{{"p", "TestBad"}}; !slices.Equal(f.failures, want) || !f.final {
		t.Errorf("failures %v, final %v; a test that never ended is final", f.failures, f.final)
	}
	if want := "FAIL\tp\t0.1s|ok  \tq\t0.1s"; strings.Join(f.packages, "|") != want {
		t.Errorf("package lines %q, want %q", f.packages, want)
	}
}

func TestOnlyPolicyTestsStayOutOfTheContainer(t *testing.T) {
	for name, want := range map[string]bool{
		"TestSourceIsTidy": true, "TestImportRulesCanFail": true, "TestLinksOfPagesLeadSomewhere": true, "TestPublicSurfaceIsThatOfDocsAPI": true,
		"TestThousandDials": false, "TestPortableEngine": false, "TestFloodLeavesLiveConnectionsAlone": false, "TestBadLimitsAreNamed": false,
	} {
		if got := uncontained.MatchString(name); got != want {
			t.Errorf("%s is left out: %v, want %v", name, got, want)
		}
	}
}

func TestFailuresAreExcusedOnlyByTheMachine(t *testing.T) {
	absent, there := span{wall: 10 * time.Second, kept: time.Second}, span{wall: 10 * time.Second, kept: 500 * time.Millisecond}
	one := `{"Action":"output","Package":"p","Test":"TestBad","Output":"%s\n"}
{"Action":"fail","Package":"p","Test":"TestBad/sub"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"fail","Package":"p"}
`
	for _, c := range []struct {
		name, said string
		took       span
		want       bool
	}{
		{"late", "it took 2s", absent, true},
		{"late on a machine that was there", "it took 2s", there, false},
		{"a race", "WARNING: DATA RACE", absent, false},
		{"a panic", "panic: index out of range", absent, false},
	} {
		var out strings.Builder
		f := follower{out: &out, tally: &tally{}, held: map[string]*strings.Builder{}}
		if err := f.read(strings.NewReader(fmt.Sprintf(one, c.said))); err != nil {
			t.Fatal(err)
		}
		if got := f.excusable(c.took); got != c.want {
			t.Errorf("%s: excusable %v, want %v", c.name, got, c.want)
		}
		if f.forgive(); *f.tally != (tally{passed: 2}) || !strings.Contains(out.String(), "UNSTEADY: TestBad of p") {
			t.Errorf("%s: forgiven, counted %+v; it said\n%s", c.name, *f.tally, out.String())
		}
	}
}

func TestAPackageThatFailsWithoutATestIsNotExcused(t *testing.T) {
	f := follower{out: io.Discard, tally: &tally{}, held: map[string]*strings.Builder{}}
	in := `{"Action":"fail","Package":"p","Test":"TestLate"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"goleak: Errors on successful test run\n"}
{"Action":"fail","Package":"q"}
`
	if err := f.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if f.excusable(span{wall: 10 * time.Second, kept: time.Second}) {
		t.Error("a second run of p's test would hide what q left running")
	}
}

func TestRerunRunsTheFailedTestsAlone(t *testing.T) {
	failures := []failure{{"q", "TestB"}, {"p", "TestA"}, {"q", "TestC"}}
	got, fits := rerun([]string{"-race", "-skip=Tidy", "-run=Mutant", "-p=1", "p", "q", "r"}, failures)
	want := "-race -skip=Tidy -p=1 -count=1 -run=^(TestB|TestA|TestC)$ p q"
	if strings.Join(got, " ") != want || !fits {
		t.Errorf("rerun with %q, want %q", got, want)
	}
	if _, fits := rerun([]string{"-run=TestSeeds", "p", "-seeds=300"}, failures); fits {
		t.Error("tests that depend on seeds are run again")
	}
}
