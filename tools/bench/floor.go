package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/tools/internal/process"
)

// The floor of a latency is what the machine adds to messages that nobody has to work for: two programs that only read the clock, one on the
// server's CPU and one on the client's, note when they were not running, because the kernel ran something else or the hypervisor another guest.
// A message that is due while the client's CPU is away leaves when it is back, is answered when the server's is there, and is taken when
// the client's is there again.

const (
	floorTime   = 3 * time.Second
	floorPeriod = 50 * mono.Microsecond // between two messages, as in W2
	leastGap    = 20 * mono.Microsecond
)

// gap is a time for which a program did not run, on the clock that all processes share.
type gap struct{ From, To mono.Time }

// gaps reads the clock for d.
func gaps(d mono.Duration) (list []gap) {
	list = make([]gap, 0, 1<<16)
	start := mono.Now()
	for last := start; last.Sub(start) < d; {
		now := mono.Now()
		if now.Sub(last) >= leastGap {
			list = append(list, gap{last, now})
		}
		last = now
	}
	return list
}

// printGaps is what the program does for floor.
func printGaps(out io.Writer, d time.Duration) error {
	start := mono.Now()
	return json.NewEncoder(out).Encode(watched{gaps(mono.Duration(d)), start, mono.Now()})
}

// watched is what one CPU's program prints.
type watched struct {
	Gaps     []gap
	From, To mono.Time
}

// floor watches both CPUs and returns the 99th percentile of what they add, in microseconds.
func (o *options) floor(ctx context.Context) (p99 float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var cpus [2]watched
	var errs [2]error
	var wg sync.WaitGroup
	for i, cpu := range []int{o.clientCPU, o.serverCPU} {
		wg.Go(func() {
			text, err := process.Output(process.Place{CPU: cpu, Procs: 1, State: o.state}.Command(ctx, self, "-gaps", floorTime.String()))
			if err == nil {
				err = json.Unmarshal(text, &cpus[i])
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return 0, fmt.Errorf("the floor: %w", err)
	}
	return floorOf(cpus[0], cpus[1]), nil
}

// floorOf lets messages pass from the client to the server and back, which takes no time but that for which a CPU is away.
func floorOf(client, server watched) (p99 float64) {
	var took []mono.Duration
	for t := max(client.From, server.From); t < min(client.To, server.To); t = t.Add(floorPeriod) {
		back := client.present(server.present(client.present(t)))
		took = append(took, back.Sub(t))
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100]) / float64(mono.Microsecond)
}

// present returns when the program runs, from t on.
func (w *watched) present(t mono.Time) mono.Time {
	i, _ := slices.BinarySearchFunc(w.Gaps, t, func(g gap, t mono.Time) int {
		if g.To <= t {
			return -1
		}
		return 1
	})
	if i < len(w.Gaps) && w.Gaps[i].From <= t {
		return w.Gaps[i].To
	}
	return t
}
