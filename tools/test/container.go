package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
	before := r.tally
	var failed []error
	for _, name := range strings.Fields(list) {
		if !strings.HasPrefix(name, "Test") || uncontained.MatchString(name) {
			continue
		}
		for _, part := range containedParts(name) {
			if err := r.contained(ctx, name, append([]string{container, suite}, part...)); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", name, err))
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	n := r.tally
	fmt.Fprintf(r.out, "in the container: %d tests and subtests passed, %d failed, %d skipped\n",
		n.passed-before.passed, n.failed-before.failed, n.skipped-before.skipped)
	return errors.Join(failed...)
}

// containedParts returns the flags by which a test is chosen, once for each process that it runs in. The test that repeats others over the
// portable engine runs in two, and storms of calls last a second: one of three fills 64 MiB there, with what was dialed and closed.
func containedParts(name string) [][]string {
	if name != "TestPortableEngine" {
		return [][]string{{"-test.run=^" + name + "$"}}
	}
	return [][]string{{"-test.run=^" + name + "$", "-test.skip=/^Storm$"}, {"-test.run=^" + name + "$/^Storm$"}}
}

// contained runs one test, or a part of it, in the container.
func (r *runner) contained(ctx context.Context, name string, program []string) error {
	args := append([]string{"tool", "test2json", "-p", "container"}, program...)
	cmd := r.prepare(ctx, []string{"GODWIT_STORM=1s"}, "go", append(args, "-test.v=test2json", "-test.timeout=60s")...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = r.out
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%-60s ", name)
	f := follower{out: r.out, tally: &r.tally, held: map[string]*strings.Builder{}, notes: "container: "}
	readErr := f.read(pipe)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("in the container: %w", err)
	}
	return readErr
}
