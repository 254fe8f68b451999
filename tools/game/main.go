// Command game sends 60 players to examples/game and prints what its three ways to drive a server cost: medians of the server's CPU time for
// each client and tick, ticks that were late, and how the ways compare. The server has CPU 0 to itself and the players CPU 1, each with
// GOMAXPROCS=1 and in a process of its own; the ways take turns.
//
//	go run ./tools/game
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
	"strconv"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// What is promised on a machine with two CPUs that has nothing else to do.
const goalRatio = 1.3 // of the way with a goroutine to that with Tick

var ways = []string{"tick", "goroutine", "blocking"}

// options are the flags.
type options struct {
	players, rounds      int
	duration             time.Duration
	serverCPU, clientCPU int
	binary               string
	check                bool
	play                 string // address: this process is the players
	pid                  int    // of the server they play on
	state                string // directory of the servers' identity
}

func main() {
	var o options
	flag.IntVar(&o.players, "players", 60, "number of players")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each way has its turn")
	flag.DurationVar(&o.duration, "for", 10*time.Second, "length of a measurement")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU of the server; -1 does not bind it")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU of the players; -1 does not bind them")
	flag.StringVar(&o.binary, "binary", "", "the game server; empty builds examples/game")
	flag.BoolVar(&o.check, "check", false, "fail if a promise does not hold")
	flag.StringVar(&o.play, "play", "", "be the players of the server at this address, as the program starts itself")
	flag.IntVar(&o.pid, "pid", 0, "process of that server")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := compare
	if o.play != "" {
		run = play
	}
	if err := run(ctx, &o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "game:", err)
		os.Exit(1)
	}
}

// compare has the ways take turns and prints what came of it.
func compare(ctx context.Context, o *options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "godwit-game")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.state = filepath.Join(dir, "state")
	if o.binary, err = process.Program(ctx, dir, o.binary, "godwit.example/godwit/examples/game"); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d players, 30 ticks a second of %d B to each, 30 inputs a second of %d B from each; %d rounds of %v, the server on CPU %d\n",
		o.players, stateSize, inputSize, o.rounds, o.duration, o.serverCPU)
	results := make(map[string][]result)
	for range o.rounds {
		for _, way := range ways {
			r, err := o.run(ctx, way)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			results[way] = append(results[way], r)
		}
	}
	return report(out, results, o)
}

// run starts a server and its players, and returns what the players measured.
func (o *options) run(ctx context.Context, way string) (r result, err error) {
	server, address, err := process.StartBanner(o.place(o.serverCPU).Command(ctx, o.binary, "-way", way))
	if err != nil {
		return r, err
	}
	defer server.Stop()
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	text, err := process.Output(o.place(o.clientCPU).Command(ctx, self, "-play", address, "-pid", strconv.Itoa(server.PID()),
		"-players", strconv.Itoa(o.players), "-for", o.duration.String()))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

func (o *options) place(cpu int) process.Place {
	return process.Place{CPU: cpu, Procs: 1, State: o.state}
}

// report prints medians, the least and the most in brackets. Ratios are of runs of the same round.
func report(out io.Writer, results map[string][]result, o *options) error {
	var missed []error
	base := results[ways[0]]
	for _, way := range ways {
		var cost, ratio []float64
		var ticks, late, inputs, states int
		var worst time.Duration
		for i, r := range results[way] {
			c := r.cost(o.players)
			cost, ratio = append(cost, c), append(ratio, c/max(base[i].cost(o.players), 1e-9))
			// Inputs are those between the first tick and the last, one tick fewer.
			ticks, late, inputs, states, worst = ticks+r.Ticks, late+r.Late, inputs+r.Inputs, states+r.States, max(worst, r.Worst)
		}
		fmt.Fprintf(out, "%9s: %s µs of server CPU a client-tick, %s of tick; %d ticks, %d late, the latest by %.1f ms; %.1f %% of states and %.1f %% of inputs arrived\n",
			way, spread(cost), spread(ratio), ticks, late, worst.Seconds()*1e3, share(states, ticks*o.players), share(inputs, (ticks-len(results[way]))*o.players))
		if late > 0 {
			missed = append(missed, fmt.Errorf("%s: %d late ticks", way, late))
		}
		if m := median(ratio); way == "goroutine" && m > goalRatio {
			missed = append(missed, fmt.Errorf("the way with a goroutine costs %.2f times that with Tick, the goal is %g", m, goalRatio))
		}
	}
	if !o.check {
		return nil
	}
	return errors.Join(missed...)
}

func share(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

func spread(list []float64) string {
	return fmt.Sprintf("%.2f (%.2f-%.2f)", median(list), slices.Min(list), slices.Max(list))
}
