package run

import (
	"fmt"
	"math"
)

// A Goal is something that godwit wants to reach, as a ratio to another peer in
// the same rounds, or as a bound of its own.
type Goal struct {
	Workload string
	Peer     string
	Figure   *Figure
	Against  string  // another peer; empty means that Bound is the bound itself
	Bound    float64 // of the ratio, or of the figure
	AtLeast  bool    // the bound is a lower one
}

// Goals are those of the comparison.
var Goals = []Goal{
	{Workload: "W1", Peer: "godwit", Figure: &p50, Against: "udp-mmsg", Bound: 1.10},
	{Workload: "W1", Peer: "godwit", Figure: &p50, Against: "enet", Bound: 1},
	{Workload: "W2", Peer: "godwit", Figure: &p99, Against: "udp-mmsg", Bound: 1.25},
	{Workload: "W2", Peer: "godwit", Figure: &p99, Against: "enet", Bound: 1},
	{Workload: "W2", Peer: "godwit", Figure: &perMessage, Against: "udp-mmsg", Bound: 1.25},
	{Workload: "W3", Peer: "godwit", Figure: &perMessage, Against: "tcp", Bound: 0.7},
	{Workload: "W4", Peer: "godwit", Figure: &volume, Against: "quic-go", Bound: 2, AtLeast: true},
	{Workload: "W4", Peer: "godwit", Figure: &volume, Against: "tls", Bound: 1, AtLeast: true},
	{Workload: "W4", Peer: "godwit", Figure: &perByte, Against: "tls", Bound: 1},
	{Workload: "W5", Peer: "godwit", Figure: &anon, Bound: 10},
	{Workload: "W7", Peer: "godwit-sleep", Figure: &perMessage, Against: "enet", Bound: 0.5},
	{Workload: "W8", Peer: "godwit-sleep", Figure: &perMessage, Against: "udp-mmsg", Bound: 1.25},
	{Workload: "W8", Peer: "godwit-sleep", Figure: &perMessage, Against: "enet", Bound: 1},
	{Workload: "W8", Peer: "godwit-goroutine", Figure: &perMessage, Against: "godwit", Bound: 1.3},
	{Workload: "W3v", Peer: "godwit", Figure: &messages, Against: "enet", Bound: 2, AtLeast: true},
	{Workload: "W3v", Peer: "godwit", Figure: &perMessage, Against: "tcp", Bound: 0.85},
	{Workload: "W4v", Peer: "godwit", Figure: &volume, Against: "quic-go", Bound: 1, AtLeast: true},
	{Workload: "W1", Peer: "godwit-plain", Figure: &p50, Against: "godwit", Bound: 1},
	{Workload: "W2", Peer: "godwit-plain", Figure: &p99, Against: "godwit", Bound: 1},
	{Workload: "W3", Peer: "godwit-plain", Figure: &perMessage, Against: "godwit", Bound: 1},
	{Workload: "W4", Peer: "godwit-plain", Figure: &volume, Against: "godwit", Bound: 1, AtLeast: true},
}

// Verdict is what runs say about a goal.
type Verdict struct {
	Text    string `json:"goal"`
	Verdict string `json:"verdict"`
	Ratio
}

// leastPairs are needed for a verdict: one binary differs from itself by 10 to 30 %.
const leastPairs = 15

// Judge returns what the runs say about the goals of workloads that were run.
func (c *Record) Judge() (list []Verdict) {
	for _, g := range Goals {
		for _, w := range c.Workloads {
			if w == g.Workload {
				list = append(list, c.judge(&g))
			}
		}
	}
	return list
}

func (c *Record) judge(g *Goal) Verdict {
	bound := "at most"
	if g.AtLeast {
		bound = "at least"
	}
	v := Verdict{Text: fmt.Sprintf("%s: %s of %s %s %g", g.Workload, g.Figure.Name, g.Peer, bound, g.Bound)}
	ok := false
	if g.Against == "" {
		v.Ratio, ok = c.spread(g)
	} else {
		v.Text += " of " + g.Against + "'s"
		v.Ratio, ok = c.Ratio(g.Workload, g.Peer, g.Against, g.Figure)
	}
	low, high := v.Low, v.High
	if g.AtLeast {
		low, high = -v.High, -v.Low
		g = &Goal{Bound: -g.Bound}
	}
	switch {
	case !ok:
		v.Verdict = "not measured"
	case v.Pairs < leastPairs || c.Quick:
		v.Verdict = fmt.Sprintf("no verdict from %d short or few runs", v.Pairs)
	case high <= g.Bound:
		v.Verdict = "met"
	case low > g.Bound:
		v.Verdict = "missed"
	default:
		v.Verdict = "undecided"
	}
	return v
}

// spread is a figure of one peer, with its interval.
func (c *Record) spread(g *Goal) (r Ratio, ok bool) {
	var x, one []float64
	for _, run := range c.of(g.Workload, g.Peer) {
		if v := g.Figure.Of(run); v != nil {
			x, one = append(x, *v), append(one, 1)
		}
	}
	if len(x) == 0 {
		return Ratio{Value: math.NaN()}, false
	}
	return ratioOf(x, one), true
}
