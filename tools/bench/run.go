package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
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

	KernelDrops uint64 `json:"kernel_drops"` // datagrams that the server's socket had no room for
}

const (
	startTime = 10 * time.Second
	slack     = 30 * time.Second // of a run beyond its measurements
)

// run starts a server, loads it once, and stops it.
func (o *options) run(ctx context.Context, w *workload) (*result, error) {
	measurements := 1
	if w.reference {
		measurements = 3
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(measurements)*(o.duration+10*time.Second)+slack)
	defer cancel()
	s, err := o.serve(ctx, w.server)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	args := append([]string{"bench", s.Listen, "--pin", s.Pin, "--admin", s.Admin, "--json", "--duration", o.duration.String()}, w.client...)
	if w.reference {
		args = append(args, "--reference")
		if o.serverCPU >= 0 {
			args = append(args, "--reference-cpus", strconv.Itoa(o.serverCPU))
		}
	}
	cmd := o.command(ctx, o.clientCPU, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, said.String())
	}
	r := new(result)
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
	name := o.binary
	if cpu >= 0 {
		name, args = "taskset", append([]string{"-c", strconv.Itoa(cpu), o.binary}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "XDG_STATE_HOME="+o.state)
	return cmd
}

// server is a running godwit serve; its banner says where.
type server struct {
	Listen string `json:"listen"`
	Pin    string `json:"pin"`
	Admin  string `json:"admin"`

	cmd *exec.Cmd
}

func (o *options) serve(ctx context.Context, flags []string) (*server, error) {
	cmd := o.command(ctx, o.serverCPU, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json", "--drain-timeout", "1s"}, flags...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: taskset (of util-linux) binds processes to CPUs; -server-cpu -1 -client-cpu -1 does without", err)
		}
		return nil, err
	}
	s := &server{cmd: cmd}
	late := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	if err == nil {
		err = json.Unmarshal([]byte(line), s)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the server does not start: %w\n%s", err, said.String())
	}
	return s, nil
}

// stop ends the server and waits for it.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(startTime, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	_ = s.cmd.Wait() // how it ends does not matter any more
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
