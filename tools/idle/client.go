package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"godwit.example/godwit/tools/internal/process"
)

// client is the process that holds the connections.
type client struct {
	*process.Server

	in  io.WriteCloser
	out *json.Decoder
}

// startClient starts this program as the client of a server.
func startClient(ctx context.Context, o *options, state string, s *process.Echo) (*client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := process.Place{CPU: o.clientCPU, Procs: 1, State: state}.Command(ctx, self,
		"-hold", "-addr", s.Addr, "-identity", s.Identity, "-dials", strconv.Itoa(o.dials))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := process.Start(cmd)
	if err != nil {
		return nil, err
	}
	return &client{Server: p, in: in, out: json.NewDecoder(out)}, nil
}

// Signals of Linux, by number, because other platforms that this compiles for do not have their names.
const (
	sigCont = syscall.Signal(18)
	sigStop = syscall.Signal(19)
)

// pause stops the client until resume: it shares its CPU with the live traffic's, and with a million connections to look through its collector
// would be what is measured.
func (c *client) pause() error { return c.signal(sigStop) }

func (c *client) resume() error { return c.signal(sigCont) }

func (c *client) signal(sig os.Signal) error {
	p, err := os.FindProcess(c.PID())
	if err != nil {
		return err
	}
	return p.Signal(sig)
}

func (c *client) stop() {
	_ = c.resume()
	_ = c.in.Close()
	c.Stop()
}

// command gives a command and returns the last word to it; progress is told of those before.
func (c *client) command(progress func(*held) error, verb string, n int) (*held, error) {
	if _, err := fmt.Fprintln(c.in, verb, n); err != nil {
		return nil, c.Failed(err)
	}
	for {
		h := new(held)
		if err := c.out.Decode(h); err != nil {
			return nil, c.Failed(fmt.Errorf("the client: %w", err))
		}
		if h.Done {
			return h, nil
		}
		if err := progress(h); err != nil {
			return nil, err
		}
	}
}

// grow has it dial until there are n connections.
func (c *client) grow(n int, progress func(*held) error) (*held, error) {
	return c.command(progress, "grow", n)
}

// answer has it send a message on n connections and wait for the answers.
func (c *client) answer(n int) (*held, error) { return c.command(nil, "answer", n) }

// count asks for the connections that are there and those that have ended.
func (c *client) count() (*held, error) { return c.command(nil, "count", 0) }
