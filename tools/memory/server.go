package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the process that is measured.
type server struct {
	cmd      *exec.Cmd
	dir      string // of its binary and its identity
	addr     string
	identity string
	said     bytes.Buffer
}

// startServer builds the server if need be and starts it. Whether it is up shows when the first connection comes about.
func startServer(ctx context.Context, o *options) (*server, error) {
	dir, err := os.MkdirTemp("", "godwit-memory")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, identity: filepath.Join(dir, "state", "godwit")}
	binary := o.server
	if binary == "" {
		binary = filepath.Join(dir, "echo")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "godwit.example/godwit/examples/echo")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("build of examples/echo: %w\n%s", err, out), os.RemoveAll(dir))
		}
	}
	if s.addr, err = freeAddress(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.cmd = exec.CommandContext(ctx, binary, s.addr)
	s.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
	if o.gomaxprocs > 0 {
		s.cmd.Env = append(s.cmd.Env, "GOMAXPROCS="+strconv.Itoa(o.gomaxprocs))
	}
	s.cmd.Stderr = &s.said
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	// The identity appears before the socket. Until the socket is there, handshakes go unanswered and are repeated.
	for range 100 {
		if _, err := s.figures(); err == nil && exists(filepath.Join(s.identity, "identity.pem")) {
			return s, nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			s.stop()
			return nil, err
		}
	}
	s.stop()
	return nil, fmt.Errorf("the server does not start: %s", s.said.String())
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
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

// stop ends the process and forgets what it left behind.
func (s *server) stop() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL) // nothing of what it holds is of interest any more
		_ = s.cmd.Wait()
	}
	_ = os.RemoveAll(s.dir)
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

func (s *server) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), name)
}

// figures reads the process's figures now.
func (s *server) figures() (f figures, err error) {
	text, err := os.ReadFile(s.proc("status"))
	if err != nil {
		return f, fmt.Errorf("the server is gone, or this system has no /proc: %w %s", err, s.said.String())
	}
	return parseStatus(string(text))
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

// cpu returns the CPU time of all threads. The scheduler's own figures are in nanoseconds; those of /proc/PID/stat are in
// hundredths of a second, one of which would be the whole goal.
func (s *server) cpu() (time.Duration, error) {
	files, err := filepath.Glob(s.proc("task/*/schedstat"))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("the kernel tells no CPU times of threads in %s", s.proc("task"))
	}
	var sum time.Duration
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended meanwhile
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}
