package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"godwit.example/godwit/load"
)

// maxProcs bounds --procs.
const maxProcs = 64

// runProcs shares the load among client processes and merges what they measured.
func (f *benchFlags) runProcs(ctx context.Context, addr string, cfg *load.Config, errOut io.Writer) (*load.Result, error) {
	switch {
	case f.procs > maxProcs || f.procs < 1:
		return nil, fmt.Errorf("--procs %d: it is 1 to %d", f.procs, maxProcs)
	case f.reference:
		return nil, errors.New("--procs and --reference do not go together: the references have one client process")
	case f.conns < f.procs:
		return nil, fmt.Errorf("--procs %d: each process needs a connection of its own, --conns is %d", f.procs, f.conns)
	}
	ctx, cancel := context.WithCancelCause(ctx) // one that fails takes the others with it
	defer cancel(nil)
	parts := make([]*load.Part, f.procs)
	var ready, running sync.WaitGroup
	ready.Add(f.procs)
	begin := make(chan struct{})
	for i := range parts {
		running.Go(func() {
			var err error
			if parts[i], err = partProcess(ctx, f.partArgs(addr, cfg, i), errOut, ready.Done, begin); err != nil {
				cancel(fmt.Errorf("client process %d: %w", i+1, err))
			}
		})
	}
	ready.Wait()
	close(begin)
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return load.Merge(*cfg, parts)
}

// partArgs is the command line of a process. Only the first asks the server for its CPU time.
func (f *benchFlags) partArgs(addr string, cfg *load.Config, i int) []string {
	conns := f.conns*(i+1)/f.procs - f.conns*i/f.procs
	admin := "off"
	if i == 0 && cfg.Varz != "" {
		admin = cfg.Varz
	}
	rate := f.rate * float64(conns) / float64(f.conns)
	return []string{
		"bench", addr, "--part", "--conns", strconv.Itoa(conns), "--rate", strconv.FormatFloat(rate, 'g', -1, 64),
		"--outstanding", strconv.Itoa(f.outstanding), "--size", strconv.Itoa(f.size), "--mode", f.mode, "--modes=" + strconv.FormatBool(f.modes),
		"--duration", f.duration.String(), "--warmup", f.warmup.String(), "--idle-timeout", f.idle.String(), "--admin", admin,
		"--socket-buffer", strconv.Itoa(f.buffer), "--spin", f.spin.String(), "--without", strings.Join(f.without, ","),
		"--engine", f.engine, "--pin", f.pin, "--plain=" + strconv.FormatBool(f.plain), "--loss", f.loss, "--rtt", f.rtt.String(),
	}
}

// The words between bench and its processes.
const (
	partReady = "ready"
	partBegin = "begin"
)

// partProcess runs one process: it says that it is ready, waits for the word to begin, and prints what it measured. ready is called
// once in any case.
func partProcess(ctx context.Context, args []string, errOut io.Writer, ready func(), begin <-chan struct{}) (*load.Part, error) {
	ready = sync.OnceFunc(ready)
	defer ready()
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stderr = errOut
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	part, err := talk(ctx, in, bufio.NewReader(out), ready, begin)
	_ = in.Close()
	if waited := cmd.Wait(); waited != nil {
		err = waited // it has said why on standard error
	}
	return part, err
}

func talk(ctx context.Context, in io.Writer, out *bufio.Reader, ready func(), begin <-chan struct{}) (*load.Part, error) {
	if line, err := out.ReadString('\n'); err != nil || strings.TrimSpace(line) != partReady {
		return nil, errors.New("it did not begin")
	}
	ready()
	select {
	case <-begin:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if _, err := fmt.Fprintln(in, partBegin); err != nil {
		return nil, err
	}
	part := new(load.Part)
	if err := json.NewDecoder(out).Decode(part); err != nil {
		return nil, err
	}
	return part, nil
}

// benchPart is bench as one of several processes.
func (f *benchFlags) benchPart(ctx context.Context, addr string, in io.Reader, out io.Writer) error {
	cfg, err := f.config(ctx, addr)
	if err != nil {
		return err
	}
	cfg.Staleness = f.modes
	part, err := load.RunPart(ctx, *cfg, func() error {
		fmt.Fprintln(out, partReady)
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != partBegin {
			return errors.New("the process that shares the load has gone")
		}
		return nil
	})
	if err != nil {
		return dialHint(addr, err)
	}
	return json.NewEncoder(out).Encode(part)
}
