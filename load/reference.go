package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// references are the reference servers in the order in which they run.
var references = []string{"udp", "tcp"}

var referenceTitles = map[string]string{"udp": "raw UDP", "tcp": "TCP"}

// referenceEnv tells a process that it is a reference server, and which.
const referenceEnv = "GODWIT_LOAD_REFERENCE"

// MaybeRunReference runs a reference server, until its standard input ends, if
// this process was started for that. It reports whether it did; then main should
// return. Other processes it leaves alone.
func MaybeRunReference() bool {
	name, ok := os.LookupEnv(referenceEnv)
	if !ok {
		return false
	}
	serve := map[string]func(stop <-chan struct{}, ready func(netip.AddrPort)) error{"udp": serveUDP, "tcp": serveTCP}[name]
	if serve == nil {
		fmt.Fprintf(os.Stderr, "there is no reference server %q\n", name)
		return true
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	if err := serve(stop, func(a netip.AddrPort) { fmt.Fprintln(os.Stdout, a) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

// referenceServer is a reference server in a process of its own, so that its CPU
// time can be told from the client's.
type referenceServer struct {
	addr   netip.AddrPort
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
}

const referenceStart = 5 * time.Second

func startReference(name string, cpus []int) (*referenceServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &referenceServer{cmd: exec.Command(program)}
	s.cmd.Env = append(os.Environ(), referenceEnv+"="+name)
	s.cmd.Stderr = &s.stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := onCPUs(cpus, s.cmd.Start); err != nil {
		return nil, err
	}
	// A program that does not call MaybeRunReference would run its own main
	// function: it is not waited for long.
	late := time.AfterFunc(referenceStart, func() { _ = s.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	late.Stop()
	if err == nil {
		s.addr, err = netip.ParseAddrPort(strings.TrimSpace(line))
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("the reference server did not start: %w %s", err, s.stderr.String())
	}
	return s, nil
}

// close ends the process.
func (s *referenceServer) close() {
	_ = s.stdin.Close()
	late := time.AfterFunc(referenceStart, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	_ = s.cmd.Wait()
}

// figures has the process's CPU time.
func (s *referenceServer) figures(context.Context) (f serverFigures, ok bool) {
	f.cpu, ok = processCPU(s.cmd.Process.Pid)
	return f, ok
}

// runReference measures the load over a reference server.
func runReference(ctx context.Context, c *Config, name string) (*Result, error) {
	s, err := startReference(name, c.ReferenceCPUs)
	if err != nil {
		return nil, err
	}
	defer s.close()
	r := &run{cfg: c, name: referenceTitles[name], server: s.figures, handshake: name == "tcp"}
	switch name {
	case "udp":
		if c.Size > maxDatagram {
			return nil, fmt.Errorf("messages of %d bytes do not fit in a datagram each", c.Size)
		}
		r.order, r.lossy = anyOrder, true
		return r.measure(ctx, newUDPClient(s.addr))
	case "tcp":
		return r.measure(ctx, newTCPClient(s.addr))
	}
	return nil, errors.New("there is no reference server " + name)
}
