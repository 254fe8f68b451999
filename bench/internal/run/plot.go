package run

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A bar is a peer's figure in a plot: the median, the least and the most.
type bar struct {
	name              string
	middle, low, high float64
}

// Of a plot, in pixels.
const (
	plotLeft, plotWidth, plotRight = 170, 480, 110
	barHeight, barStep, plotTop    = 16, 24, 44
)

// logarithmic is the ratio of the most to the least from which on a plot's axis is logarithmic.
const logarithmic = 20

// Plotted reports whether a workload has a plot: it takes a valid run.
func (c *Record) Plotted(workload *Workload) bool {
	for _, r := range c.Runs {
		if r.Workload == workload.Name && workload.Figures[0].Of(r) != nil {
			return true
		}
	}
	return false
}

// Plot writes an SVG of one figure of a workload: a bar for each peer that has it,
// the best one on top, with the least and the most of its runs.
func (c *Record) Plot(w io.Writer, workload *Workload, f *Figure) error {
	var bars []bar
	for _, p := range c.Peers {
		if middle, least, most, ok := c.Median(workload.Name, p.Name, f); ok {
			bars = append(bars, bar{p.Name, middle, least, most})
		}
	}
	if len(bars) == 0 {
		return fmt.Errorf("no valid run of %s has %s", workload.Name, f.Name)
	}
	slices.SortStableFunc(bars, func(a, b bar) int {
		if f.More {
			a, b = b, a
		}
		return cmp.Compare(a.middle, b.middle)
	})
	scale, axis := scaleOf(bars)
	better := "less is better"
	if f.More {
		better = "more is better"
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		plotLeft+plotWidth+plotRight, plotTop+barStep*len(bars)+8)
	s.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	fmt.Fprintf(&s, `<text x="8" y="18" font-size="14" fill="#111111">%s: %s</text>`+"\n", escape(workload.Name), escape(f.Name))
	fmt.Fprintf(&s, `<text x="8" y="34" fill="#555555">%s; %s; median, least and most of valid runs; %s</text>`+"\n", escape(workload.About), better, axis)
	for i, b := range bars {
		writeBar(&s, b, f, plotTop+barStep*i, scale)
	}
	s.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

func writeBar(s io.Writer, b bar, f *Figure, y int, scale func(float64) float64) {
	fill := "#9aa5b1"
	if strings.HasPrefix(b.name, "godwit") {
		fill = "#1b6ca8"
	}
	fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end" fill="#111111">%s</text>`+"\n", plotLeft-8, y+barHeight-4, escape(b.name))
	fmt.Fprintf(s, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", plotLeft, y, scale(b.middle), barHeight, fill)
	from, to, at := plotLeft+scale(b.low), plotLeft+scale(b.high), y+barHeight/2
	fmt.Fprintf(s, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#111111"/>`+"\n", from, at, to, at)
	fmt.Fprintf(s, `<text x="%.1f" y="%d" fill="#111111">%s</text>`+"\n", max(to, plotLeft+scale(b.middle))+6, y+barHeight-4, f.Print(b.middle))
}

// scaleOf returns the length of a value's bar, and what the axis is like.
func scaleOf(bars []bar) (scale func(float64) float64, axis string) {
	least, most := math.Inf(1), 0.0
	for _, b := range bars {
		least, most = min(least, b.low), max(most, b.high)
	}
	if least <= 0 || most/least < logarithmic {
		return func(v float64) float64 { return plotWidth * v / max(most, math.SmallestNonzeroFloat64) }, "from 0"
	}
	least /= 2 // the shortest bar is to be seen
	span := math.Log(most / least)
	return func(v float64) float64 { return plotWidth * math.Log(v/least) / span }, "logarithmic"
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
