package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"godwit.example/godwit/netem"
)

type netemFlags struct {
	cfg   netem.Config
	links linkFlags
	json  bool
}

const netemCommands = `While it runs it takes commands on standard input, one a line:
  rebind           give each client another port on the server's side, as a NAT does that forgot it` + rebindSignal + `
  blackout TIME    lose everything for so long, such as blackout 500ms; 0 ends it
  set FLAGS        change the links from now on, such as set --loss 5% --up-delay 30ms; what is not named is unchanged
  stats            print the figures`

func newNetem() *cobra.Command {
	var f netemFlags
	cmd := &cobra.Command{
		Use:   "netem",
		Short: "Put a bad network in front of a UDP server of any protocol",
		Long: "Put a bad network in front of a UDP server of any protocol: a proxy that delays, loses, reorders, duplicates and corrupts datagrams.\n" +
			"Clients send to --listen instead of the server. Each flag of the network is for both directions; with --up- it is for the way to\n" +
			"the server only, with --down- for the way back. Losses follow from --seed: they are the same in each run.\n\n" + netemCommands,
		Example: "  godwit netem --to 127.0.0.1:4242 --delay 10ms --loss 1%\n" +
			"  godwit netem --listen :5000 --to game.example:4242 --delay 25ms --jitter 5ms --burst 2% --burst-length 4\n" +
			"  godwit netem --to 127.0.0.1:4242 --up-rate 1mbit --down-rate 10mbit --queue 64kB",
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.cfg.Listen, "listen", DefaultNetem, "UDP address that clients send to; :5000 is every address, IPv4 and IPv6")
	flags.StringVar(&f.cfg.Target, "to", DefaultAddress, "UDP address of the server")
	f.links.register(cmd)
	flags.Uint64Var(&f.cfg.Seed, "seed", 1, "what the losses and delays are drawn from")
	flags.IntVar(&f.cfg.MaxFlows, "max-flows", netem.DefaultMaxFlows, "clients at a time; what others send is dropped")
	flags.DurationVar(&f.cfg.IdleTimeout, "idle-timeout", netem.DefaultIdleTimeout, "silence after which a client is forgotten; negative is never")
	flags.Int64Var(&f.cfg.Buffer, "buffer", netem.DefaultBuffer, "bytes of datagrams under way; what is beyond is dropped")
	flags.BoolVar(&f.cfg.DisableOffload, "no-offload", false, "receive and send each datagram by itself even where one call of the sender made many")
	flags.BoolVar(&f.json, "json", false, "print JSON, one object a line, on standard output: first the addresses, at the end and when asked the figures")
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error {
		return f.netem(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
	return cmd
}

// DefaultNetem is where a bad network without configuration listens.
const DefaultNetem = "127.0.0.1:5000"

// netem runs until a signal asks it to stop.
func (f *netemFlags) netem(ctx context.Context, in io.Reader, out, errOut io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	rebinds := rebindSignals()
	defer signal.Stop(rebinds)

	f.links.apply(&f.cfg.Up, &f.cfg.Down)
	p, err := netem.Listen(f.cfg)
	if err != nil {
		return listenHint(f.cfg.Listen, err)
	}
	defer p.Close()
	if f.json {
		err = json.NewEncoder(out).Encode(map[string]any{"listen": p.Addr().String(), "target": f.cfg.Target, "up": f.cfg.Up, "down": f.cfg.Down, "seed": f.cfg.Seed})
	} else {
		_, err = fmt.Fprintf(out, "a bad network listens at %s, the server is %s\n  up:   %s\n  down: %s\n", p.Addr(), f.cfg.Target, describeLink(&f.cfg.Up), describeLink(&f.cfg.Down))
	}
	if err != nil {
		return err
	}
	lines, finished := make(chan string), make(chan struct{})
	defer close(finished)
	go readLines(in, lines, finished)
	for {
		select {
		case <-ctx.Done():
		case <-signals:
		case <-rebinds:
			f.command(p, "rebind", out, errOut)
			continue
		case line := <-lines:
			f.command(p, line, out, errOut)
			continue
		}
		_ = p.Close() // the figures are more important
		return f.printStats(p, out)
	}
}

// readLines passes lines on until there are no more or nobody wants them.
func readLines(in io.Reader, lines chan<- string, finished <-chan struct{}) {
	for s := bufio.NewScanner(in); s.Scan(); {
		select {
		case lines <- s.Text():
		case <-finished:
			return
		}
	}
}

// command carries out a line of standard input and says on standard error what it did, or why not.
func (f *netemFlags) command(p *netem.Proxy, line string, out, errOut io.Writer) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	done, err := "", error(nil)
	switch {
	case words[0] == "rebind" && len(words) == 1:
		var n int
		n, err = p.Rebind()
		done = count(n, "client") + " moved to another port"
	case words[0] == "blackout" && len(words) == 2:
		var d time.Duration
		if d, err = time.ParseDuration(words[1]); err == nil {
			err = p.Blackout(d)
		}
		done = fmt.Sprintf("blackout of %v", d)
	case words[0] == "set" && len(words) > 1:
		done = "set"
		err = f.set(p, words[1:])
	case words[0] == "stats" && len(words) == 1:
		err = f.printStats(p, out)
	default:
		err = errors.New("commands are rebind, blackout TIME, set FLAGS, stats")
	}
	switch {
	case err != nil:
		fmt.Fprintf(errOut, "%s: %v\n", line, err)
	case done != "":
		fmt.Fprintln(errOut, done)
	}
}

// set changes what the flags name.
func (f *netemFlags) set(p *netem.Proxy, args []string) error {
	var changed linkFlags
	cmd := &cobra.Command{}
	changed.register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return err
	}
	if len(cmd.Flags().Args()) > 0 {
		return fmt.Errorf("%s is no flag", cmd.Flags().Arg(0))
	}
	up, down := f.cfg.Up, f.cfg.Down
	changed.apply(&up, &down)
	if err := p.SetLinks(up, down); err != nil {
		return err
	}
	f.cfg.Up, f.cfg.Down = up, down
	return nil
}

