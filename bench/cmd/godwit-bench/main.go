// Command godwit-bench compares godwit with other transports: the same messages, by
// the same generator, judged by the same rules; each end is a process of its own on
// a CPU of its own, and the peers take turns.
//
//	godwit-bench [-quick] [-workloads W1,W2] [-peers godwit,tcp] [-runs 15] [-json FILE]
//	godwit-bench largest [-workloads W7,W8] [-peers godwit,tcp]    how many members a room may have
//	godwit-bench list        the workloads and the peers, and those that do not run here
//	godwit-bench report FILE writes tables and plots into docs from what -json FILE has kept
//	godwit-bench selftest    whether it would notice an adapter that drops, duplicates, reorders or stalls
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

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

// start runs a subcommand; serve, client, members and netem are what compare starts itself.
func start(ctx context.Context, args []string) error {
	switch {
	case (len(args) == 3 || len(args) == 4) && args[0] == "serve":
		return serve(ctx, args[1:])
	case len(args) == 2 && args[0] == "client":
		return run.Client(ctx, args[1], os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "members":
		return run.Members(ctx, args[1], os.Stdout)
	case len(args) == 2 && args[0] == "netem":
		return run.Network(ctx, args[1], os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] == "list":
		return list(os.Stdout)
	case len(args) > 0 && args[0] == "largest":
		return searchLargest(ctx, args[1:], os.Stdout, os.Stderr)
	case len(args) > 0 && args[0] == "report":
		return report(args[1:], os.Stdout)
	case len(args) > 0 && args[0] == "selftest":
		return selfTest(ctx, args[1:], os.Stdout)
	}
	return compare(ctx, args, os.Stdout, os.Stderr)
}

// serve answers until its standard input ends: NAME APP [IP].
func serve(ctx context.Context, args []string) error {
	p, err := peer.Named(args[0])
	if err != nil {
		return err
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
	return p.ServeApp(ctx, args[1], func(addr netip.AddrPort, secret string) {
		_ = json.NewEncoder(os.Stdout).Encode(run.Banner{Listen: addr.String(), Secret: secret})
	})
}

func list(out io.Writer) error {
	for _, w := range run.Workloads {
		fmt.Fprintf(out, "%-18s %s\n", w.Name, w.About)
	}
	for _, p := range peer.All() {
		fmt.Fprintf(out, "%-18s %s\n", p.Name, p.About)
	}
	for _, a := range peer.NotHere() {
		fmt.Fprintf(out, "%-18s not run here: %s\n", a.Name, a.Why)
	}
	return nil
}
