package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit.example/godwit"
	"godwit.example/godwit/load"
)

type benchFlags struct {
	clientFlags
	conns, size, outstanding int
	rate                     float64
	mode, admin              string
	duration, warmup, idle   time.Duration
	reference                bool
	referenceCPUs            []int
	buffer                   int
	spin                     time.Duration
	without                  []string
	loss                     string
	rtt                      time.Duration
	modes, part              bool
	procs                    int
	vs                       string
}

// defaultOutstanding is the depth of a closed loop that names none.
const defaultOutstanding = 64

func newBench() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench [ADDR]",
		Short: "Load an echo server and print latency, throughput and losses",
		Long: "Load an echo server, " + DefaultAddress + " if no address is given, and print latency, throughput and losses.\n" +
			"Every message is checked when it comes back. With --rate the messages leave on a fixed schedule and latency counts from\n" +
			"the scheduled time; with --rate 0 each connection keeps --outstanding messages on their way.",
		Example: "  godwit bench --conns 100 --size 128 --rate 20000 --duration 8s\n" +
			"  godwit bench --conns 100 --size 64 --rate 0 --outstanding 64\n" +
			"  godwit bench --conns 1 --rate 0 --outstanding 1 --reference\n" +
			"  godwit bench --modes --loss 5% --rtt 50ms\n" +
			"  godwit bench --vs tcp,tls",
		Args: cobra.MaximumNArgs(1),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("outstanding") && !cmd.Flags().Changed("rate") {
			f.rate = 0
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if f.vs != "" {
			return benchVs(ctx, f.vs, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		if f.part {
			return f.benchPart(ctx, address(args), cmd.InOrStdin(), cmd.OutOrStdout())
		}
		if f.modes {
			f.modesDefaults(cmd.Flags().Changed)
			return f.benchModes(ctx, address(args), cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		return f.bench(ctx, address(args), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
	f.register(cmd)
	flags := cmd.Flags()
	flags.IntVar(&f.conns, "conns", load.DefaultConnections, "connections")
	flags.IntVar(&f.size, "size", load.DefaultSize, "bytes a message")
	flags.Float64Var(&f.rate, "rate", load.DefaultRate, "messages a second in all; 0 is a closed loop")
	flags.IntVar(&f.outstanding, "outstanding", 0, fmt.Sprintf("messages that each connection of a closed loop keeps on their way; 0 is %d", defaultOutstanding))
	flags.StringVar(&f.mode, "mode", "ordered", "guarantee of the messages: "+strings.Join(modeNames(), ", "))
	flags.DurationVar(&f.duration, "duration", 8*time.Second, "length of the measurement")
	flags.DurationVar(&f.warmup, "warmup", load.DefaultWarmup, "load before the measurement")
	flags.BoolVar(&f.reference, "reference", false, "run the same load over raw UDP and TCP too")
	flags.IntSliceVar(&f.referenceCPUs, "reference-cpus", nil, "CPUs that the servers of --reference may use: those of the server they are compared with; empty is those of this process")
	flags.StringVar(&f.admin, "admin", "", "address of the server's admin pages, for its CPU time; without it "+DefaultAdmin+" is tried, off does without")
	flags.DurationVar(&f.idle, "idle-timeout", 0, "silence that ends a connection; 0 is 60s")
	flags.IntVar(&f.buffer, "socket-buffer", 0, "bytes of buffer asked of the kernel for each socket; 0 is 4 MiB")
	flags.DurationVar(&f.spin, "spin", 0, "how long the clients look for work before they sleep; 0 is twice the time between two messages if that is at most 200µs, else as a server does; negative is never")
	flags.BoolVar(&f.modes, "modes", false, fmt.Sprintf("one mode after the other, side by side in a table; by default %d connections, %g messages/s, %v each", modesConns, modesRate, modesDuration))
	flags.IntVar(&f.procs, "procs", 1, "client processes that share the connections and the rate; their distributions are added")
	flags.BoolVar(&f.part, "part", false, "be one of the processes of --procs")
	_ = flags.MarkHidden("part") // it fails for a flag that does not exist
	flags.StringVar(&f.vs, "vs", "", "compare with other transports instead, a short run of each workload with servers of its own: names with commas between, or all; "+comparison+" list names them")
	flags.StringVar(&f.loss, "loss", "", "share of the datagrams that the clients lose on purpose in each direction, such as 5% or 0.05")
	flags.DurationVar(&f.rtt, "rtt", 0, "time that the clients add to each round trip on purpose, half in each direction")
	flags.StringSliceVar(&f.without, "without", nil, "switch off in the clients for comparison: "+strings.Join(services(), ", "))
	return cmd
}

// modeChannels are the channels that carry each mode without configuration.
var modeChannels = []godwit.Channel{
	godwit.OrderedChannel, godwit.UnorderedChannel, godwit.LatestChannel, godwit.SequencedChannel, godwit.UnreliableChannel,
}

func modeNames() []string {
	var names []string
	for _, ch := range modeChannels {
		names = append(names, godwit.Mode(ch).String())
	}
	return names
}

// modeChannel is the channel of a mode by name.
func modeChannel(name string) (godwit.Channel, error) {
	for _, ch := range modeChannels {
		if godwit.Mode(ch).String() == name {
			return ch, nil
		}
	}
	return 0, fmt.Errorf("--mode %s: known are %s", name, strings.Join(modeNames(), ", "))
}

func (f *benchFlags) config(ctx context.Context, addr string) (*load.Config, error) {
	client, err := f.clientFlags.config()
	if err != nil {
		return nil, err
	}
	if client.Impair, err = f.impair(); err != nil {
		return nil, err
	}
	client.IdleTimeout = f.idle
	client.Tuning.SocketBuffer, client.Tuning.Spin = f.buffer, f.spin
	if err := without(&client.Tuning, f.without); err != nil {
		return nil, err
	}
	cfg := &load.Config{
		Addr: addr, Client: client, Connections: f.conns, Size: f.size, Rate: f.rate, Outstanding: f.outstanding,
		Duration: f.duration, Warmup: f.warmup, Reference: f.reference, ReferenceCPUs: f.referenceCPUs,
	}
	if f.warmup == 0 {
		cfg.Warmup = -1 // asked for none, which the zero value does not mean
	}
	if cfg.Rate == 0 && cfg.Outstanding == 0 {
		cfg.Outstanding = defaultOutstanding
	}
	if cfg.Channel, err = modeChannel(f.mode); err != nil {
		return nil, err
	}
	switch f.admin {
	case "off":
	case "":
		cfg.Varz = findAdmin(ctx, addr)
	default:
		cfg.Varz = f.admin
	}
	return cfg, nil
}

// impair is what --loss and --rtt do to the clients' sockets.
func (f *benchFlags) impair() (*godwit.Impair, error) {
	var link godwit.Link
	if f.loss != "" {
		p, ok := parseShare(f.loss)
		if !ok || p == 1 {
			return nil, fmt.Errorf("--loss %s: it is a share such as 5%% or 0.05", f.loss)
		}
		link.Loss = p
	}
	if f.rtt < 0 {
		return nil, fmt.Errorf("--rtt %v: it cannot be negative", f.rtt)
	}
	link.Delay = f.rtt / 2
	if link == (godwit.Link{}) {
		return nil, nil
	}
	return &godwit.Impair{Send: link, Receive: link, Seed: 1}, nil
}

func (f *benchFlags) bench(ctx context.Context, addr string, out, errOut io.Writer) error {
	cfg, err := f.config(ctx, addr)
	if err != nil {
		return err
	}
	result, err := f.run(ctx, addr, cfg, errOut)
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(out).Encode(result)
	}
	fmt.Fprintf(out, "%s\n\n", f.describe(addr, cfg))
	return result.WriteText(out)
}

// run measures once, with a progress bar if somebody watches.
func (f *benchFlags) run(ctx context.Context, addr string, cfg *load.Config, errOut io.Writer) (*load.Result, error) {
	if f.procs != 1 {
		return f.runProcs(ctx, addr, cfg, errOut)
	}
	wipe := func() {}
	if isTerminal(errOut) {
		cfg.Progress = func(what string, done, total time.Duration) {
			fmt.Fprintf(errOut, "\r\x1b[K%s", progressBar(what, done, total))
		}
		wipe = func() { fmt.Fprint(errOut, "\r\x1b[K") }
	}
	result, err := load.Run(ctx, *cfg)
	wipe()
	if errors.Is(err, context.Canceled) {
		return nil, errors.New("interrupted: no result")
	}
	if err != nil {
		return nil, dialHint(addr, err)
	}
	return result, nil
}

// describe says in one line what was measured.
func (f *benchFlags) describe(addr string, cfg *load.Config) string {
	how := fmt.Sprintf("%g messages/s in all", cfg.Rate)
	if cfg.Rate == 0 {
		how = fmt.Sprintf("%d outstanding each", cfg.Outstanding)
	}
	protection := "encrypted"
	if f.plain {
		protection = "plain"
	}
	mode := f.mode
	if f.modes {
		mode = "every mode"
	}
	clients := count(cfg.Connections, "connection")
	if f.procs > 1 {
		clients += fmt.Sprintf(" of %d processes", f.procs)
	}
	text := fmt.Sprintf("%s: %s, %d B, %s, %s, %s, %v", addr, clients, cfg.Size, how, mode, protection, cfg.Duration)
	if i := cfg.Client.Impair; i != nil {
		text += fmt.Sprintf("\nthe clients lose %g %% of the datagrams in each direction and add %v to the round trip", 100*i.Send.Loss, f.rtt)
	}
	return text
}

func progressBar(what string, done, total time.Duration) string {
	const width = 30
	n := 0
	if total > 0 {
		n = int(width * min(done, total) / total)
	}
	return fmt.Sprintf("[%s%s] %s", strings.Repeat("=", n), strings.Repeat(" ", width-n), what)
}

// isTerminal tells whether somebody watches: a progress bar in a file helps nobody.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// findAdmin returns the default admin address if the pages there are those of the server at addr, and nothing otherwise: the CPU time
// of another server would be a wrong figure that looks right.
func findAdmin(ctx context.Context, addr string) string {
	target := addr
	if rest, ok := strings.CutPrefix(addr, "godwit://"); ok {
		target, _, _ = strings.Cut(rest, "?")
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+DefaultAdmin+"/varz", nil)
	if err != nil {
		return ""
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var page struct {
		Listen string `json:"listen"`
	}
	if json.NewDecoder(response.Body).Decode(&page) != nil {
		return ""
	}
	if at, err := netip.ParseAddrPort(page.Listen); err != nil || fmt.Sprint(at.Port()) != port {
		return ""
	}
	return DefaultAdmin
}