func (f *netemFlags) printStats(p *netem.Proxy, out io.Writer) error {
	s := p.Stats()
	if f.json {
		return json.NewEncoder(out).Encode(s)
	}
	if _, err := fmt.Fprintf(out, "up:   %s\ndown: %s\n", describeStats(&s.Up), describeStats(&s.Down)); err != nil {
		return err
	}
	for _, c := range []struct {
		n    uint64
		text string
	}{
		{s.KernelDrops, "datagrams were dropped by the kernel: the proxy was too slow, and what was measured through it is worth nothing. " + s.BufferHint},
		{s.Unreachable, "times the server's host said that nobody listens at " + f.cfg.Target},
	} {
		if c.n > 0 {
			if _, err := fmt.Fprintf(out, "%d %s\n", c.n, strings.TrimSpace(c.text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// describeStats leaves out what did not happen.
func describeStats(s *netem.LinkStats) string {
	text := fmt.Sprintf("%d received, %d forwarded", s.Received, s.Forwarded)
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{s.Lost, "lost"},
		{s.BurstLost, "lost in bursts"},
		{s.BlackedOut, "in blackouts"},
		{s.TooLarge, "too large"},
		{s.QueueDropped, "dropped by the queue"},
		{s.Duplicated, "duplicated"},
		{s.Reordered, "reordered"},
		{s.Corrupted, "corrupted"},
		{s.NoFlow, "of too many clients"},
		{s.Overflowed, "beyond --buffer"},
		{s.Unsent, "not taken by the kernel"},
		{uint64(s.UnderWay), "under way"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	if s.QueueMost > 0 {
		text += fmt.Sprintf(", queue at most %d bytes", s.QueueMost)
	}
	return text + fmt.Sprintf("; late by %v in the mean, %v at most, %d by more than 1ms",
		s.MeanLateness.Round(time.Microsecond), s.MaxLateness.Round(time.Microsecond), s.Late)
}

// describeLink says what a link does, in the words of the flags.
func describeLink(l *netem.Link) string {
	var parts []string
	for _, k := range linkKinds {
		if text := k.get(l); text != "" {
			parts = append(parts, k.name+" "+text)
		}
	}
	if len(parts) == 0 {
		return "nothing is changed"
	}
	return strings.Join(parts, ", ")
}

// percent is the text of a share, empty if it is zero.
func percent(p float64) string {
	if p == 0 {
		return ""
	}
	return strconv.FormatFloat(math.Round(p*1e8)/1e6, 'g', -1, 64) + "%"
}
