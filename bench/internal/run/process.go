// Package run starts both ends of a peer, each in a process of its own, and takes turns.
package run

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startTime is how long a server may take to say where it listens.
const startTime = 10 * time.Second

// Banner is the one line of JSON that a server prints when it listens.
type Banner struct {
	Listen string `json:"listen"`
	Secret string `json:"secret,omitempty"`
}

// Place is where a process runs.
type Place struct {
	CPU   int // that it is bound to; below 0 it is not
	Procs int // its GOMAXPROCS; 0 leaves that to it

	Netns  string     // its network namespace; empty is this process's
	Listen netip.Addr // where a server listens; the zero address is loopback
}

// command prepares this program's own subcommands: every end of every peer is the
// same program.
func (p Place) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if p.Netns != "" {
		name, args = "ip", append([]string{"netns", "exec", p.Netns, name}, args...)
	}
	if p.CPU >= 0 {
		name, args = "taskset", append([]string{"-c", strconv.Itoa(p.CPU), name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = os.Environ()
	if p.Procs > 0 {
		cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(p.Procs))
	}
	return cmd, nil
}

// Server is a peer's server, or a proxy in front of it: a process that listens until
// its standard input ends.
type Server struct {
	Banner

	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	said  bytes.Buffer
}

// StartServer starts the server of a peer and waits until it listens.
func StartServer(ctx context.Context, at Place, peer, app string) (*Server, error) {
	args := []string{"serve", peer, app}
	if at.Listen.IsValid() {
		args = append(args, at.Listen.String())
	}
	return startServer(ctx, at, "the server of "+peer, args...)
}

func startServer(ctx context.Context, at Place, what string, args ...string) (*Server, error) {
	cmd, err := at.command(ctx, args...)
	if err != nil {
		return nil, err
	}
	s := &Server{cmd: cmd}
	cmd.Stderr = &s.said
	if s.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, bound(err)
	}
	late := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.Banner)
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s does not start: %w\n%s", what, err, s.said.String())
	}
	return s, nil
}

// bound names the way around a missing taskset.
func bound(err error) error {
	if missing := (*exec.Error)(nil); errors.As(err, &missing) && missing.Name == "taskset" {
		return fmt.Errorf("%w: taskset (of util-linux) binds processes to CPUs; -server-cpu -1 -client-cpu -1 does without", err)
	}
	return err
}

// PID is its number.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends it and returns what it said on its standard error.
func (s *Server) Stop() string {
	_ = s.stdin.Close()
	late := time.AfterFunc(startTime, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	_ = s.cmd.Wait()
	return s.said.String()
}

// Memory is what a process has in RAM, in bytes.
type Memory struct {
	Anon int64 `json:"rss_anon_bytes"`
	RSS  int64 `json:"rss_bytes"`
}

// MemoryOf reads /proc/PID/status.
func MemoryOf(pid int) (m Memory, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		var to *int64
		switch {
		case strings.HasPrefix(line, "RssAnon:"):
			to = &m.Anon
		case strings.HasPrefix(line, "VmRSS:"):
			to = &m.RSS
		default:
			continue
		}
		if _, err := fmt.Sscanf(strings.Fields(line)[1], "%d", to); err != nil {
			return m, fmt.Errorf("/proc/%d/status: %q", pid, line)
		}
		*to <<= 10 // kB
	}
	if m.RSS == 0 {
		return m, fmt.Errorf("/proc/%d/status tells no memory", pid)
	}
	return m, nil
}
