package run

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"godwit.example/godwit/bench/internal/peer"
)

// Record is a comparison: its runs, and what they were made with.
type Record struct {
	Date    string   `json:"date"`
	Command []string `json:"command"`
	Commit  string   `json:"commit,omitempty"`
	Machine []string `json:"machine"`
	Notes   []string `json:"notes,omitempty"` // what spoils figures on this machine
	Quick   bool     `json:"quick"`           // short runs, for a look and not for a verdict

	Workloads []string      `json:"workloads"`
	Peers     []PeerFacts   `json:"peers"`
	NotHere   []peer.Absent `json:"not_run_here"`

	Runs    []*Result `json:"runs"`
	Invalid []*Result `json:"invalid"` // they measured something else than they were meant to
	Failed  []*Result `json:"failed"`
	Goals   []Verdict `json:"goals"`
}

// PeerFacts are what a reader must know of a peer.
type PeerFacts struct {
	Name      string `json:"name"`
	About     string `json:"about"`
	Encrypted bool   `json:"encrypted"`
	Mode      string `json:"mode"`
}

// NewRecord describes what is about to be compared.
func NewRecord(command []string, workloads []Workload, peers []*peer.Peer) *Record {
	c := &Record{Date: time.Now().UTC().Format(time.DateTime + " UTC"), Command: command, NotHere: peer.NotHere()}
	c.Machine, c.Notes = machineFacts()
	c.Commit = commit()
	for i := range workloads {
		c.Workloads = append(c.Workloads, workloads[i].Name)
	}
	for _, p := range peers {
		c.Peers = append(c.Peers, PeerFacts{p.Name, p.About, p.Encrypted, p.Mode.String()})
	}
	return c
}

// Add files a run.
func (c *Record) Add(r *Result) {
	switch {
	case r.Failed != "":
		c.Failed = append(c.Failed, r)
	case r.Valid:
		c.Runs = append(c.Runs, r)
	default:
		c.Invalid = append(c.Invalid, r)
	}
}

// of returns the valid runs of a peer, by round.
func (c *Record) of(workload, peerName string) (runs []*Result) {
	for _, r := range c.Runs {
		if r.Workload == workload && r.Peer == peerName {
			runs = append(runs, r)
		}
	}
	slices.SortStableFunc(runs, func(a, b *Result) int { return cmp.Compare(a.Round, b.Round) })
	return runs
}

// Median returns the middle, the least and the most of a figure over the valid
// runs of a peer; ok is false if there is none.
func (c *Record) Median(workload, peerName string, f *Figure) (middle, least, most float64, ok bool) {
	var list []float64
	for _, r := range c.of(workload, peerName) {
		if v := f.Of(r); v != nil {
			list = append(list, *v)
		}
	}
	if len(list) == 0 {
		return 0, 0, 0, false
	}
	middle = median(list)
	return middle, list[0], list[len(list)-1], true
}

// Ratio compares two peers over the rounds in which both have the figure.
func (c *Record) Ratio(workload, a, b string, f *Figure) (r Ratio, ok bool) {
	var x, y []float64
	others := map[int]*Result{}
	for _, r := range c.of(workload, b) {
		others[r.Round] = r
	}
	for _, r := range c.of(workload, a) {
		other := others[r.Round]
		if other == nil {
			continue
		}
		if v, w := f.Of(r), f.Of(other); v != nil && w != nil && *w != 0 {
			x, y = append(x, *v), append(y, *w)
		}
	}
	if len(x) == 0 {
		return r, false
	}
	return ratioOf(x, y), true
}

// Faults are what no transport may do, whatever it promises: a run with one says
// nothing about speed.
func (r *Result) Faults(reliable bool) (list []string) {
	if r.Result == nil {
		return nil
	}
	if reliable && r.Lost > 0 {
		list = append(list, fmt.Sprintf("%d messages lost", r.Lost))
	}
	if r.Duplicates > 0 {
		list = append(list, fmt.Sprintf("%d delivered twice", r.Duplicates))
	}
	if other := r.Corrupted - r.Duplicates; other > 0 {
		list = append(list, fmt.Sprintf("%d changed or out of order", other))
	}
	if r.Room != nil {
		list = append(list, r.Room.Misses...)
	}
	if most := float64(stall / time.Microsecond); r.Latency.Max > most && reliable && r.Network == nil {
		list = append(list, fmt.Sprintf("a message took %.0f ms", r.Latency.Max/1e3))
	}
	return list
}

// stall is longer than a message may take over loopback, on a busy machine too.
const stall = 250 * time.Millisecond
