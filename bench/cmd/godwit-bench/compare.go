package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/run"
)

// options of a comparison.
type options struct {
	run.Options

	workloads []run.Workload
	peers     []*peer.Peer
	runs      int
	attempts  int
	quick     bool
	file      string
}

func parse(args []string, errOut io.Writer) (*options, error) {
	flags := flag.NewFlagSet("godwit-bench", flag.ContinueOnError)
	flags.SetOutput(errOut)
	o := &options{}
	workloads := flags.String("workloads", "", "workloads, with commas between; all, if there are none")
	peers := flags.String("peers", "", "peers, with commas between; all, if there are none")
	flags.BoolVar(&o.quick, "quick", false, "one short run of each, for a look: no verdicts")
	flags.IntVar(&o.runs, "runs", 15, "rounds; a verdict takes 15")
	flags.IntVar(&o.attempts, "attempts", 2, "times that a run is tried until it is valid")
	flags.StringVar(&o.file, "json", "", "`file` that gets everything that was measured")
	flags.DurationVar(&o.Duration, "duration", 10*time.Second, "of a run")
	flags.DurationVar(&o.Warmup, "warmup", time.Second, "load before a run")
	flags.IntVar(&o.ServerCPU, "server-cpu", 0, "CPU of the servers; -1 binds them to none")
	flags.IntVar(&o.ClientCPU, "client-cpu", 1, "CPU of the clients; -1 binds them to none")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is not understood: godwit-bench -h names the flags", flags.Args())
	}
	if o.quick {
		o.runs, o.attempts, o.Duration, o.Warmup = 1, 1, 1500*time.Millisecond, 200*time.Millisecond
		flags.Visit(func(f *flag.Flag) { _ = flags.Set(f.Name, f.Value.String()) })
	}
	if o.runs < 1 || o.attempts < 1 {
		return nil, fmt.Errorf("%d rounds, %d attempts: both must be at least 1", o.runs, o.attempts)
	}
	return o, o.choose(*workloads, *peers)
}

// choose resolves names.
func (o *options) choose(workloads, peers string) error {
	if workloads == "" {
		for _, w := range run.Workloads {
			if !o.quick || !w.Long {
				o.workloads = append(o.workloads, w)
			}
		}
	} else if list, unknown := run.Named(workloads); unknown != "" {
		return fmt.Errorf("there is no workload %q; there are %s", unknown, strings.Join(run.Names(), ", "))
	} else {
		o.workloads = list
	}
	o.peers = peer.All()
	if peers == "" {
		return nil
	}
	o.peers = nil
	for name := range strings.SplitSeq(peers, ",") {
		p, err := peer.Named(name)
		if err != nil {
			return err
		}
		o.peers = append(o.peers, p)
	}
	return nil
}

// compare runs the workloads over the peers, which take turns.
func compare(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, err := parse(args, errOut)
	if err != nil {
		return err
	}
	here, missing := possible(ctx, o.workloads)
	o.workloads = here
	c := run.NewRecord(append([]string{"godwit-bench"}, args...), o.workloads, o.peers)
	c.Quick = o.quick
	c.NotHere = append(c.NotHere, missing...)
	fmt.Fprintf(errOut, "%d peers, %d workloads, %d rounds: about %v\n", len(o.peers), len(o.workloads), o.runs, o.estimate().Round(time.Minute))
	err = o.rounds(ctx, c, errOut)
	c.Goals = c.Judge()
	if o.file != "" {
		if err := write(c, o.file); err != nil {
			return err
		}
	}
	if err != nil {
		return err // what there is has been written
	}
	return c.WriteText(out)
}

// possible leaves out the workloads that this machine cannot run, and says why.
func possible(ctx context.Context, list []run.Workload) (here []run.Workload, missing []peer.Absent) {
	for _, w := range list {
		if err := w.NotHere(ctx); err != nil {
			missing = append(missing, peer.Absent{Name: w.Name, Why: err.Error()})
			continue
		}
		here = append(here, w)
	}
	return here, missing
}

// overhead is what a run takes beside its load: handshakes, the last messages.
const overhead = 700 * time.Millisecond

func (o *options) estimate() (d time.Duration) {
	for _, w := range o.workloads {
		if w.Load.Duration == 0 {
			d += o.Duration + o.Warmup + overhead
		} else {
			d += 2*w.Load.Duration + 2*time.Second + overhead
		}
	}
	return d * time.Duration(len(o.peers)*o.runs)
}

func (o *options) rounds(ctx context.Context, c *run.Record, errOut io.Writer) error {
	hopeless := map[[2]string]bool{}
	for round := range o.runs {
		for i := range o.workloads {
			w := &o.workloads[i]
			for _, p := range o.peers {
				if key := [2]string{w.Name, p.Name}; !hopeless[key] {
					hopeless[key] = o.try(ctx, c, p, w, round, errOut)
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
		}
	}
	return nil
}

// try runs until there is a valid run, and reports whether trying again is useless.
func (o *options) try(ctx context.Context, c *run.Record, p *peer.Peer, w *run.Workload, round int, errOut io.Writer) (hopeless bool) {
	o.Seed = uint64(round) + 1
	for range o.attempts {
		r := o.Run(ctx, p, w)
		if ctx.Err() != nil {
			return true
		}
		r.Round = round
		c.Add(r)
		fmt.Fprintln(errOut, r)
		if r.Failed != "" || r.Valid {
			return r.Failed != ""
		}
	}
	return false
}

func write(c *run.Record, file string) error {
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
