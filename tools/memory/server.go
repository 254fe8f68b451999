package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"godwit.example/godwit/tools/internal/process"
)

// server is the process that is measured.
type server struct {
	*process.Server

	addr     string
	identity string
}

// startServer builds the server if need be and starts it. Whether it is up shows when the first connection comes about. Its binary and its
// identity are in dir.
func startServer(ctx context.Context, o *options, dir string) (*server, error) {
	binary, err := process.Program(ctx, dir, o.server, "godwit.example/godwit/examples/echo")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	place := process.Place{CPU: -1, Procs: o.gomaxprocs, State: filepath.Join(dir, "state")}
	p, err := process.Start(place.Command(ctx, binary, addr))
	if err != nil {
		return nil, err
	}
	s := &server{Server: p, addr: addr, identity: filepath.Join(place.State, "godwit")}
	// The identity appears before the socket. Until the socket is there, handshakes go unanswered and are repeated.
	for range 100 {
		if _, err := s.figures(); err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(s.identity, "identity.pem")); err == nil {
			return s, nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			s.Stop()
			return nil, err
		}
	}
	return nil, s.Failed(errors.New("the server does not start: it has made no identity"))
}

// freeAddress finds a port that nobody has at the moment.
func freeAddress() (string, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.LocalAddr().String(), nil
}

// figures is what the operating system says of a process.
type figures struct {
	Anon    int64 `json:"rss_anon_bytes"`
	RSS     int64 `json:"rss_bytes"`
	Swap    int64 `json:"swap_bytes"`
	Threads int64 `json:"threads"`
}

func mega(n int64) float64 { return float64(n) / 1e6 }

// String returns the figures for people.
func (f figures) String() string {
	return fmt.Sprintf("RssAnon %.2f MB, VmRSS %.2f MB, VmSwap %.2f MB, %d threads", mega(f.Anon), mega(f.RSS), mega(f.Swap), f.Threads)
}

// figures reads the process's figures now.
func (s *server) figures() (f figures, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID()), "status"))
	if err == nil {
		f, err = parseStatus(string(text))
	}
	if err != nil {
		return f, s.Failed(fmt.Errorf("the server is gone, or this system has no /proc: %w", err))
	}
	return f, nil
}

// parseStatus reads the lines that count of /proc/PID/status. Memory is given in kB, which are KiB.
func parseStatus(text string) (f figures, err error) {
	for name, to := range map[string]*int64{"RssAnon": &f.Anon, "VmRSS": &f.RSS, "VmSwap": &f.Swap, "Threads": &f.Threads} {
		_, rest, ok := strings.Cut("\n"+text, "\n"+name+":")
		line, _, _ := strings.Cut(rest, "\n")
		fields := strings.Fields(line)
		if !ok || len(fields) == 0 {
			return f, fmt.Errorf("/proc/PID/status has no %s", name)
		}
		if *to, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
			return f, fmt.Errorf("/proc/PID/status: %s: %w", name, err)
		}
		if len(fields) > 1 {
			*to <<= 10
		}
	}
	return f, nil
}
