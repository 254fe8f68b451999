package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// series is the runs of one workload.
type series struct {
	Workload string    `json:"workload"`
	What     string    `json:"what"`
	Runs     []*result `json:"runs"`    // the valid ones
	Invalid  []*result `json:"invalid"` // those that measured something else
	Busy     bool      `json:"busy"`    // invalid runs are among Runs
	Verdict  *verdict  `json:"must_hold,omitempty"`

	promise   func(*series) verdict
	reference bool
}

// verdict is whether a promise holds, in one line.
type verdict struct {
	Holds bool   `json:"holds"`
	Text  string `json:"text"`
}

// add files a run. A reference that is invalid makes the run invalid: it is there to be compared with.
func (s *series) add(r *result) {
	valid := r.Valid
	if s.reference {
		for _, name := range []string{"udp", "tcp"} {
			ref := r.Reference[name]
			valid = valid && ref != nil && ref.Valid
		}
	}
	if valid || s.Busy {
		s.Runs = append(s.Runs, r)
	}
	if !valid {
		s.Invalid = append(s.Invalid, r)
	}
}

// conclude asks whether the promise holds, if there is one and there are runs enough to tell.
func (s *series) conclude(runs int) {
	switch {
	case s.promise == nil:
	case len(s.Runs) < runs:
		s.Verdict = &verdict{Text: fmt.Sprintf("%d valid runs of %d: no result", len(s.Runs), runs)}
	default:
		v := s.promise(s)
		s.Verdict = &v
	}
}

// median is the middle of a figure over the valid runs; ok is false if one of them does not have it.
func (s *series) median(of func(*result) *float64) (m float64, ok bool) {
	var list []float64
	for _, r := range s.Runs {
		v := of(r)
		if v == nil {
			return 0, false
		}
		list = append(list, *v)
	}
	if len(list) == 0 {
		return 0, false
	}
	slices.Sort(list)
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2, true
	}
	return list[len(list)/2], true
}

// total adds a count over the valid runs.
func (s *series) total(of func(*result) uint64) (n uint64) {
	for _, r := range s.Runs {
		n += of(r)
	}
	return n
}

// promiseLatency: 100 connections of 128 B at 20,000 messages a second.
func promiseLatency(s *series) verdict {
	const mostP99, mostRepeated = 500.0, 0.001
	lost := s.total(func(r *result) uint64 { return r.Lost })
	corrupted := s.total(func(r *result) uint64 { return r.Corrupted })
	drops := s.total(func(r *result) uint64 { return r.KernelDrops })
	p99, _ := s.median(func(r *result) *float64 { return &r.Latency.P99 })
	repeated, known := s.median(func(r *result) *float64 { return r.Retransmission })
	floor, _ := s.median(func(r *result) *float64 { return r.Floor })
	return verdict{
		Holds: lost == 0 && corrupted == 0 && drops == 0 && p99 < mostP99 && known && repeated < mostRepeated,
		Text: fmt.Sprintf("lost %d (0), corrupted %d (0), p99 %.1f µs (below %.0f; floor %.1f), retransmitted %.4f %% (below %.1f), kernel drops %d (0)",
			lost, corrupted, p99, mostP99, floor, 100*repeated, 100*mostRepeated, drops),
	}
}

// saturated is how busy, in percent of its CPU, a server is whose messages a second are its own limit and not the clients'.
const saturated = 95.0

// promiseThroughput: 100 connections of 64 B with 64 outstanding.
func promiseThroughput(s *series) verdict {
	const least = 1_500_000
	rate, _ := s.median(func(r *result) *float64 { return &r.MessagesPerSecond })
	lost := s.total(func(r *result) uint64 { return r.Lost })
	corrupted := s.total(func(r *result) uint64 { return r.Corrupted })
	own, _ := s.median(func(r *result) *float64 { return r.ServerPerMessage })
	tcp, _ := s.median(func(r *result) *float64 {
		if r.Reference["tcp"] == nil {
			return nil
		}
		return r.Reference["tcp"].ServerPerMessage
	})
	text := fmt.Sprintf("%.0f messages/s (at least %d), lost %d (0), corrupted %d (0), server %.3f µs a message, TCP %.3f", rate, least, lost, corrupted, own, tcp)
	if tcp > 0 {
		text += fmt.Sprintf(", ratio %.2f", own/tcp)
	}
	switch busy, known := s.median(func(r *result) *float64 { return r.ServerCPU }); {
	case !known:
		text += "; how busy the server was is unknown: messages/s is a lower bound"
	case busy < saturated:
		text += fmt.Sprintf("; the server was only %.1f %% busy: messages/s is a lower bound", busy)
	}
	return verdict{Holds: rate >= least && lost == 0 && corrupted == 0, Text: text}
}

