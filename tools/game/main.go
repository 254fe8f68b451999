// Command game sends 60 players to examples/game and prints what its three ways to drive a server cost: medians of the server's CPU time for
// each client and tick, ticks that were late, and how the ways compare. The server has CPU 0 to itself and the players CPU 1, each with
// GOMAXPROCS=1 and in a process of its own; the ways take turns. So does a program that has nothing but a time.Ticker, on the server's CPU:
// how late its ticks come is the machine's doing.
//
//	go run ./tools/game
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// bare is the turn of a program without players and without godwit.
const bare = "bare ticker"

var (
	ways  = []string{"tick", "goroutine", "blocking"}
	turns = append([]string{bare}, ways...)
)

const attempts = 3 // rounds that are played at most, as a multiple of the valid ones that are wanted

// options are the flags.
type options struct {
	players, rounds      int
	duration             time.Duration
	serverCPU, clientCPU int
	binary               string
	check, busy          bool
	ticker               bool   // this process is the bare ticker
	play                 string // address: this process is the players
	pid                  int    // of the server they play on
	state                string // directory of the servers' identity
}

func main() {
	var o options
	flag.IntVar(&o.players, "players", 60, "number of players")
	flag.IntVar(&o.rounds, "rounds", 5, "valid rounds, in each of which every way has its turn; three times as many are played at most")
	flag.DurationVar(&o.duration, "for", 10*time.Second, "length of a measurement")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU of the server; -1 does not bind it")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU of the players; -1 does not bind them")
	flag.StringVar(&o.binary, "binary", "", "the game server; empty builds examples/game")
	flag.BoolVar(&o.check, "check", false, "fail if a promise does not hold")
	flag.BoolVar(&o.busy, "busy", false, "count invalid rounds too, to see something on a machine that is busy: not for publication, and the output says so")
	flag.BoolVar(&o.ticker, "ticker", false, "be the program that only ticks, as the program starts itself")
	flag.StringVar(&o.play, "play", "", "be the players of the server at this address, as the program starts itself")
	flag.IntVar(&o.pid, "pid", 0, "process of that server")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := compare
	switch {
	case o.ticker:
		run = tickOnly
	case o.play != "":
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
	var rounds []round
	invalid := 0
	for len(rounds) < o.rounds && len(rounds)+invalid < attempts*o.rounds {
		r, err := o.round(ctx)
		if err != nil {
			return err
		}
		if why := r.reasons(); len(why) > 0 {
			fmt.Fprintf(out, "INVALID round: %s\n", strings.Join(why, "; "))
			invalid++
			if !o.busy {
				continue
			}
		}
		rounds = append(rounds, r)
	}
	return report(out, rounds, invalid, o)
}

// round gives each way its turn, and the bare ticker.
func (o *options) round(ctx context.Context) (round, error) {
	r := make(round)
	for _, way := range turns {
		one, err := o.run(ctx, way)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way, err)
		}
		r[way] = one
	}
	return r, nil
}

// run starts a server and its players, or the bare ticker, and returns what was measured.
func (o *options) run(ctx context.Context, way string) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cpu, args := o.serverCPU, []string{"-ticker", "-for", o.duration.String()}
	if way != bare {
		server, address, err := process.StartBanner(o.place(cpu).Command(ctx, o.binary, "-way", way))
		if err != nil {
			return r, err
		}
		defer server.Stop()
		cpu, args = o.clientCPU, []string{"-play", address, "-pid", strconv.Itoa(server.PID()), "-players", strconv.Itoa(o.players), "-for", o.duration.String()}
	}
	text, err := process.Output(o.place(cpu).Command(ctx, self, args...))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

func (o *options) place(cpu int) process.Place {
	return process.Place{CPU: cpu, Procs: 1, State: o.state}
}
