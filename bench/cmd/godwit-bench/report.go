package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"godwit.example/godwit/bench/internal/run"
)

// The part of the page that report writes anew lies between these lines.
const (
	reportBegins = "<!-- what follows is written by godwit-bench report -->\n"
	reportEnds   = "<!-- what was written by godwit-bench report ends here -->\n"
)

// report makes tables and plots from a record: they show what was measured and
// nothing else.
func report(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("godwit-bench report", flag.ContinueOnError)
	flags.SetOutput(out)
	page := flags.String("page", "docs/BENCHMARKS.md", "`file` whose marked part is written anew")
	plots := flags.String("plots", "plots", "directory of the plots, relative to the page's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("report takes one file, which -json has written")
	}
	text, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	var c run.Record
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", flags.Arg(0), err)
	}
	if err := plot(&c, filepath.Join(filepath.Dir(*page), *plots)); err != nil {
		return err
	}
	return rewrite(&c, *page, *plots)
}

func plot(c *run.Record, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range c.Workloads {
		list, unknown := run.Named(name)
		if unknown != "" {
			return fmt.Errorf("the record has a workload %q that is not known here", unknown)
		}
		w := &list[0]
		if !c.Plotted(w) {
			continue
		}
		var svg bytes.Buffer
		if err := c.Plot(&svg, w, w.Figures[0]); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, run.PlotFile(w)), svg.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func rewrite(c *run.Record, page, plots string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(reportBegins))
	_, after, ends := bytes.Cut(rest, []byte(reportEnds))
	if !ok || !ends {
		return fmt.Errorf("%s has no place for a report: the lines %q and %q", page, reportBegins, reportEnds)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(reportBegins)
	if err := c.WriteMarkdown(&b, plots); err != nil {
		return err
	}
	b.WriteString(reportEnds)
	b.Write(after)
	return os.WriteFile(page, b.Bytes(), 0o644)
}
