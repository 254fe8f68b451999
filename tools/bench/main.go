// Command bench runs the workloads that the project's promises are about, and says of each promise whether it holds.
//
// The server has CPU 0 to itself and the client CPU 1, each with GOMAXPROCS=1 and in a process of its own; a server is started for
// each run, runs of different workloads take turns, and beside each run the same load goes over raw UDP and TCP. Before a run that is judged by its
// latency, two programs that only read the clock show what the machine adds to any latency. What is printed are
// medians of valid runs. docs/BENCHMARKS.md says what makes a run valid and how to read the output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// options are the flags.
type options struct {
	runs, attempts       int
	duration             time.Duration
	serverCPU, clientCPU int
	binary, only         string
	json, check, busy    bool
	references           bool
	keep                 string // file of valid runs
	state                string // directory of the servers' identity
}

// workload is a load and what is promised of it.
type workload struct {
	name      string
	what      string
	server    []string // flags of godwit serve
	client    []string // flags of godwit bench
	reference bool
	floor     bool                    // the machine's part of the latency is measured first
	promise   func(s *series) verdict // nil: the figures are printed and nothing is promised
}

// smallBuffer is what a host grants that was never tuned: net.core.rmem_max of most distributions.
const smallBuffer = "212992"

var workloads = []workload{
	{
		name: "W1", what: "1 connection, 64 B, 1 outstanding", reference: true,
		client: []string{"--conns", "1", "--size", "64", "--rate", "0", "--outstanding", "1"},
	},
	{
		name: "W2", what: "100 connections, 128 B, 20,000 messages/s in all, ordered, encrypted", reference: true,
		client: []string{"--conns", "100", "--size", "128", "--rate", "20000"},
		floor:  true, promise: promiseLatency,
	},
	{
		name: "W2-sleep", what: "W2, and the server sleeps when it has nothing to do (--spin 0)", floor: true,
		server: []string{"--spin", "0"}, client: []string{"--conns", "100", "--size", "128", "--rate", "20000"},
	},
	{
		name: "W2-small", what: "W2 with socket buffers of " + smallBuffer + " B",
		server: []string{"--socket-buffer", smallBuffer}, client: []string{"--conns", "100", "--size", "128", "--rate", "20000", "--socket-buffer", smallBuffer},
		floor: true, promise: promiseLatency,
	},
	{
		name: "W3", what: "100 connections, 64 B, 64 outstanding each, ordered, encrypted", reference: true,
		client:  []string{"--conns", "100", "--size", "64", "--rate", "0", "--outstanding", "64"},
		promise: promiseThroughput,
	},
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 5, "valid runs of each workload")
	flag.IntVar(&o.attempts, "attempts", 3, "runs that are made at most, as a multiple of -runs, to have so many valid ones")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "length of a measurement")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU of the servers; -1 does not bind them")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU of the client; -1 does not bind it")
	flag.StringVar(&o.binary, "binary", "", "the godwit program; empty builds it")
	flag.StringVar(&o.only, "only", "", "workloads to run, separated by commas; empty is all of "+strings.Join(names(), ","))
	flag.BoolVar(&o.busy, "busy", false, "count invalid runs too, to see something on a machine that is busy: not for publication, and the output says so")
	flag.BoolVar(&o.json, "json", false, "print one JSON object on one line instead of tables")
	flag.BoolVar(&o.references, "references", true, "run raw UDP and TCP beside the workloads that are compared with them")
	flag.StringVar(&o.keep, "keep", "", "file that keeps the valid runs, for going on another time with the same program: a busy machine has few quiet moments")
	flag.BoolVar(&o.check, "check", false, "fail if a promise does not hold")
	gaps := flag.Duration("gaps", 0, "do nothing but read the clock for so long, and print when the CPU was away; the program calls itself so")
	flag.Parse()
	if *gaps > 0 {
		if err := printWatched(os.Stdout, *gaps); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, &o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() []string {
	var list []string
	for _, w := range workloads {
		list = append(list, w.name)
	}
	return list
}

// chosen returns the workloads that -only names.
func (o *options) chosen() ([]workload, error) {
	if o.only == "" {
		return slices.Clone(workloads), nil
	}
	var list []workload
	for _, name := range strings.Split(o.only, ",") {
		i := slices.IndexFunc(workloads, func(w workload) bool { return strings.EqualFold(w.name, strings.TrimSpace(name)) })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: known are %s", name, strings.Join(names(), ", "))
		}
		list = append(list, workloads[i])
	}
	return list, nil
}

// bench makes the runs, workload after workload and round after round, and prints what came of them.
func bench(ctx context.Context, o *options, out, progress io.Writer) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "godwit-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.state = filepath.Join(dir, "state")
	if o.binary, err = process.Program(ctx, dir, o.binary, "godwit.example/godwit/gateway/cmd/godwit"); err != nil {
		return err
	}
	all := make([]*series, len(list))
	for i := range list {
		list[i].reference = list[i].reference && o.references
		all[i] = &series{Workload: list[i].name, What: list[i].what, promise: list[i].promise, reference: list[i].reference, Busy: o.busy}
	}
	kept, err := openKept(o.keep, o.binary)
	if err != nil {
		return err
	}
	kept.restore(all)
	for round := range o.runs * o.attempts {
		for i := range list {
			s := all[i]
			if len(s.Runs) >= o.runs {
				continue
			}
			fmt.Fprintf(progress, "%s, run %d: %d of %d are valid so far\n", s.Workload, round+1, len(s.Runs), o.runs)
			r, err := o.run(ctx, &list[i])
			if err != nil {
				return fmt.Errorf("%s: %w", s.Workload, err)
			}
			s.add(r)
			if err := kept.save(all); err != nil {
				return err
			}
			why := strings.Join(r.Reasons, "; ")
			if why != "" {
				why = ", INVALID: " + why
			}
			floor := ""
			if r.Floor != nil {
				floor = fmt.Sprintf(" (floor %.1f)", *r.Floor)
			}
			fmt.Fprintf(progress, "%s, run %d: p99 %.1f µs%s, %.0f messages/s, others ran: %s%s\n",
				s.Workload, round+1, r.Latency.P99, floor, r.MessagesPerSecond, most(r.Others), why)
		}
	}
	return report(out, all, o)
}

// report prints all series.
func report(out io.Writer, all []*series, o *options) error {
	held := true
	for _, s := range all {
		s.conclude(o.runs)
		held = held && (s.Verdict == nil || s.Verdict.Holds)
	}
	if o.json {
		if err := json.NewEncoder(out).Encode(all); err != nil {
			return err
		}
	} else {
		facts, notes := machine()
		fmt.Fprintf(out, "machine: %s\n", facts)
		for _, note := range notes {
			fmt.Fprintf(out, "note: %s\n", note)
		}
		for _, s := range all {
			if err := s.write(out); err != nil {
				return err
			}
		}
	}
	if o.check && !held {
		return errors.New("a promise does not hold")
	}
	return nil
}
