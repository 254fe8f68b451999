// Package process builds, starts, reads and stops the programs that the tools measure.
package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startTime is how long a server may take to print its banner.
const startTime = 10 * time.Second

// Program returns the path of a program to measure: given, or what pkg compiles to, put into dir, if that is empty.
func Program(ctx context.Context, dir, given, pkg string) (string, error) {
	if given != "" {
		return given, nil
	}
	program := filepath.Join(dir, path.Base(pkg))
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of %s: %w\n%s", pkg, err, text)
	}
	return program, nil
}

// Place is where a program runs.
type Place struct {
	CPU   int    // that it is bound to; below 0 it is not
	Procs int    // its GOMAXPROCS; 0 leaves that to it
	State string // directory of development identities, so that the user's own are left alone

	MemoryLimit int64 // its GOMEMLIMIT in bytes; 0 leaves that to it
}

// Command prepares a program.
func (p Place) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if p.CPU >= 0 {
		name, args = "taskset", append([]string{"-c", strconv.Itoa(p.CPU), name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+p.State)
	if p.Procs > 0 {
		cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(p.Procs))
	}
	if p.MemoryLimit > 0 {
		cmd.Env = append(cmd.Env, "GOMEMLIMIT="+strconv.FormatInt(p.MemoryLimit, 10))
	}
	return cmd
}

// Output runs a program to its end and returns what it prints. An error has what it says on its standard error.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), unbound(err), said.String())
	}
	return text, nil
}

// unbound names the way around a missing taskset.
func unbound(err error) error {
	if missing := (*exec.Error)(nil); errors.As(err, &missing) && missing.Name == "taskset" {
		return fmt.Errorf("%w: taskset (of util-linux) binds processes to CPUs; -server-cpu -1 -client-cpu -1 does without", err)
	}
	return err
}

// Server is a program that runs until it is stopped.
type Server struct {
	cmd  *exec.Cmd
	said bytes.Buffer // on its standard error; not to be read while it runs
}

// Start starts a program of which nothing is expected on its standard output.
func Start(cmd *exec.Cmd) (*Server, error) {
	s := &Server{cmd: cmd}
	cmd.Stderr = &s.said
	return s, unbound(cmd.Start())
}

// StartBanner starts a program and returns the first line that it prints. One that prints none in ten seconds is stopped, which is an error.
func StartBanner(cmd *exec.Cmd) (*Server, string, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	s, err := Start(cmd)
	if err != nil {
		return nil, "", err
	}
	late := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	banner, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", s.Failed(fmt.Errorf("the server does not start: %w", err))
	}
	return s, strings.TrimSpace(banner), nil
}

// PID returns the number of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the program at once and waits for it: what it holds is of no interest any more.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Failed stops a program that is of no use, and adds to err what it said.
func (s *Server) Failed(err error) error {
	s.Stop()
	return fmt.Errorf("%w\n%s", err, s.said.String())
}

// CPU returns the CPU time of all threads of a process, in the scheduler's own nanoseconds; /proc/PID/stat counts in hundredths of a second.
func CPU(pid int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("the kernel tells no CPU times of the threads of process %d", pid)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended meanwhile
		}
		var used time.Duration // the first number
		if _, err := fmt.Sscan(string(text), &used); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum += used
	}
	return sum, nil
}
