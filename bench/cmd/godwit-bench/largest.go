package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"godwit.example/godwit/bench/internal/run"
)

// searchLargest searches for the largest rooms.
func searchLargest(ctx context.Context, args []string, out, errOut io.Writer) error {
	flags := flag.NewFlagSet("godwit-bench largest", flag.ContinueOnError)
	flags.SetOutput(errOut)
	o := &options{}
	workloads := flags.String("workloads", "W7,W8", "workloads of rooms, with commas between")
	peers := flags.String("peers", "", "peers, with commas between; all, if there are none")
	flags.StringVar(&o.file, "json", "", "`file` that gets everything that was measured")
	flags.DurationVar(&o.Duration, "duration", 3*time.Second, "of a run")
	flags.DurationVar(&o.Warmup, "warmup", time.Second, "load before a run")
	flags.IntVar(&o.ServerCPU, "server-cpu", 0, "CPU of the servers; -1 binds them to none")
	flags.IntVar(&o.ClientCPU, "client-cpu", 1, "CPU of the clients; -1 binds them to none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not understood: godwit-bench largest -h names the flags", flags.Args())
	}
	if err := o.choose(*workloads, *peers); err != nil {
		return err
	}
	var all []*run.Largest
	for i := range o.workloads {
		w := &o.workloads[i]
		if w.Room == nil {
			return fmt.Errorf("%s is not the workload of a room", w.Name)
		}
		for _, p := range o.peers {
			if p.Room == nil {
				continue
			}
			l := o.Largest(ctx, p, w, func(r *run.Result) { fmt.Fprintln(errOut, r) })
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			all = append(all, l)
			fmt.Fprintln(out, l)
		}
	}
	if o.file == "" {
		return nil
	}
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(o.file, append(text, '\n'), 0o644)
}