// columns are the figures of the table.
var columns = []struct {
	title, format string
	of            func(*result) *float64
}{
	{"p50 µs", "%.1f", func(r *result) *float64 { return &r.Latency.P50 }},
	{"p90 µs", "%.1f", func(r *result) *float64 { return &r.Latency.P90 }},
	{"p99 µs", "%.1f", func(r *result) *float64 { return &r.Latency.P99 }},
	{"p99.9 µs", "%.1f", func(r *result) *float64 { return &r.Latency.P999 }},
	{"floor p99 µs", "%.1f", func(r *result) *float64 { return r.Floor }},
	{"messages/s", "%.0f", func(r *result) *float64 { return &r.MessagesPerSecond }},
	{"server µs/message", "%.3f", func(r *result) *float64 { return r.ServerPerMessage }},
	{"server CPU %", "%.1f", func(r *result) *float64 { return r.ServerCPU }},
	{"stolen CPU %", "%.1f", func(r *result) *float64 { return r.StolenCPU }},
	{"others ms/s", "%.1f", (*result).others},
	{"generator late µs", "%.1f", func(r *result) *float64 { return &r.GeneratorLateness }},
}

// write prints the medians, and what is promised of them.
func (s *series) write(w io.Writer) error {
	if s.Busy {
		fmt.Fprintf(w, "\n%s: %s; medians of %d runs, of which %d are INVALID\n", s.Workload, s.What, len(s.Runs), len(s.Invalid))
	} else {
		fmt.Fprintf(w, "\n%s: %s; medians of %d valid runs of %d\n", s.Workload, s.What, len(s.Runs), len(s.Runs)+len(s.Invalid))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t")
	for _, c := range columns {
		fmt.Fprint(t, c.title, "\t")
	}
	fmt.Fprintln(t)
	rows := []struct{ title, key string }{{"godwit", ""}}
	if s.reference {
		rows = append(rows, struct{ title, key string }{"raw UDP", "udp"}, struct{ title, key string }{"TCP", "tcp"})
	}
	for _, row := range rows {
		fmt.Fprint(t, row.title, "\t")
		for _, c := range columns {
			text := "-"
			if m, ok := s.median(func(r *result) *float64 {
				if row.key != "" {
					r = r.Reference[row.key]
				}
				if r == nil {
					return nil
				}
				return c.of(r)
			}); ok {
				text = fmt.Sprintf(c.format, m)
			}
			fmt.Fprint(t, text, "\t")
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	s.writeInvalid(w)
	if v := s.Verdict; v != nil {
		word := "MISSED"
		if v.Holds {
			word = "holds"
		}
		_, err := fmt.Fprintf(w, "must hold: %s: %s\n", word, v.Text)
		return err
	}
	return nil
}

// writeInvalid says why runs do not count, each reason once.
func (s *series) writeInvalid(w io.Writer) {
	seen := map[string]bool{}
	for _, r := range s.Invalid {
		for name, of := range map[string]*result{"godwit": r, "raw UDP": r.Reference["udp"], "TCP": r.Reference["tcp"]} {
			if of == nil {
				continue
			}
			for _, why := range of.Reasons {
				// The figures of a reason differ from run to run; its words do not.
				kind := name + strings.Join(strings.FieldsFunc(why, func(c rune) bool { return c >= '0' && c <= '9' || c == '.' }), "")
				if !seen[kind] {
					seen[kind] = true
					fmt.Fprintf(w, "INVALID (%s): %s\n", name, why)
				}
			}
		}
	}
}
