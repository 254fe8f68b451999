package main

import (
	"context"
	"errors"
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
