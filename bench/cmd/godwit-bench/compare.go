package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/run"
)

// compare runs the workloads over the peers, which take turns.
func compare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("godwit-bench", flag.ContinueOnError)
	var o run.Options
	workloads := flags.String("workloads", "W1,W2,W3,W4,W5", "workloads, with commas between")
	peers := flags.String("peers", "", "peers, with commas between; all, if there are none")
	runs := flags.Int("runs", 3, "runs of each")
	file := flags.String("json", "", "`file` that gets all results")
	flags.DurationVar(&o.Duration, "duration", 5*time.Second, "of a run")
	flags.DurationVar(&o.Warmup, "warmup", time.Second, "load before a run")
	flags.IntVar(&o.ServerCPU, "server-cpu", 0, "CPU of the servers; -1 binds them to none")
	flags.IntVar(&o.ClientCPU, "client-cpu", 1, "CPU of the clients; -1 binds them to none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not understood: godwit-bench list, or godwit-bench -h for the flags", flags.Args())
	}
	list, unknown := run.Named(*workloads)
	if unknown != "" {
		return fmt.Errorf("there is no workload %q", unknown)
	}
	chosen := peer.All()
	if *peers != "" {
		chosen = nil
		for name := range strings.SplitSeq(*peers, ",") {
			p, err := peer.Named(name)
			if err != nil {
				return err
			}
			chosen = append(chosen, p)
		}
	}
	var results []*run.Result
	for range *runs {
		for i := range list {
			for _, p := range chosen {
				r := o.Run(ctx, p, &list[i])
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				results = append(results, r)
				print1(r)
			}
		}
	}
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o644)
}

func print1(r *run.Result) {
	if r.Failed != "" {
		fmt.Printf("%-8s%-18s FAILED: %s\n", r.Workload, r.Peer, r.Failed)
		return
	}
	per := 0.0
	if r.ServerPerMessage != nil {
		per = *r.ServerPerMessage
	}
	memory := ""
	if r.Memory != nil {
		memory = fmt.Sprintf(" RssAnon %.1f MB", float64(r.Memory.Anon)/1e6)
	}
	hs := 0.0
	if r.HandshakesPerSecond != nil {
		hs = *r.HandshakesPerSecond
	}
	fmt.Printf("%-8s%-18s p50 %.1f p99 %.1f µs, %.0f/s, %.1f MB/s, server %.3f µs, lost %d corrupted %d, %.0f hs/s%s %s\n", r.Workload, r.Peer, r.Latency.P50, r.Latency.P99,
		r.MessagesPerSecond, r.BytesPerSecond/1e6, per, r.Lost, r.Corrupted, hs, memory, strings.Join(r.Reasons, "; "))
}
