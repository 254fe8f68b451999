package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A tally counts tests and subtests.
type tally struct{ passed, failed, skipped int }

// forgive counts what failed as passed.
func (t *tally) forgive() { t.passed, t.failed = t.passed+t.failed, 0 }

func (t *tally) add(u *tally) {
	t.passed += u.passed
	t.failed += u.failed
	t.skipped += u.skipped
}

func (t tally) any() bool { return t.passed+t.failed+t.skipped > 0 }

// An event is one line of go test -json (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// goTest runs go test with the given flags and packages, prints what a reader needs (the line of each package, the output of each
// failed test) and returns the lines of the packages.
func (r *runner) goTest(ctx context.Context, args ...string) (packages []string, err error) {
	took := watch()
	f, err := r.follow(ctx, args)
	if errors.Is(err, errFailed) && r.passAgain(ctx, args, f, took()) {
		err = nil
	}
	r.tally.add(f.tally)
	for _, line := range f.packages {
		if strings.Contains(line, "[no tests to run]") {
			err = errors.Join(err, errors.New("a package was named, and none of its tests: "+line))
		}
	}
	return f.packages, err
}

// errFailed says that go test ended with a failure, which was printed.
var errFailed = errors.New("go test failed")

// follow runs go test once.
func (r *runner) follow(ctx context.Context, args []string) (*follower, error) {
	f := &follower{out: r.out, tally: &tally{}, held: map[string]*strings.Builder{}, notes: "gate: "}
	// Vet is a stage of its own.
	cmd := r.prepare(ctx, nil, "go", append([]string{"test", "-json", "-vet=off", "-timeout=8m"}, args...)...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return f, err
	}
	cmd.Stderr = r.out
	if err := cmd.Start(); err != nil {
		return f, err
	}
	readErr := f.read(pipe)
	if err := cmd.Wait(); err != nil {
		return f, fmt.Errorf("%w: %w", errFailed, err)
	}
	return f, readErr
}

// A follower turns the events of one go test run into the text that go test prints without -v, and counts.
type follower struct {
	out      io.Writer
	tally    *tally
	held     map[string]*strings.Builder // output of tests that may still fail, by package and test
	packages []string
	failures []failure
	final    bool   // a failure that is not of a single test, or that no second run may excuse
	notes    string // output that begins so is always shown, but for this beginning
}

// A failure is a test that failed; subtests are part of theirs.
type failure struct{ pkg, test string }

func (f *follower) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(f.out, "%s", line) // a program under test wrote to the real standard output
			} else {
				f.event(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *follower) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		f.final = true
		fmt.Fprint(f.out, e.Output)
	case "output":
		if e.Test == "" && isPackageLine(e.Output) {
			f.packages = append(f.packages, strings.TrimRight(e.Output, "\n"))
			fmt.Fprint(f.out, e.Output)
			return
		}
		if f.notes != "" && strings.HasPrefix(e.Output, f.notes) {
			fmt.Fprint(f.out, strings.TrimPrefix(e.Output, f.notes))
			return
		}
		if f.held[key] == nil {
			f.held[key] = &strings.Builder{}
		}
		f.held[key].WriteString(e.Output)
	case "pass", "skip":
		if e.Test != "" {
			f.count(e.Action)
		}
		delete(f.held, key)
	case "fail":
		if e.Test != "" {
			f.count(e.Action)
		}
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			f.failures = append(f.failures, failure{e.Package, e.Test})
		}
		if b := f.held[key]; b != nil {
			f.final = f.final || strings.Contains(b.String(), "DATA RACE") || strings.Contains(b.String(), "panic: ")
			fmt.Fprint(f.out, b.String())
			delete(f.held, key)
		}
		if e.Test == "" {
			f.unfinished(e.Package)
			if !slices.ContainsFunc(f.failures, func(one failure) bool { return one.pkg == e.Package }) {
				f.final = true // it did not build, or left goroutines
			}
		}
	}
}

// unfinished prints what tests of a failed package wrote that never ended: a panic or a deadlock ends the process under them.
func (f *follower) unfinished(pkg string) {
	for key, b := range f.held {
		if strings.HasPrefix(key, pkg+" ") {
			f.final = true
			fmt.Fprint(f.out, b.String())
			delete(f.held, key)
		}
	}
}

func (f *follower) count(action string) {
	switch action {
	case "pass":
		f.tally.passed++
	case "skip":
		f.tally.skipped++
	case "fail":
		f.tally.failed++
	}
}

// isPackageLine tells the closing line of a package that has tests: "ok  \tpath\t0.1s" or "FAIL\tpath\t0.1s".
func isPackageLine(s string) bool {
	return strings.HasPrefix(s, "ok  \t") || strings.HasPrefix(s, "FAIL\t")
}
