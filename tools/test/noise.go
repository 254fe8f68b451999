package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// noisy is the share of the machine kept by its hypervisor from which time says little: the same as makes a measurement invalid.
const noisy = 0.08

// A span is a stretch of time, and what the hypervisor kept of it for others, a CPU on average.
type span struct{ wall, kept time.Duration }

// net is the time that the machine was there.
func (s span) net() time.Duration { return s.wall - s.kept }

func (s span) noisy() bool { return s.kept.Seconds() > noisy*s.wall.Seconds() }

func (s span) String() string {
	if !s.noisy() {
		return fmt.Sprintf("%.1f s", s.wall.Seconds())
	}
	return fmt.Sprintf("%.1f s, %.1f of which the hypervisor kept", s.wall.Seconds(), s.kept.Seconds())
}

// watch begins a span; the function that it returns ends it.
func watch() func() span {
	began, before := time.Now(), stolen()
	return func() span {
		return span{time.Since(began), (stolen() - before) / time.Duration(runtime.NumCPU())}
	}
}

// stolen is what the hypervisor has kept of all CPUs since the machine started, as Linux counts it; 0 elsewhere. Package load knows it too,
// but what runs the checks has to build when the library does not.
func stolen() time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	fields := strings.Fields(string(text))
	if len(fields) < 9 || fields[0] != "cpu" { // cpu user nice system idle iowait irq softirq steal
		return 0
	}
	n, _ := strconv.ParseInt(fields[8], 10, 64)
	return time.Duration(n) * time.Second / 100 // USER_HZ is 100 on every architecture that Go runs on
}

// passAgain runs the tests that failed once more, by themselves, if the machine was not there for a good part of the first run: many of
// them hold time limits. What passes then is said, and counts as passed. A panic, a race and a test that hung stay failures.
func (r *runner) passAgain(ctx context.Context, args []string, f *follower, took span) bool {
	flags, fits := rerun(args, f.failures)
	if !fits || !f.excusable(took) {
		return false
	}
	f.sayAgain(took)
	if second, err := r.follow(ctx, flags); err != nil || len(second.failures) > 0 {
		return false
	}
	f.forgive()
	return true
}

// excusable reports whether the failures may be due to the machine.
func (f *follower) excusable(took span) bool { return took.noisy() && !f.final && len(f.failures) > 0 }

func (f *follower) sayAgain(took span) {
	fmt.Fprintf(f.out, "%d failed while the hypervisor kept %.0f %% of the machine: once more\n", len(f.failures), 100*took.kept.Seconds()/took.wall.Seconds())
}

func (f *follower) forgive() {
	f.tally.forgive()
	for _, one := range f.failures {
		fmt.Fprintf(f.out, "UNSTEADY: %s of %s failed, and passed when run again\n", one.test, one.pkg)
	}
}

// rerun returns args for the failed tests alone. It has none if args end in flags of the test binary, whose tests depend on seeds, not
// on time.
func rerun(args []string, failures []failure) (flags []string, fits bool) {
	for _, a := range args {
		switch dash := strings.HasPrefix(a, "-"); {
		case !dash:
			fits = true
		case fits:
			return nil, false
		case !strings.HasPrefix(a, "-run=") && !strings.HasPrefix(a, "-p="):
			flags = append(flags, a)
		}
	}
	var tests, packages []string
	for _, f := range failures {
		tests, packages = append(tests, f.test), append(packages, f.pkg)
	}
	slices.Sort(packages)
	flags = append(flags, "-p=1", "-count=1", "-run=^("+strings.Join(tests, "|")+")$")
	return append(flags, slices.Compact(packages)...), fits
}
