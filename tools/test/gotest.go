package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A tally counts tests and subtests.
type tally struct{ passed, failed, skipped int }

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
	// Vet is a stage of its own.
	cmd := r.prepare(ctx, nil, "go", append([]string{"test", "-json", "-vet=off", "-timeout=8m"}, args...)...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = r.out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := follower{out: r.out, tally: &r.tally, held: map[string]*strings.Builder{}}
	readErr := f.read(pipe)
	if err := cmd.Wait(); err != nil {
		return f.packages, fmt.Errorf("go test: %w", err)
	}
	return f.packages, readErr
}

// A follower turns the events of one go test run into the text that go test prints without -v, and counts.
type follower struct {
	out      io.Writer
	tally    *tally
	held     map[string]*strings.Builder // output of tests that may still fail, by package and test
	packages []string
	notes    string // output that begins so is always shown, but for this beginning
}

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
		if b := f.held[key]; b != nil {
			fmt.Fprint(f.out, b.String())
			delete(f.held, key)
		}
		if e.Test == "" {
			f.unfinished(e.Package)
		}
	}
}

// unfinished prints what tests of a failed package wrote that never ended: a panic or a deadlock ends the process under them.
func (f *follower) unfinished(pkg string) {
	for key, b := range f.held {
		if strings.HasPrefix(key, pkg+" ") {
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
