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

	"godwit.example/godwit/tools/internal/process"
)

// The floor of a latency is what the machine adds to messages that nobody has to work for: two programs that only read the clock, one on the
// server's CPU and one on the client's, note when they were not running, because the kernel ran something else or the hypervisor another guest.
// A message that is due while the client's CPU is away leaves when it is back, is answered when the server's is there, and is taken when
// the client's is there again.

const (
	floorTime   = 3 * time.Second
	floorPeriod = 50 * time.Microsecond // between two messages, as in W2
	leastGap    = 20 * time.Microsecond
)

// gap is a time for which a program did not run, in nanoseconds of the clock that all processes share.
type gap struct{ From, To int64 }

// watched is what one CPU's program has seen.
type watched struct {
	Gaps     []gap
	From, To int64
}

// watch reads the clock for d.
func watch(d time.Duration) watched {
	now := time.Now().UnixNano()
	w := watched{Gaps: make([]gap, 0, 1<<16), From: now, To: now + int64(d)}
	for last := now; now < w.To; last = now {
		if now = time.Now().UnixNano(); now-last >= int64(leastGap) {
			w.Gaps = append(w.Gaps, gap{last, now})
		}
	}
	return w
}

// printWatched is what the program does for floor.
func printWatched(out io.Writer, d time.Duration) error {
	return json.NewEncoder(out).Encode(watch(d))
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
	var took []int64
	for t := max(client.From, server.From); t < min(client.To, server.To); t += int64(floorPeriod) {
		took = append(took, client.present(server.present(client.present(t)))-t)
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100]) / 1e3
}

// present returns when the program runs, from t on.
func (w *watched) present(t int64) int64 {
	i, _ := slices.BinarySearchFunc(w.Gaps, t, func(g gap, t int64) int {
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
