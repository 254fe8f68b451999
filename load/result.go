package load

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"godwit.example/godwit/internal/metric"
)

// Result is what a run measured. Rates are fractions of 1, times are in
// microseconds unless the name says otherwise; nil means that the figure could
// not be read.
type Result struct {
	// MessagesPerSecond counts each message that came back during the
	// measurement once.
	MessagesPerSecond float64 `json:"messages_per_second"`
	// Latency counts from the time at which a message should have been sent.
	Latency Latency `json:"latency_us"`
	// Sent and Received count the messages that were due during the
	// measurement; those not back 5 s after its end are Lost. Corrupted
	// messages came back changed, twice, or out of a promised order.
	Sent      uint64 `json:"sent"`
	Received  uint64 `json:"received"`
	Lost      uint64 `json:"lost"`
	Corrupted uint64 `json:"corrupted"`
	// Duplicates counts those of the corrupted that had come back before, or came after a newer one of a mode that
	// drops such.
	Duplicates uint64 `json:"duplicates"`
	// Staleness is how old the newest message of a connection was, each time just before a newer one came back: what
	// somebody sees who looks at values that follow one another. Nil if Config did not ask for it.
	Staleness *Latency `json:"staleness_us,omitempty"`
	// RetransmissionRate counts the messages that were repeated, PacketLossRate the
	// packets taken for lost, each as a share of what was sent, in the direction in
	// which it is higher. If the server's counts are unknown, they are those from
	// client to server, and Notes says so.
	RetransmissionRate *float64 `json:"retransmission_rate"`
	PacketLossRate     *float64 `json:"packet_loss_rate"`

	Connections int `json:"connections"`
	// HandshakesPerSecond is how fast the connections were opened; raw UDP has
	// no handshake.
	HandshakesPerSecond *float64 `json:"handshakes_per_second"`
	// GeneratorLateness is the 99th percentile of how late the generator came
	// to send a message.
	GeneratorLateness float64 `json:"generator_lateness_us"`
	// ServerPerMessage is the server's CPU time for each message that came
	// back, ServerCPU its use of one CPU in percent.
	ServerPerMessage *float64 `json:"server_us_per_message"`
	ServerCPU        *float64 `json:"server_cpu_percent"`
	// StolenCPU is what the hypervisor kept of the CPU that it kept most of, in
	// percent: what is away for 1 % of the time is seen in the p99.
	StolenCPU *float64 `json:"stolen_cpu_percent"`

	Valid    bool     `json:"valid"`
	Reasons  []string `json:"reasons,omitempty"` // why not
	Notes    []string `json:"notes,omitempty"`   // what is not known, and so is not judged or not counted
	Duration float64  `json:"duration_s"`

	// Reference has the results of the reference servers by name: "udp", "tcp".
	Reference map[string]*Result `json:"reference,omitempty"`
}

// Latency is a distribution in microseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func micros(ns int64) float64 { return float64(ns) / 1e3 }

func newLatency(h *metric.Histogram) Latency {
	return Latency{
		P50: micros(h.Quantile(0.50)), P90: micros(h.Quantile(0.90)), P99: micros(h.Quantile(0.99)),
		P999: micros(h.Quantile(0.999)), Max: micros(h.Max()),
	}
}

// newResult judges what was counted and used.
func newResult(c *Config, s *stats, u *usage) *Result {
	r := &Result{
		MessagesPerSecond: float64(s.returned) / c.Duration.Seconds(),
		Latency:           newLatency(&s.latency),
		Sent:              s.sent,
		Received:          s.received,
		Lost:              s.sent - s.received,
		Corrupted:         s.corrupted,
		Duplicates:        s.repeated,
		Connections:       c.Connections,
		GeneratorLateness: micros(s.lateness.Quantile(0.99)),
		ServerPerMessage:  u.serverMicros,
		ServerCPU:         u.serverPercent,
		StolenCPU:         u.stolen,
		Notes:             u.notes,
		Duration:          c.Duration.Seconds(),
	}
	if c.Staleness {
		stale := newLatency(&s.staleness)
		r.Staleness = &stale
	}
	r.Reasons = reasons(c, s, u)
	r.Valid = len(r.Reasons) == 0
	return r
}

