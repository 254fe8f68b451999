package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/load"
	"godwit.example/godwit/tools/internal/process"
)

// compare runs live traffic to the empty server and to the one that holds the connections, in turns, until there are enough valid runs of both,
// or no time is left for more.
func (s *servers) compare(ctx context.Context, o *options, r *report, progress io.Writer) (err error) {
	defer r.conclude(o.runs)
	if err := s.client.pause(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.client.resume()) }()
	for range o.runs * o.attempts {
		for _, side := range []struct {
			name   string
			server *process.Echo
			runs   *[]*load.Result
		}{{"without", s.empty, &r.Without}, {"beside", s.full, &r.With}} {
			if _, valid := p99(*side.runs); valid >= o.runs {
				continue
			}
			if time.Since(s.began) > o.limit {
				return nil
			}
			if err := s.quiet(ctx); err != nil {
				return err
			}
			run, err := s.live(ctx, o, side.server)
			if err != nil {
				return err
			}
			*side.runs = append(*side.runs, run)
			why := ""
			if !run.Valid {
				why = ", INVALID: " + strings.Join(run.Reasons, "; ")
			}
			fmt.Fprintf(progress, "live traffic %s %d idle connections: p99 %.1f µs%s\n", side.name, r.Connections, run.Latency.P99, why)
		}
	}
	return nil
}

// A run begins when both servers have used less than a fiftieth of a CPU for so many seconds: examples/echo collects garbage and gives memory
// back whenever it has fallen quiet, which takes seconds with a million connections, and the servers share a CPU. They are given a minute.
const (
	quietSeconds = 2
	quietShare   = 0.02
	mostLoud     = 60
)

func (s *servers) quiet(ctx context.Context) error {
	var last time.Duration
	quiet := 0
	for i := 0; i < mostLoud && quiet < quietSeconds; i++ {
		used := time.Duration(0)
		for _, e := range []*process.Echo{s.full, s.empty} {
			one, err := process.CPU(e.PID())
			if err != nil {
				return err
			}
			used += one
		}
		if quiet++; (used - last).Seconds() > quietShare {
			quiet = 0
		}
		last = used
		if err := process.Wait(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// live runs the traffic once, from a process of its own on the clients' CPU.
func (s *servers) live(ctx context.Context, o *options, to *process.Echo) (*load.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pids := fmt.Sprintf("%d,%d,%d", s.full.PID(), s.empty.PID(), s.client.PID())
	text, err := process.Output(process.Place{CPU: o.clientCPU, Procs: 1}.Command(ctx, self,
		"-live", "-addr", to.Addr, "-identity", to.Identity, "-duration", o.duration.String(), "-pids", pids))
	if err != nil {
		return nil, err
	}
	r := new(load.Result)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("the client of the live traffic printed %q: %w", text, err)
	}
	return r, nil
}

// runLive is that process. The noise is measured here, because the servers have no page that tells their CPU time.
func runLive(ctx context.Context, o *options, out io.Writer) error {
	pids := []int{0}
	for _, text := range strings.Split(o.pids, ",") {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	end := load.StartNoise(pids...)
	r, err := load.Run(ctx, load.Config{Addr: o.addr, Duration: o.duration, Client: &godwit.Config{Identity: o.identity}})
	if err != nil {
		return err
	}
	for _, why := range end().Reasons() {
		if strings.HasPrefix(why, "other programs") { // what was stolen the run has judged by itself
			r.Reasons, r.Valid = append(r.Reasons, why), false
		}
	}
	r.Notes = nil // that the server's CPU time was unknown: it is known here
	return json.NewEncoder(out).Encode(r)
}
