// Command godwit-bench compares godwit with other transports: the same messages, by
// the same generator, judged by the same rules; each end is a process of its own on
// a CPU of its own, and the peers take turns.
//
//	godwit-bench [-workloads W1,W2,W3,W4,W5] [-peers godwit,tcp] [-runs 3] [-json FILE]
//	godwit-bench list      the peers, and those that do not run here
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/run"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "godwit-bench:", err)
		os.Exit(1)
	}
}

// start runs a subcommand; serve and client are what compare starts itself.
func start(ctx context.Context, args []string) error {
	switch {
	case (len(args) == 3 || len(args) == 4) && args[0] == "serve":
		return serve(ctx, args[1:])
	case len(args) == 8 && args[0] == "client":
		return client(ctx, args[1:])
	case len(args) == 1 && args[0] == "list":
		return list(os.Stdout)
	}
	return compare(ctx, args)
}

// serve answers until its standard input ends: NAME APP [IP].
func serve(ctx context.Context, args []string) error {
	p, err := peer.Named(args[0])
	if err != nil {
		return err
	}
	answer := peer.Answers[args[1]]
	if answer == nil {
		return fmt.Errorf("there is no application %q", args[1])
	}
	if len(args) > 2 {
		ip, err := netip.ParseAddr(args[2])
		if err != nil {
			return fmt.Errorf("where to listen: %w", err)
		}
		peer.ListenAt(ip)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return p.Serve(ctx, answer, func(addr netip.AddrPort, secret string) {
		_ = json.NewEncoder(os.Stdout).Encode(run.Banner{Listen: addr.String(), Secret: secret})
	})
}

// client loads a server: NAME ADDR SECRET PID WORKLOAD DURATION WARMUP.
func client(ctx context.Context, args []string) error {
	p, err := peer.Named(args[0])
	if err != nil {
		return err
	}
	pid, err1 := strconv.Atoi(args[3])
	duration, err2 := time.ParseDuration(args[5])
	warmup, err3 := time.ParseDuration(args[6])
	w, unknown := run.Named(args[4])
	if err := errors.Join(err1, err2, err3); err != nil || unknown != "" {
		return fmt.Errorf("arguments %q: %w", args, err)
	}
	return run.Client(ctx, p, &w[0], args[1], args[2], pid, duration, warmup, os.Stdin, os.Stdout)
}

func list(out io.Writer) error {
	for _, p := range peer.All() {
		fmt.Fprintf(out, "%-18s %s\n", p.Name, p.About)
	}
	for _, a := range peer.NotHere() {
		fmt.Fprintf(out, "%-18s not run here: %s\n", a.Name, a.Why)
	}
	return nil
}
