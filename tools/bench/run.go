package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// result is what godwit bench --json prints, as far as it matters here, and the server's own count beside it.
type result struct {
	MessagesPerSecond float64 `json:"messages_per_second"`
	Latency           struct {
		P50  float64 `json:"p50"`
		P90  float64 `json:"p90"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p999"`
	} `json:"latency_us"`
	Sent              uint64             `json:"sent"`
	Lost              uint64             `json:"lost"`
	Corrupted         uint64             `json:"corrupted"`
	Retransmission    *float64           `json:"retransmission_rate"`
	Handshakes        *float64           `json:"handshakes_per_second"`
	ServerPerMessage  *float64           `json:"server_us_per_message"`
	ServerCPU         *float64           `json:"server_cpu_percent"`
	StolenCPU         *float64           `json:"stolen_cpu_percent"`
	GeneratorLateness float64            `json:"generator_lateness_us"`
	Valid             bool               `json:"valid"`
	Reasons           []string           `json:"reasons,omitempty"`
	Reference         map[string]*result `json:"reference,omitempty"`

	KernelDrops uint64   `json:"kernel_drops"`           // datagrams that the server's socket had no room for
	Floor       *float64 `json:"floor_p99_us,omitempty"` // what the machine adds to messages that take no work

	Others map[string]float64 `json:"others_ms_per_s,omitempty"` // who else ran, by name, unless it has ended meanwhile
}

const slack = 30 * time.Second // of a run beyond its measurements

// run starts a server, loads it once, and stops it.
func (o *options) run(ctx context.Context, w *workload) (*result, error) {
	measurements := 1
	if w.reference {
		measurements = 3
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(measurements)*(o.duration+10*time.Second)+slack)
	defer cancel()
	var floor *float64
	if w.floor {
		p99, err := o.floor(ctx)
		if err != nil {
			return nil, err
		}
		floor = &p99
	}
	s, err := o.serve(ctx, w.server)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	args := append([]string{"bench", s.Listen, "--pin", s.Pin, "--admin", s.Admin, "--json", "--duration", o.duration.String()}, w.client...)
	if w.reference {
		args = append(args, "--reference")
		if o.serverCPU >= 0 {
			args = append(args, "--reference-cpus", strconv.Itoa(o.serverCPU))
		}
	}
	before, start := readTasks(), time.Now()
	text, err := process.Output(o.command(ctx, o.clientCPU, args...))
	if err != nil {
		return nil, err
	}
	r := &result{Floor: floor, Others: readTasks(s.PID(), os.Getpid()).since(before, time.Since(start))}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("godwit bench printed %q: %w", text, err)
	}
	if r.KernelDrops, err = s.kernelDrops(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// command prepares the godwit program on one CPU.
func (o *options) command(ctx context.Context, cpu int, args ...string) *exec.Cmd {
	return process.Place{CPU: cpu, Procs: 1, State: o.state}.Command(ctx, o.binary, args...)
}

// server is a running godwit serve; its banner says where.
type server struct {
	*process.Server `json:"-"`

	Listen string `json:"listen"`
	Pin    string `json:"pin"`
	Admin  string `json:"admin"`
}

func (o *options) serve(ctx context.Context, flags []string) (*server, error) {
	p, banner, err := process.StartBanner(o.command(ctx, o.serverCPU, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json"}, flags...)...))
	if err != nil {
		return nil, err
	}
	s := &server{Server: p}
	if err := json.Unmarshal([]byte(banner), s); err != nil {
		return nil, p.Failed(fmt.Errorf("the banner of the server: %w", err))
	}
	return s, nil
}

// kernelDrops asks the server's admin page what its socket had no room for.
func (s *server) kernelDrops(ctx context.Context) (uint64, error) {
	address := strings.TrimPrefix(s.Admin, "http://")
	if _, _, err := net.SplitHostPort(address); err != nil {
		return 0, fmt.Errorf("the banner's admin address: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/varz", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var page struct {
		Endpoint struct {
			KernelDrops *uint64 `json:"kernel_drops"`
		} `json:"endpoint"`
	}
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		return 0, fmt.Errorf("%s: %w", request.URL, err)
	}
	if page.Endpoint.KernelDrops == nil {
		return 0, fmt.Errorf("%s: no endpoint.kernel_drops", request.URL)
	}
	return *page.Endpoint.KernelDrops, nil
}
