// Command cost says where the server's CPU time of a message goes, stage by stage.
//
// It loads godwit serve as tools/bench does, server and client on a CPU each, takes a profile from the server's admin pages meanwhile, and
// divides the CPU time of a message, which godwit bench reads, by the profile. docs/PERFORMANCE.md explains the stages.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// options are the flags.
type options struct {
	duration             time.Duration
	serverCPU, clientCPU int
	binary, only         string
	profiles             string
	state                string
}

// workload is a load of docs/BENCHMARKS.md. Servers of single messages sleep when they have nothing to do: what looking for work takes is not
// the cost of a message.
type workload struct {
	name           string
	server, client []string
}

var workloads = []workload{
	{"W1", []string{"--spin", "0"}, []string{"--conns", "1", "--size", "64", "--rate", "0", "--outstanding", "1"}},
	{"W2", []string{"--spin", "0"}, []string{"--conns", "100", "--size", "128", "--rate", "20000"}},
	{"W3", nil, []string{"--conns", "100", "--size", "64", "--rate", "0", "--outstanding", "64"}},
}

// settled is when a load is surely under way: the handshakes are over.
const settled = 2 * time.Second

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "length of a profile")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU of the server; -1 does not bind it")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU of the client; -1 does not bind it")
	flag.StringVar(&o.binary, "binary", "", "the godwit program; empty builds it")
	flag.StringVar(&o.only, "only", "W3,W2,W1", "workloads, separated by commas")
	flag.StringVar(&o.profiles, "profiles", "", "directory to keep the profiles in, for go tool pprof; empty keeps none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "godwit-cost-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.state = dir
	if o.profiles == "" {
		o.profiles = dir
	}
	if o.binary, err = process.Program(ctx, dir, o.binary, "godwit.example/godwit/gateway/cmd/godwit"); err != nil {
		return err
	}
	for name := range strings.SplitSeq(o.only, ",") {
		found := false
		for i := range workloads {
			if w := &workloads[i]; w.name == name {
				found = true
				if err := o.measure(ctx, w, out); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if !found {
			return fmt.Errorf("there is no workload %q", name)
		}
	}
	return nil
}

// measure loads a server and prints what its profile says.
func (o *options) measure(ctx context.Context, w *workload, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.duration+time.Minute)
	defer cancel()
	place := process.Place{CPU: o.serverCPU, Procs: 1, State: o.state}
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json"}, w.server...)
	server, banner, err := process.StartBanner(place.Command(ctx, o.binary, args...))
	if err != nil {
		return err
	}
	defer server.Stop()
	var at struct{ Listen, Pin, Admin string }
	if err := json.Unmarshal([]byte(banner), &at); err != nil {
		return fmt.Errorf("the banner of the server: %w", err)
	}
	place.CPU = o.clientCPU
	args = append([]string{"bench", at.Listen, "--pin", at.Pin, "--admin", at.Admin, "--json", "--duration", (o.duration + 2*settled).String()}, w.client...)
	load := place.Command(ctx, o.binary, args...)
	var text, said bytes.Buffer
	load.Stdout, load.Stderr = &text, &said
	if err := load.Start(); err != nil {
		return err
	}
	time.Sleep(settled)
	admin := "http://" + strings.TrimPrefix(at.Admin, "http://")
	file := filepath.Join(o.profiles, w.name+".prof")
	err = fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, int(o.duration.Seconds())), file)
	if err := errors.Join(err, load.Wait()); err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	var r result
	if err := json.Unmarshal(text.Bytes(), &r); err != nil {
		return err
	}
	if r.ServerPerMessage == 0 {
		return fmt.Errorf("godwit bench does not know the server's CPU time: %s", text.String())
	}
	counters, err := readCounters(ctx, admin, o.state)
	if err != nil {
		return err
	}
	p, err := readProfile(ctx, file)
	if err != nil {
		return err
	}
	report(out, w, &r, counters, p)
	return nil
}

// readCounters returns the figures of the server's endpoint.
func readCounters(ctx context.Context, admin, dir string) (map[string]any, error) {
	file := filepath.Join(dir, "varz")
	if err := fetch(ctx, admin+"/varz", file); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var page struct{ Endpoint map[string]any }
	err = json.Unmarshal(text, &page)
	return page.Endpoint, err
}

// result is what godwit bench --json prints, as far as it matters here.
type result struct {
	MessagesPerSecond float64  `json:"messages_per_second"`
	ServerPerMessage  float64  `json:"server_us_per_message"`
	StolenCPU         float64  `json:"stolen_cpu_percent"`
	Reasons           []string `json:"reasons"`
}

// fetch writes a page to a file.
func fetch(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
