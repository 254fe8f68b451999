package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/load"
)

// What --modes takes if the flags say nothing: players of a game at 60 Hz. Each mode has a run of its own.
const (
	modesConns    = 20
	modesRate     = 1200.0
	modesDuration = 5 * time.Second
)

// modesDefaults replaces the defaults of a single run.
func (f *benchFlags) modesDefaults(changed func(flag string) bool) {
	if !changed("conns") {
		f.conns = modesConns
	}
	if !changed("rate") && !changed("outstanding") {
		f.rate = modesRate
	}
	if !changed("duration") {
		f.duration = modesDuration
	}
}

// modesReport is the JSON form of --modes.
type modesReport struct {
	Address string       `json:"address"`
	Loss    float64      `json:"loss"` // share of the datagrams in each direction
	RTT     float64      `json:"rtt_ms"`
	Modes   []modeReport `json:"modes"`
}

type modeReport struct {
	Mode      string  `json:"mode"`
	Delivered float64 `json:"delivered"` // share of the messages that came back
	*load.Result
}

// benchModes measures every mode under the same load.
func (f *benchFlags) benchModes(ctx context.Context, addr string, out, errOut io.Writer) error {
	report := modesReport{Address: addr, RTT: ms(f.rtt)}
	var cfg *load.Config
	for _, ch := range modeChannels {
		f.mode = godwit.Mode(ch).String()
		var err error
		if cfg, err = f.config(ctx, addr); err != nil {
			return err
		}
		cfg.Staleness = true
		if !f.json {
			fmt.Fprintf(errOut, "measuring %s\n", f.mode)
		}
		result, err := f.run(ctx, addr, cfg, errOut)
		if err != nil {
			return err
		}
		m := modeReport{Mode: f.mode, Result: result}
		if result.Sent > 0 {
			m.Delivered = float64(result.Received) / float64(result.Sent)
		}
		report.Modes = append(report.Modes, m)
	}
	if i := cfg.Client.Impair; i != nil {
		report.Loss = i.Send.Loss
	}
	if f.json {
		return json.NewEncoder(out).Encode(&report)
	}
	fmt.Fprintf(out, "%s\n\n", f.describe(addr, cfg))
	return report.writeText(out)
}

func (r *modesReport) writeText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms\tp50\tp99\tmax\tstale p50\tstale p99\tstale max\tdelivered\tduplicates\trepeated\t")
	milli := func(us float64) string { return fmt.Sprintf("%.1f", us/1000) }
	for _, m := range r.Modes {
		repeated := "unknown"
		if m.RetransmissionRate != nil {
			repeated = fmt.Sprintf("%.1f %%", 100**m.RetransmissionRate)
		}
		l, s := &m.Latency, m.Staleness
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.2f %%\t%d\t%s\t\n", m.Mode, milli(l.P50), milli(l.P99), milli(l.Max),
			milli(s.P50), milli(s.P99), milli(s.Max), 100*m.Delivered, m.Duplicates, repeated)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, "\nLatency is the round trip through the echo. Stale is how old the newest value of a connection was just before a newer one came.\n")
	if err != nil {
		return err
	}
	for _, m := range r.Modes {
		for _, why := range m.Reasons {
			if _, err := fmt.Fprintf(w, "INVALID (%s): %s\n", m.Mode, why); err != nil {
				return err
			}
		}
	}
	return nil
}
