package run

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes what was measured, a table a workload, for people.
func (c *Record) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s; %s\n", strings.Join(c.Machine, ", "), c.Date)
	for _, note := range c.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	for _, name := range c.Workloads {
		list, _ := Named(name)
		if len(list) == 1 {
			c.writeTable(w, &list[0])
		}
	}
	if len(c.Goals) > 0 {
		fmt.Fprintln(w, "\ngoals")
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for i := range c.Goals {
			fmt.Fprintln(t, c.Goals[i].String())
		}
		_ = t.Flush()
	}
	for _, a := range c.NotHere {
		fmt.Fprintf(w, "not run here: %s: %s\n", a.Name, a.Why)
	}
	return nil
}

// String is a verdict in columns.
func (v *Verdict) String() string {
	if v.Pairs == 0 {
		return fmt.Sprintf("%s\t-\t%s", v.Text, v.Verdict)
	}
	return fmt.Sprintf("%s\t%.3g (%.3g to %.3g), %d pairs\t%s", v.Text, v.Value, v.Low, v.High, v.Pairs, v.Verdict)
}

func (c *Record) writeTable(w io.Writer, load *Workload) {
	fmt.Fprintf(w, "\n%s: %s; medians of valid runs, ? of invalid ones\n", load.Name, load.About)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t")
	for _, f := range load.Figures {
		fmt.Fprint(t, f.Name, "\t")
	}
	fmt.Fprintln(t, "valid\tfaults\t")
	for _, p := range c.Peers {
		c.writeRow(t, load, p)
	}
	_ = t.Flush()
	for _, r := range c.Failed {
		if r.Workload == load.Name && r.Round == 0 {
			fmt.Fprintf(w, "%s FAILED: %s\n", r.Peer, firstLine(r.Failed))
		}
	}
}

func (c *Record) writeRow(t io.Writer, load *Workload, p PeerFacts) {
	valid, tried, faults := c.tried(load.Name, p)
	if tried == 0 {
		return
	}
	fmt.Fprint(t, p.Name, "\t")
	for _, f := range load.Figures {
		fmt.Fprint(t, c.cell(load.Name, p.Name, f), "\t")
	}
	fmt.Fprintf(t, "%d of %d\t%s\t\n", valid, tried, faults)
}

// tried returns how many runs of a peer were valid, of how many, and one of the
// faults that there were.
func (c *Record) tried(workload string, p PeerFacts) (valid, all int, fault string) {
	fault = "none"
	for _, list := range [][]*Result{c.Runs, c.Invalid} {
		for _, r := range list {
			if r.Workload != workload || r.Peer != p.Name {
				continue
			}
			all++
			if r.Valid {
				valid++
			}
			if f := r.Faults(p.Mode == "ordered"); f != nil {
				fault = f[0]
			}
		}
	}
	return valid, all, fault
}

// cell is a peer's median, with a ? if there is none but of invalid runs.
func (c *Record) cell(workload, peerName string, f *Figure) string {
	if middle, _, _, ok := c.Median(workload, peerName, f); ok {
		return f.Print(middle)
	}
	invalid := Record{Runs: c.Invalid}
	if middle, _, _, ok := invalid.Median(workload, peerName, f); ok {
		return f.Print(middle) + "?"
	}
	return "-"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
