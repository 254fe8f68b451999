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
	valid := c.of(load.Name, p.Name)
	tried := len(valid)
	faults := map[string]bool{}
	for _, list := range [][]*Result{c.Invalid, valid} {
		for _, r := range list {
			if r.Workload != load.Name || r.Peer != p.Name {
				continue
			}
			if !r.Valid {
				tried++
			}
			for _, f := range r.Faults(p.Mode == "ordered") {
				faults[f] = true
			}
		}
	}
	if tried == 0 {
		return
	}
	fmt.Fprint(t, p.Name, "\t")
	for _, f := range load.Figures {
		fmt.Fprint(t, c.cell(load.Name, p.Name, f), "\t")
	}
	text := "none"
	if len(faults) > 0 {
		text = fmt.Sprintf("%d runs with faults", len(faults))
		for f := range faults {
			text = f // one of them stands for all; the record has the rest
			break
		}
	}
	fmt.Fprintf(t, "%d of %d\t%s\t\n", len(valid), tried, text)
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
