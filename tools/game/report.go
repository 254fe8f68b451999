package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// What is promised on a machine with two CPUs that has nothing else to do.
const goalRatio = 1.3 // of the way with a goroutine to that with Tick

// round is what each turn of it measured.
type round map[string]result

// reasons says why a round does not count: a turn of it was disturbed.
func (r round) reasons() (why []string) {
	for _, way := range turns {
		for _, reason := range r[way].Noise.Reasons() {
			why = append(why, way+": "+reason)
		}
	}
	return why
}

// sums is a way's results in all rounds.
type sums struct {
	cost, ratio, stolen         []float64
	behind                      []time.Duration // of all ticks, in order
	ticks, late, inputs, states int
}

func sum(rounds []round, way string, players int) (s sums) {
	for _, of := range rounds {
		r, base := of[way], of[ways[0]]
		s.cost, s.ratio = append(s.cost, r.cost(players)), append(s.ratio, r.cost(players)/max(base.cost(players), 1e-9))
		if share := r.Noise.Stolen; share != nil {
			s.stolen = append(s.stolen, 100**share)
		}
		s.behind = append(s.behind, r.Behind...)
		s.ticks, s.late, s.inputs, s.states = s.ticks+r.Ticks, s.late+r.Late, s.inputs+r.Inputs, s.states+r.States
	}
	slices.Sort(s.behind)
	return s
}

// ticking says how the ticks came, and what the hypervisor kept of the machine meanwhile.
func (s *sums) ticking() string {
	at := func(q float64) float64 {
		if len(s.behind) == 0 {
			return 0
		}
		return max(s.behind[int(q*float64(len(s.behind)-1))].Seconds()*1e3, 0)
	}
	text := fmt.Sprintf("%d ticks, %d late, p90 %.1f, p99 %.1f, the latest by %.1f ms", s.ticks, s.late, at(0.9), at(0.99), at(1))
	if len(s.stolen) > 0 {
		text += fmt.Sprintf(", %s %% stolen", spread(s.stolen))
	}
	return text
}

// report prints medians, the least and the most in brackets. Ratios are of runs of the same round.
func report(out io.Writer, rounds []round, invalid int, o *options) error {
	valid := len(rounds)
	if o.busy {
		valid -= invalid
		fmt.Fprintf(out, "medians of %d rounds, of which %d are INVALID\n", len(rounds), invalid)
	} else {
		fmt.Fprintf(out, "medians of %d valid rounds of %d\n", valid, valid+invalid)
	}
	if len(rounds) == 0 {
		return errors.New("no round is valid: no result")
	}
	var missed []error
	if valid < o.rounds {
		missed = append(missed, fmt.Errorf("%d valid rounds of %d: no result", valid, o.rounds))
	}
	control := sum(rounds, bare, 0)
	fmt.Fprintf(out, "%11s: %s\n", bare, control.ticking())
	for _, way := range ways {
		s := sum(rounds, way, o.players)
		// Inputs are those between the first tick and the last, one tick fewer.
		fmt.Fprintf(out, "%11s: %s µs of server CPU a client-tick, %s of tick; %s; %.1f %% of states and %.1f %% of inputs arrived\n",
			way, spread(s.cost), spread(s.ratio), s.ticking(), share(s.states, s.ticks*o.players), share(s.inputs, (s.ticks-len(rounds))*o.players))
		if s.late > 0 {
			missed = append(missed, fmt.Errorf("%s: %d late ticks, %d of the bare ticker", way, s.late, control.late))
		}
		if m := median(s.ratio); way == "goroutine" && m > goalRatio {
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
