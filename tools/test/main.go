// Command test runs every check of the project, stage by stage, and prints what each cost.
//
// A stage that takes longer than its budget fails even if its checks passed, so that the whole stays within fifteen minutes on two
// cores; time for which a hypervisor gave the cores to others does not count. A tool that is missing and cannot be installed is a loud SKIP on a developer's machine and a failure when CI=true.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// totalBudget bounds a complete run on two cores with empty caches.
const totalBudget = 15 * time.Minute

// A stage is one named check.
type stage struct {
	name    string
	budget  time.Duration
	onlyAsk bool   // runs only when named by -only
	absent  string // why the stage does not exist in this tree yet; empty if it does
	run     func(context.Context, *runner) error
}

// A skip is the error of a stage whose tool is missing.
type skip struct{ reason string }

func (s skip) Error() string { return s.reason }

// A runner holds what the stages share.
type runner struct {
	root     string   // the directory of go.work
	modules  []string // package patterns, one a module: ./..., ./gateway/...
	ci       bool     // a missing tool fails
	fix      bool     // gofumpt rewrites instead of listing
	fuzzTime string   // per target
	seeds    int      // of the sim stage
	soakTime time.Duration
	out      io.Writer // everything is printed here
	tally    tally     // tests counted over all stages
	okLines  []string  // go test's closing lines of the plain test stage
}

// A result is what the closing table prints of a stage.
type result struct {
	stage stage
	took  span
	err   error
}

func main() {
	r := &runner{out: os.Stdout, ci: os.Getenv("CI") == "true"}
	only := flag.String("only", "", "run only these stages, separated by commas")
	list := flag.Bool("list", false, "list the stages and their budgets, run nothing")
	flag.BoolVar(&r.fix, "fix", false, "let gofumpt rewrite the files")
	flag.StringVar(&r.fuzzTime, "fuzztime", defaultFuzzTime, "time of fuzzing per target; longer than the default lifts the stage's budget")
	flag.IntVar(&r.seeds, "seeds", defaultSeeds, "seeds of the sim stage; more than the default lifts its budget")
	flag.DurationVar(&r.soakTime, "soaktime", 2*time.Hour, "length of the soak stage")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.locate(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	stages, err := choose(r.stages(), *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	if *list {
		for _, s := range stages {
			fmt.Fprintf(r.out, "%-12s %5.0f s\n", s.name, s.budget.Seconds())
		}
		return
	}
	if !r.all(ctx, stages, *only == "") {
		os.Exit(1)
	}
}

// locate finds the workspace and its modules.
func (r *runner) locate(ctx context.Context) error {
	work, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	if err != nil {
		return fmt.Errorf("go env GOWORK: %w", err)
	}
	file := strings.TrimSpace(string(work))
	if file == "" || file == "off" {
		return errors.New("no go.work here: run this inside the repository with GOWORK unset")
	}
	r.root = filepath.Dir(file)
	dirs, err := r.output(ctx, nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	for _, dir := range strings.Fields(dirs) {
		rel, err := filepath.Rel(r.root, dir)
		if err != nil {
			return err
		}
		r.modules = append(r.modules, "./"+filepath.ToSlash(filepath.Join(rel, "..."))) // "./..." for the root itself
	}
	return nil
}

// choose keeps the stages that only names, in their usual order; with no names it keeps all that run unasked.
func choose(stages []stage, only string) ([]stage, error) {
	wanted := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		if name = strings.TrimSpace(name); name != "" {
			wanted[name] = true
		}
	}
	everything := len(wanted) == 0
	var kept []stage
	for _, s := range stages {
		switch {
		case everything && !s.onlyAsk && s.absent == "":
			kept = append(kept, s)
		case wanted[s.name] && s.absent != "":
			return nil, fmt.Errorf("stage %s: %s", s.name, s.absent)
		case wanted[s.name]:
			kept = append(kept, s)
		}
		delete(wanted, s.name)
	}
	for name := range wanted {
		return nil, fmt.Errorf("no stage is called %q: -list prints them", name)
	}
	return kept, nil
}

// all runs the stages, goes on after a failure so that one run shows everything, and reports whether all passed.
func (r *runner) all(ctx context.Context, stages []stage, complete bool) bool {
	whole := watch()
	var results []result
	for _, s := range stages {
		fmt.Fprintf(r.out, "\n=== %s (budget %.0f s)\n", s.name, s.budget.Seconds())
		ended := watch()
		err := s.run(ctx, r)
		took := ended()
		if err == nil && took.net() > s.budget {
			err = fmt.Errorf("over its budget of %.0f s", s.budget.Seconds())
		}
		var missing skip
		if errors.As(err, &missing) && r.ci {
			err = fmt.Errorf("%s (a skip is a failure when CI=true)", missing.reason)
		}
		fmt.Fprintf(r.out, "--- %s: %s in %v\n", s.name, verdict(err), took)
		results = append(results, result{s, took, err})
		if ctx.Err() != nil {
			break
		}
	}
	return r.report(results, whole(), complete)
}

// report prints the table of stages, the test packages and the count of tests.
func (r *runner) report(results []result, total span, complete bool) bool {
	good := true
	fmt.Fprintf(r.out, "\n%-12s %9s %9s %9s\n", "stage", "seconds", "stolen", "budget")
	for _, res := range results {
		fmt.Fprintf(r.out, "%-12s %9.1f %9.1f %9.0f  %s\n", res.stage.name, res.took.wall.Seconds(), res.took.kept.Seconds(), res.stage.budget.Seconds(), verdict(res.err))
		var missing skip
		if res.err != nil && !errors.As(res.err, &missing) {
			good = false
		}
	}
	note := ""
	if complete && total.net() > totalBudget {
		note, good = "  FAIL: over the budget of the whole", false
	}
	fmt.Fprintf(r.out, "%-12s %9.1f %9.1f %9.0f%s\n\n", "total", total.wall.Seconds(), total.kept.Seconds(), totalBudget.Seconds(), note)
	for _, line := range r.okLines {
		fmt.Fprintln(r.out, line)
	}
	if r.tally.any() {
		fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.tally.passed, r.tally.failed, r.tally.skipped)
	}
	return good
}

func verdict(err error) string {
	var missing skip
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &missing):
		return "SKIP: " + missing.reason
	}
	return "FAIL: " + strings.ReplaceAll(err.Error(), "\n", "; ")
}

// command runs a program at the root with its output shown, env being additions to the environment.
func (r *runner) command(ctx context.Context, env []string, name string, args ...string) error {
	cmd := r.prepare(ctx, env, name, args...)
	cmd.Stdout, cmd.Stderr = r.out, r.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// output runs a program at the root and returns what it printed on standard output.
func (r *runner) output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := r.prepare(ctx, env, name, args...)
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return string(b), fmt.Errorf("%s: %w", name, err)
	}
	return string(b), nil
}

func (r *runner) prepare(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), env...)
	return cmd
}