// The bounds of validity.
const (
	leastSent   = 0.999
	mostLate    = 100 * time.Microsecond
	mostForeign = 0.08
)

// reasons says why a run, of an open loop or a closed one, measured something else than it was meant to.
func reasons(c *Config, s *stats, u *usage) []string {
	var why []string
	if c.Rate > 0 && float64(s.sent) < leastSent*float64(s.planned) {
		why = append(why, fmt.Sprintf("%.2f %% of the planned messages were sent, less than %g %%", 100*float64(s.sent)/float64(s.planned), 100*leastSent))
	}
	if late := time.Duration(s.lateness.Quantile(0.99)); late > mostLate && !c.Unhurried {
		why = append(why, fmt.Sprintf("the generator was %v late at the 99th percentile, more than %v", late.Round(time.Microsecond), mostLate))
	}
	why = append(why, Noise{u.other, u.steal}.Reasons()...)
	if s.returned == 0 {
		why = append(why, "no message came back: does the server run the echo application?")
	}
	return why
}

// WriteText writes the result, and those of the references beside it, for people.
func (r *Result) WriteText(w io.Writer) error {
	columns := []column{{"godwit", r}}
	for _, name := range []string{"udp", "tcp"} {
		if ref := r.Reference[name]; ref != nil {
			columns = append(columns, column{referenceTitles[name], ref})
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, value func(*Result) string) {
		fmt.Fprint(t, name, "\t")
		for _, c := range columns {
			fmt.Fprint(t, value(c.result), "\t")
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "\t")
	for _, c := range columns {
		fmt.Fprint(t, c.title, "\t")
	}
	fmt.Fprintln(t)
	row("messages/s", func(r *Result) string { return grouped(r.MessagesPerSecond) })
	row("latency p50 µs", func(r *Result) string { return fmt.Sprintf("%.1f", r.Latency.P50) })
	row("p90", func(r *Result) string { return fmt.Sprintf("%.1f", r.Latency.P90) })
	row("p99", func(r *Result) string { return fmt.Sprintf("%.1f", r.Latency.P99) })
	row("p99.9", func(r *Result) string { return fmt.Sprintf("%.1f", r.Latency.P999) })
	row("max", func(r *Result) string { return fmt.Sprintf("%.1f", r.Latency.Max) })
	row("sent", func(r *Result) string { return grouped(float64(r.Sent)) })
	row("lost", func(r *Result) string { return grouped(float64(r.Lost)) })
	row("corrupted", func(r *Result) string { return grouped(float64(r.Corrupted)) })
	row("retransmitted", func(r *Result) string { return percent(r.RetransmissionRate) })
	row("packets lost", func(r *Result) string { return percent(r.PacketLossRate) })
	row("connections", func(r *Result) string { return grouped(float64(r.Connections)) })
	row("handshakes/s", func(r *Result) string { return groupedOrNone(r.HandshakesPerSecond) })
	row("server µs/message", func(r *Result) string { return optional("%.2f", r.ServerPerMessage) })
	row("server CPU", func(r *Result) string { return optional("%.1f %%", r.ServerCPU) })
	row("stolen CPU", func(r *Result) string { return optional("%.1f %%", r.StolenCPU) })
	row("generator late µs", func(r *Result) string { return fmt.Sprintf("%.1f", r.GeneratorLateness) })
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range columns {
		for _, why := range c.result.Reasons {
			if _, err := fmt.Fprintf(w, "INVALID (%s): %s\n", c.title, why); err != nil {
				return err
			}
		}
	}
	for _, c := range columns {
		for _, what := range c.result.Notes {
			if _, err := fmt.Fprintf(w, "note (%s): %s\n", c.title, what); err != nil {
				return err
			}
		}
	}
	return nil
}

type column struct {
	title  string
	result *Result
}

func optional(format string, v *float64) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprintf(format, *v)
}

func percent(v *float64) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.3f %%", 100**v)
}

func groupedOrNone(v *float64) string {
	if v == nil {
		return "none"
	}
	return grouped(*v)
}

// grouped writes a count with commas between groups of three digits.
func grouped(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
