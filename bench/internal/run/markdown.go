package run

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the tables of docs/BENCHMARKS.md. plots is where the plots
// are, relative to that page.
func (c *Record) WriteMarkdown(w io.Writer, plots string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, commit %s; %s. `%s`\n", c.Date, c.Commit, strings.Join(c.Machine, ", "), strings.Join(c.Command, " "))
	for _, note := range c.Notes {
		fmt.Fprintf(&b, "Note: %s.\n", note)
	}
	if c.Quick {
		b.WriteString("One short run of each: for a look, and no verdict.\n")
	}
	b.WriteString("Medians of valid runs; `?` marks those of invalid runs, where no run was valid.\n")
	for _, name := range c.Workloads {
		if list, _ := Named(name); len(list) == 1 {
			c.markdownTable(&b, &list[0], plots)
		}
	}
	b.WriteString("\n| goal | ratio, or figure, with its 95 % interval | pairs | |\n|---|---|---|---|\n")
	for _, v := range c.Goals {
		if v.Pairs == 0 {
			fmt.Fprintf(&b, "| %s | – | 0 | %s |\n", v.Text, v.Verdict)
			continue
		}
		fmt.Fprintf(&b, "| %s | %.3g (%.3g to %.3g) | %d | %s |\n", v.Text, v.Value, v.Low, v.High, v.Pairs, v.Verdict)
	}
	b.WriteString("\n| peer | |\n|---|---|\n")
	for _, p := range c.Peers {
		fmt.Fprintf(&b, "| %s | %s |\n", p.Name, p.About)
	}
	for _, a := range c.NotHere {
		fmt.Fprintf(&b, "| %s | not run: %s |\n", a.Name, a.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Record) markdownTable(b *strings.Builder, load *Workload, plots string) {
	fmt.Fprintf(b, "\n#### %s: %s\n\n", load.Name, load.About)
	if c.Plotted(load) {
		fmt.Fprintf(b, "![%s](%s)\n\n", load.Figures[0].Name, plots+"/"+PlotFile(load))
	}
	b.WriteString("| |")
	for _, f := range load.Figures {
		fmt.Fprintf(b, " %s |", f.Name)
	}
	b.WriteString(" valid runs | faults |\n|---|" + strings.Repeat("---|", len(load.Figures)+2) + "\n")
	for _, p := range c.Peers {
		valid, tried, faults := c.tried(load.Name, p)
		if tried == 0 {
			continue
		}
		fmt.Fprintf(b, "| %s |", p.Name)
		for _, f := range load.Figures {
			fmt.Fprintf(b, " %s |", c.cell(load.Name, p.Name, f))
		}
		fmt.Fprintf(b, " %d of %d | %s |\n", valid, tried, faults)
	}
	for _, r := range c.Failed {
		if r.Workload == load.Name && r.Round == 0 {
			fmt.Fprintf(b, "| %s | failed: %s |%s\n", r.Peer, firstLine(r.Failed), strings.Repeat(" |", len(load.Figures)+1))
		}
	}
}

// PlotFile is the name of the plot of a workload's first figure.
func PlotFile(w *Workload) string { return strings.ToLower(w.Name) + ".svg" }
