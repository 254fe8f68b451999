package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"godwit.example/godwit"
	"godwit.example/godwit/gateway/internal/admin"
	"godwit.example/godwit/gateway/internal/app"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	listen, admin, app string
	engine             string
	cert, key, keyLog  string
	logLevel           string
	shards, buffer     int
	spin               time.Duration
	without            []string
	idle, drain        time.Duration
	plain, json        bool
	running            app.App
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve an application; without flags, echo with a development identity on loopback",
		Long: `Serve an application; without flags, echo with a development identity on loopback.

echo returns each message on the channel it came on, and the bytes of each stream.

relay has rooms. Byte 1 and a name of 1 to 64 bytes, as a message on channel 0, enter the room of that name and leave the one before; byte 2
leaves it. The answers, on channel 0 too, are byte 1 and the name, byte 2, or byte 3 and the reason of a refusal. Whatever else a
connection sends goes to the others in its room, on the channel it came on and with its key. docs/GUIDE.md has a client.`,
		Example: "  godwit serve --listen :4242\n  godwit serve --app relay --listen :4242",
		Args:    cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error {
		if f.cert != "" && !cmd.Flags().Changed("listen") {
			f.listen = ":4242" // whoever brings a certificate means to be reached
		}
		return f.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", DefaultAddress, "UDP address; :4242 is every address, IPv4 and IPv6")
	flags.StringVar(&f.admin, "admin", DefaultAdmin, "TCP loopback address of the admin pages, or off")
	flags.StringVar(&f.app, "app", "echo", "application: echo returns each message, relay passes it on to the others in a room")
	flags.StringVar(&f.engine, "engine", "", engineHelp)
	flags.IntVar(&f.shards, "shards", 0, "sockets and goroutines; 0 is one per CPU of the process")
	flags.BoolVar(&f.plain, "plain", false, "checksums instead of encryption, for trusted networks; clients must ask for it too")
	flags.StringVar(&f.cert, "cert", "", "certificate chain, PEM; read again when it changes")
	flags.StringVar(&f.key, "key", "", "key of the certificate, PEM")
	flags.BoolVar(&f.json, "json", false, "print the banner as one JSON line on standard output, all else on standard error")
	flags.DurationVar(&f.drain, "drain-timeout", 5*time.Second, "how long a stopping server waits for its connections")
	flags.DurationVar(&f.idle, "idle-timeout", 0, "silence that ends a connection; 0 is 60s")
	flags.IntVar(&f.buffer, "socket-buffer", 0, "bytes of buffer asked of the kernel for each socket; 0 is 4 MiB")
	flags.DurationVar(&f.spin, "spin", 200*time.Microsecond, "how long a shard without work looks for more before it sleeps, while work comes more often than that and nobody else wants the CPU: less latency for more CPU time; at most 1ms; 0 is never")
	flags.StringSliceVar(&f.without, "without", nil, "switch off for comparison: "+strings.Join(services(), ", "))
	flags.StringVar(&f.logLevel, "log-level", "info", "least level of the log on standard error: info has the server's life and a summary a minute, debug each connection, warn and error less")
	flags.StringVar(&f.keyLog, "keylog", "", "append TLS secrets to this file for Wireshark; whoever reads it can read the messages")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	return cmd
}

// switches maps the names of --without to what they switch off.
var switches = []struct {
	name string
	off  func(*godwit.Tuning)
}{
	{"gso", func(t *godwit.Tuning) { t.NoGSO = true }},
	{"gro", func(t *godwit.Tuning) { t.NoGRO = true }},
	{"ecn", func(t *godwit.Tuning) { t.NoECN = true }},
	{"hibernation", func(t *godwit.Tuning) { t.Hibernate = -1 }},
}

func services() []string {
	var names []string
	for _, s := range switches {
		names = append(names, s.name)
	}
	return names
}

// without applies the names of --without.
func without(t *godwit.Tuning, names []string) error {
next:
	for _, name := range names {
		for _, s := range switches {
			if s.name == name {
				s.off(t)
				continue next
			}
		}
		return fmt.Errorf("--without %s: there is no such service; known are %s", name, strings.Join(services(), ", "))
	}
	return nil
}

// config turns the flags into a Config. The file, if there is one, is the key log, to be closed at the end.
func (f *serveFlags) config(errOut io.Writer) (*godwit.Config, *os.File, error) {
	var ok bool
	f.running, ok = app.New(f.app)
	if !ok {
		return nil, nil, fmt.Errorf("--app %s: there is no such application; known are %s", f.app, strings.Join(app.Names(), ", "))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, nil, fmt.Errorf("--log-level %s: known are debug, info, warn, error", f.logLevel)
	}
	cfg := &godwit.Config{
		Handler: f.running.Handler, Engine: f.engine, Shards: f.shards, Plain: f.plain, CertFile: f.cert, KeyFile: f.key, IdleTimeout: f.idle,
		Logger: slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: level})),
		Tuning: godwit.Tuning{SocketBuffer: f.buffer, Spin: cmp.Or(f.spin, -1)},
	}
	if err := without(&cfg.Tuning, f.without); err != nil {
		return nil, nil, err
	}
	if f.keyLog == "" {
		return cfg, nil, nil
	}
	file, err := os.OpenFile(f.keyLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("--keylog: %w", err)
	}
	cfg.KeyLog = file
	return cfg, file, nil
}

// serve runs until a signal asks it to stop.
func (f *serveFlags) serve(ctx context.Context, out, errOut io.Writer) error {
	// Asked for before anything is announced: whoever read the banner may send the signal at once.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	cfg, keyLog, err := f.config(errOut)
	if err != nil {
		return err
	}
	if keyLog != nil {
		defer keyLog.Close()
	}
	ep, err := godwit.Listen(f.listen, cfg)
	if err != nil {
		return listenHint(f.listen, err)
	}
	defer ep.Close()
	if serveStreams := f.running.Streams; serveStreams != nil {
		streams := ep.NetListener()
		defer streams.Close()
		go serveStreams(streams)
	}
	b := &banner{flags: f, ep: ep}
	if f.admin != "off" {
		pages, err := admin.Start(f.admin, func() any { return newVarz(f, ep) })
		if err != nil {
			return err
		}
		defer pages.Close()
		b.admin = pages.Addr()
	}
	if err := b.print(out, errOut); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-signals:
	}
	return f.stop(ep, signals, errOut)
}

// stop drains until all connections are closed, the time is up, or a second signal comes.
func (f *serveFlags) stop(ep *godwit.Endpoint, signals <-chan os.Signal, errOut io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.drain)
	defer cancel()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-finished:
		}
	}()
	fmt.Fprintf(errOut, "draining for at most %v; a second signal closes now\n", f.drain)
	err := ep.Shutdown(ctx)
	summary(errOut, ep)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(errOut, "not all connections were closed in time; their peers see a timeout or a reset")
		return nil
	}
	return err
}

// listenHint adds what to do about the usual reasons.
func listenHint(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program has %s; stop it, or choose another address with --listen ADDR", err, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: %s is not an address of this machine; :PORT listens on all of them", err, addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need privileges; choose a higher one with --listen ADDR", err)
	}
	return err
}
