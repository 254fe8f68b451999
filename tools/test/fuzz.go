package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sync"
)

// defaultFuzzTime keeps the stage short; make fuzz passes its own.
const defaultFuzzTime = "3s"

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// A target is one Fuzz function.
type target struct{ pkg, name string }

// runFuzz fuzzes each target for a few seconds, two at a time with one worker each: compiling one target then overlaps with running
// another. The committed corpora were replayed by the test stages already, because go test runs them as ordinary cases.
func runFuzz(ctx context.Context, r *runner) error {
	targets, err := r.fuzzTargets(ctx)
	if err != nil {
		return err
	}
	queue := make(chan target)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for range 2 {
		wg.Go(func() {
			for t := range queue {
				said, err := r.fuzzOne(ctx, t)
				mu.Lock()
				if err != nil {
					failed = append(failed, err)
					fmt.Fprintf(r.out, "%s", said)
				}
				fmt.Fprintf(r.out, "%-24s %s %s\n", t.pkg, t.name, verdict(err))
				mu.Unlock()
			}
		})
	}
	for _, t := range targets {
		queue <- t
	}
	close(queue)
	wg.Wait()
	fmt.Fprintf(r.out, "%d targets, %s each\n", len(targets), r.fuzzTime)
	return errors.Join(failed...)
}

func (r *runner) fuzzOne(ctx context.Context, t target) (said []byte, err error) {
	cmd := r.prepare(ctx, nil, "go", "test", "-vet=off", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+r.fuzzTime,
		"-fuzzminimizetime=5s", "-parallel=1", t.pkg)
	said, err = cmd.CombinedOutput()
	if err == nil {
		return said, nil
	}
	// When the time is up while a worker is being told its next input, the fuzzer reports its own deadline as a failure. A finding
	// always names the file that it wrote.
	if bytes.Contains(said, []byte("context deadline exceeded")) && !bytes.Contains(said, []byte("Failing input written")) &&
		!bytes.Contains(said, []byte("panic:")) {
		return said, nil
	}
	return said, fmt.Errorf("%s %s: %w", t.pkg, t.name, err)
}

// fuzzTargets finds the targets in the test files, without compiling anything.
func (r *runner) fuzzTargets(ctx context.Context) ([]target, error) {
	files, err := r.goFiles(ctx)
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, f := range files {
		src, err := os.ReadFile(filepath.Join(r.root, filepath.FromSlash(f)))
		if err != nil {
			return nil, err
		}
		for _, m := range fuzzFunc.FindAllSubmatch(src, -1) {
			targets = append(targets, target{"./" + path.Dir(f), string(m[1])})
		}
	}
	return targets, nil
}
