package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// uncontained are the tests of the root package that do not run in the container: they read the repository, not the library.
var uncontained = regexp.MustCompile(`^Test(SourceIsTidy|ExamplesAreTidy|NoBannedWords|ImportRules|Tidy|Layout|PublicSurface|FirstDifference|Troubleshooting|ErrorsAndLogLines|` +
	`Tuning|LinksOfPages|Architecture|\w+CanFail)`)

// runContainer runs the end-to-end tests as an unprivileged user without capabilities, with 64 MiB and half a CPU (tools/container).
// Each has a process of its own: what one test left for the collector does not count for the next.
func runContainer(ctx context.Context, r *runner) error {
	dir, err := os.MkdirTemp("", "godwit-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	container, suite := filepath.Join(dir, "container"), filepath.Join(dir, "godwit.test")
	if err := r.command(ctx, nil, "go", "build", "-o", container, "./tools/container"); err != nil {
		return err
	}
	if err := r.command(ctx, nil, container, "-check"); err != nil {
		var ended *exec.ExitError
		if errors.As(err, &ended) && ended.ExitCode() == 3 {
			return skip{"this host allows no container; what it lacks is said above"}
		}
		return err
	}
	if err := r.command(ctx, nil, "go", "test", "-c", "-o", suite, "."); err != nil {
		return err
	}
	list, err := r.output(ctx, nil, suite, "-test.list=^Test")
	if err != nil {
		return err
	}
	var jobs []job
	for _, name := range strings.Fields(list) {
		if strings.HasPrefix(name, "Test") && !uncontained.MatchString(name) {
			for _, part := range containedParts(name) {
				jobs = append(jobs, job{name: name, program: append([]string{container, suite}, part...)})
			}
		}
	}
	r.containAll(ctx, jobs)
	var n tally
	var failed []error
	for i := range jobs {
		n.add(&jobs[i].tally)
		if err := jobs[i].err; err != nil {
			failed = append(failed, fmt.Errorf("%s: in the container: %w", jobs[i].name, err))
		}
	}
	r.tally.add(&n)
	fmt.Fprintf(r.out, "in the container: %d tests and subtests passed, %d failed, %d skipped\n", n.passed, n.failed, n.skipped)
	return errors.Join(failed...)
}

// job is a test of the container, and what came of it.
type job struct {
	name    string
	program []string
	tally   tally
	err     error
}

// containAll runs the jobs two at a time: each has half a CPU.
func (r *runner) containAll(ctx context.Context, jobs []job) {
	var (
		all     sync.WaitGroup
		next    atomic.Int64
		printer sync.Mutex
	)
	for range 2 {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)); i = next.Add(1) - 1 {
				j := &jobs[i]
				if j.err = ctx.Err(); j.err != nil {
					continue
				}
				var said bytes.Buffer
				fmt.Fprintf(&said, "%-60s ", j.name)
				j.err = r.contained(ctx, j, &said)
				printer.Lock()
				_, _ = said.WriteTo(r.out)
				printer.Unlock()
			}
		})
	}
	all.Wait()
}

// containedParts returns the flags by which a test is chosen, once for each process that it runs in. The test that repeats others over the
// portable engine runs in two, and storms of calls last a second: one of three fills 64 MiB there, with what was dialed and closed.
func containedParts(name string) [][]string {
	if name != "TestPortableEngine" {
		return [][]string{{"-test.run=^" + name + "$"}}
	}
	return [][]string{{"-test.run=^" + name + "$", "-test.skip=/^Storm$"}, {"-test.run=^" + name + "$/^Storm$"}}
}

// contained runs one job, and writes what it says to out. A failure on a machine that was not there counts as in goTest.
func (r *runner) contained(ctx context.Context, j *job, out *bytes.Buffer) error {
	took := watch()
	f, err := r.containedOnce(ctx, j, out)
	if t := took(); err != nil && f.excusable(t) {
		f.sayAgain(t)
		if _, second := r.containedOnce(ctx, j, out); second == nil {
			f.forgive()
			err = nil
		}
	}
	j.tally = *f.tally
	return err
}

func (r *runner) containedOnce(ctx context.Context, j *job, out *bytes.Buffer) (*follower, error) {
	f := &follower{out: out, tally: &tally{}, held: map[string]*strings.Builder{}, notes: "container: "}
	args := append([]string{"tool", "test2json", "-p", "container"}, j.program...)
	cmd := r.prepare(ctx, []string{"GODWIT_STORM=1s"}, "go", append(args, "-test.v=test2json", "-test.timeout=60s")...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return f, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return f, err
	}
	readErr := f.read(pipe)
	err = cmd.Wait()
	_, _ = said.WriteTo(out)
	return f, errors.Join(readErr, err)
}
