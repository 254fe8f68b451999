package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// soakRound is one run of the load generator. Every round dials anew, so connections come and go as well.
const soakRound = time.Minute

// soakGrowth is how much a server may grow an hour, beyond the slack that a collector needs.
const (
	soakGrowth = 1 << 20
	soakSlack  = 4 << 20
)

// runSoak keeps a server under load and fails if a message is lost or changed, or if the server grows.
func runSoak(ctx context.Context, r *runner) error {
	bin := filepath.Join(r.root, "bin", "godwit")
	if err := r.command(ctx, nil, "go", "build", "-o", bin, "./gateway/cmd/godwit"); err != nil {
		return err
	}
	server := r.prepare(ctx, nil, bin, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json")
	server.Stderr = r.out
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt) // it may have ended already, which the rounds have noticed
		_ = server.Wait()
	}()
	var at struct{ Listen, Admin string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&at); err != nil {
		return fmt.Errorf("the server printed no banner: %w", err)
	}
	return r.soakRounds(ctx, bin, at.Listen, at.Admin)
}

func (r *runner) soakRounds(ctx context.Context, bin, listen, admin string) error {
	begin := time.Now()
	var first int64
	for time.Since(begin) < r.soakTime {
		round := min(soakRound, r.soakTime)
		if err := r.soakRound(ctx, bin, listen, round); err != nil {
			return err
		}
		anon, err := serverMemory(ctx, admin)
		if err != nil {
			return err
		}
		took := time.Since(begin)
		fmt.Fprintf(r.out, "%8s  %6.1f MiB\n", took.Round(time.Second), float64(anon)/(1<<20))
		if first == 0 {
			first = anon
		}
		if limit := first + soakSlack + int64(took.Hours()*soakGrowth); anon > limit {
			return fmt.Errorf("the server grew from %d to %d bytes in %v", first, anon, took.Round(time.Second))
		}
	}
	return nil
}

// soakRound runs the load generator once.
func (r *runner) soakRound(ctx context.Context, bin, listen string, length time.Duration) error {
	text, err := r.output(ctx, nil, bin, "bench", listen, "--admin", "off", "--conns", "1000", "--rate", "20000", "--duration", length.String(), "--json")
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	var result struct{ Sent, Received, Lost, Corrupted uint64 }
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		return fmt.Errorf("bench printed no result: %w", err)
	}
	fmt.Fprintf(r.out, "sent %d, received %d, lost %d, corrupted %d\n", result.Sent, result.Received, result.Lost, result.Corrupted)
	if result.Lost != 0 || result.Corrupted != 0 || result.Received == 0 {
		return errors.New("an acknowledged message is gone or changed")
	}
	return nil
}

// serverMemory reads the server's resident anonymous memory from its admin page.
func serverMemory(ctx context.Context, admin string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/varz", nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("the server does not answer: %w", err)
	}
	defer response.Body.Close()
	var page struct {
		Process struct {
			Anon *int64 `json:"rss_anon_bytes"`
		} `json:"process"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&page); err != nil {
		return 0, err
	}
	if page.Process.Anon == nil {
		return 0, skip{"this system does not tell a process's anonymous memory"}
	}
	return *page.Process.Anon, nil
}
