package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/run"
	"godwit.example/godwit/load"
)

// honest is the adapter that the self-test spoils.
const honest = "tcp"

// selfTest asks whether the comparison would notice a broken adapter: a good one
// must come through without a fault, and one that is sabotaged in each way must not.
// With -sabotage the good one is sabotaged, and the self-test must fail.
func selfTest(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("godwit-bench selftest", flag.ContinueOnError)
	flags.SetOutput(out)
	sabotage := flags.String("sabotage", "", "spoil the adapter that must be good: "+strings.Join(peer.Sabotages, ", "))
	if err := flags.Parse(args); err != nil {
		return err
	}
	good, names := honest, append([]string{honest}, sabotagedNames()...)
	if *sabotage != "" {
		good += "+" + *sabotage
		names = []string{good}
	}
	o := run.Options{ServerCPU: -1, ClientCPU: -1, Duration: time.Second, Warmup: 100 * time.Millisecond}
	w := &run.Workload{Name: "known", App: "echo", Load: load.Config{Connections: 10, Size: 128, Rate: knownRate}}
	var failed []error
	for _, name := range names {
		p, err := peer.Named(name)
		if err != nil {
			return err
		}
		wrong := faultsOf(o.Run(ctx, p, w))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fmt.Fprintf(out, "%-16s %s\n", name, strings.Join(wrong, ", "))
		switch {
		case name == good && len(wrong) > 0:
			failed = append(failed, fmt.Errorf("an adapter that must be good is not: %s", strings.Join(wrong, ", ")))
		case name != good && len(wrong) == 0:
			failed = append(failed, fmt.Errorf("%s was not noticed", name))
		}
	}
	return errors.Join(failed...)
}

// knownRate is what the client sends: the answer is known.
const knownRate = 5000.0

func sabotagedNames() (names []string) {
	for _, way := range peer.Sabotages {
		names = append(names, honest+"+"+way)
	}
	return names
}

// faultsOf returns what is wrong with a run whose answers are known.
func faultsOf(r *run.Result) (list []string) {
	if r.Failed != "" {
		return []string{"failed: " + r.Failed}
	}
	list = r.Faults(true)
	if want := uint64(knownRate * r.Duration); r.Sent < want*99/100 || r.Sent > want*101/100 {
		list = append(list, fmt.Sprintf("%d messages sent, %d expected", r.Sent, want))
	}
	if r.ServerPerMessage == nil || *r.ServerPerMessage <= 0 {
		list = append(list, "no CPU time of the server")
	}
	slices.Sort(list)
	return list
}
