package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"godwit.example/godwit/load"
	"godwit.example/godwit/tools/internal/process"
)

// report is what is printed and kept. Its first five fields are what the goals are about.
type report struct {
	Connections int      `json:"connections"`
	Anon        int64    `json:"rss_anon_bytes"` // of the server, while all connections are idle
	Answered    int      `json:"answered"`       // within a second
	AnswerMax   float64  `json:"answer_ms_max"`
	Ratio       *float64 `json:"w2_p99_ratio"` // nil: there was no live traffic

	RatioValid         bool           `json:"w2_valid"` // the ratio is that of valid runs; else it is that of all rounds, too few of which are valid
	ValidRuns          int            `json:"w2_valid_runs"`
	Interrupted        bool           `json:"interrupted"`
	Asked              int            `json:"asked"`
	AnswerMedian       float64        `json:"answer_ms_median"`
	BytesPerConnection float64        `json:"bytes_per_connection"`
	Peak               int64          `json:"rss_anon_peak_bytes"` // of the server, while the connections came about
	Start              process.Memory `json:"start"`               // of the server, before the first one
	Idle               process.Memory `json:"idle"`
	End                process.Memory `json:"end"` // after the live traffic
	CPUPercent         float64        `json:"idle_cpu_percent_of_a_core"`
	WindowS            float64        `json:"idle_window_s"`
	Closed             int            `json:"connections_ended"` // that should not have
	Handshakes         float64        `json:"handshakes_per_second"`
	HandshakesTook     float64        `json:"handshakes_took_s"`
	ServerMicros       float64        `json:"server_us_per_handshake"` // of CPU time, garbage collection included
	ClientMicros       float64        `json:"client_us_per_handshake"`
	Resumed            int            `json:"resumed_handshakes"`
	ClientBytes        float64        `json:"client_bytes_per_connection"`
	ClientPeak         int64          `json:"client_rss_anon_peak_bytes"`

	With    []*load.Result `json:"w2_beside"` // in the order in which they were run, invalid ones too
	Without []*load.Result `json:"w2_alone"`

	Setup   setup     `json:"setup"`
	Machine string    `json:"machine"`
	Command string    `json:"command"`
	Date    time.Time `json:"date"`
	Took    float64   `json:"took_s"`
}

// setup says what a reader of the figures has to know.
type setup struct {
	Server        string `json:"server"`
	Encrypted     bool   `json:"encrypted"`
	Resumption    bool   `json:"tls_resumption"`
	ClientSockets int    `json:"client_sockets"`
	KeepAlive     string `json:"keep_alive"`
	IdleTimeoutS  int    `json:"idle_timeout_s"`
	ServerCPU     int    `json:"server_cpu"`
	ClientCPU     int    `json:"client_cpu"`
	GOMAXPROCS    int    `json:"gomaxprocs"`
	GOMEMLIMIT    int64  `json:"server_gomemlimit_bytes"`
	W2            string `json:"w2"`
}

func newReport(o *options) *report {
	server := o.server
	if server == "" {
		server = "examples/echo"
	}
	return &report{
		Asked: min(o.answers, o.conns), Machine: machine(), Command: command(), Date: time.Now().UTC().Truncate(time.Second),
		Setup: setup{
			Server: server, Encrypted: true, Resumption: true, ClientSockets: 1, KeepAlive: "off", IdleTimeoutS: 3600,
			ServerCPU: o.serverCPU, ClientCPU: o.clientCPU, GOMAXPROCS: 1, GOMEMLIMIT: o.memory,
			W2: fmt.Sprintf("%d connections, %d B, %d messages/s in all, ordered, %v a run, beside the idle connections and with an empty server in turns",
				load.DefaultConnections, load.DefaultSize, load.DefaultRate, o.duration),
		},
	}
}

// command is how the result is made again.
func command() string {
	return strings.Join(append([]string{"go", "run", "./tools/idle"}, os.Args[1:]...), " ")
}

// machine names what the figures were taken on. What cannot be read is left out.
func machine() string {
	list := []string{fmt.Sprintf("%d CPUs", runtime.NumCPU())}
	for file, name := range map[string]string{"/proc/cpuinfo": "model name", "/proc/meminfo": "MemTotal"} {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == name {
				list = append(list, strings.TrimSpace(name+" "+strings.TrimSpace(value)))
				break
			}
		}
	}
	slices.Sort(list[1:])
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		list = append(list, "Linux "+strings.TrimSpace(string(text)))
	}
	return strings.Join(append(list, runtime.Version()), ", ")
}

// write prints the report for people.
func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "%d idle encrypted connections in %.0f s: %.0f handshakes/s, %d of them resumed, CPU %.0f µs each of the server, %.0f of the client; one client socket, keep-alive off, idle timeout %d s\n",
		r.Connections, r.HandshakesTook, r.Handshakes, r.Resumed, r.ServerMicros, r.ClientMicros, r.Setup.IdleTimeoutS)
	fmt.Fprintf(w, "server: %v; %.0f B a connection, at most %.2f MB while they came; %.3f %% of a core over %.0f s; the client takes %.0f B a connection\n",
		r.Idle, r.BytesPerConnection, process.Mega(r.Peak), r.CPUPercent, r.WindowS, r.ClientBytes)
	fmt.Fprintf(w, "%d of %d picked at random answered within a second, the last after %.1f ms, half of them after %.1f ms\n", r.Answered, r.Asked, r.AnswerMax, r.AnswerMedian)
	with, n := p99(r.With)
	without, m := p99(r.Without)
	fmt.Fprintf(w, "live traffic: p99 %.1f µs beside them (%d valid runs of %d), %.1f µs without (%d of %d)", with, n, len(r.With), without, m, len(r.Without))
	if r.Ratio != nil {
		fmt.Fprintf(w, ", ratio %.2f", *r.Ratio)
		if !r.RatioValid {
			fmt.Fprint(w, " of all rounds, too few of which are valid")
		}
	}
	fmt.Fprintln(w)
	if err := r.goals(); err != nil {
		fmt.Fprintf(w, "MISSED: %v\n", err)
	} else {
		fmt.Fprintln(w, "all goals are met")
	}
}

// conclude relates the 99th percentiles: those of the valid runs if there are so many on both sides, else those of all complete rounds, and says
// which. What disturbs the machine disturbs both sides, since they take turns; how much of a ratio is left of that is for the reader to judge.
func (r *report) conclude(runs int) {
	with, n := p99(r.With)
	without, m := p99(r.Without)
	r.ValidRuns = min(n, m)
	if r.RatioValid = r.ValidRuns >= max(runs, 1); !r.RatioValid {
		rounds := min(len(r.With), len(r.Without))
		with, without = median(r.With[:rounds]), median(r.Without[:rounds])
	}
	if without > 0 {
		ratio := with / without
		r.Ratio = &ratio
	}
}

// p99 returns the median of the valid runs' 99th percentiles, and of how many.
func p99(runs []*load.Result) (m float64, n int) {
	var valid []*load.Result
	for _, r := range runs {
		if r.Valid {
			valid = append(valid, r)
		}
	}
	return median(valid), len(valid)
}

// median returns the median of the runs' 99th percentiles, 0 of none.
func median(runs []*load.Result) float64 {
	var list []float64
	for _, r := range runs {
		list = append(list, r.Latency.P99)
	}
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}
