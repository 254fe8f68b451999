package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"godwit.example/godwit"
)

type sendFlags struct {
	clientFlags
	mode    string
	timeout time.Duration
}

func newSend() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send [ADDR]",
		Short: "Send the lines of standard input as messages; godwit recv prints them",
		Long: "Send the lines of standard input as messages, each without its line end, to " + DefaultAddress + " if no address is given.\n" +
			"With a reliable mode, success means that the other end has acknowledged every message.",
		Example: "  echo hello | godwit send\n  tail -f events.log | godwit send --mode unordered host:4242 --pin sha256-…",
		Args:    cobra.MaximumNArgs(1),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		return f.send(ctx, address(args), cmd.InOrStdin(), cmd.OutOrStdout())
	})
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.mode, "mode", "ordered", "guarantee of the messages: "+strings.Join(modeNames(), ", "))
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long to wait for the connection, and at the end for acknowledgments")
	return cmd
}

// sendReport is the JSON form of the result.
type sendReport struct {
	Sent         uint64 `json:"sent"`
	Acknowledged uint64 `json:"acknowledged"`
}

func (f *sendFlags) send(ctx context.Context, addr string, in io.Reader, out io.Writer) error {
	channel, err := modeChannel(f.mode)
	if err != nil {
		return err
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	var acknowledged atomic.Uint64
	cfg.Linger = f.timeout
	cfg.Handler.Outcome = func(_ godwit.Conn, _ uint64, o godwit.Outcome) {
		if o == godwit.Delivered {
			acknowledged.Add(1)
		}
	}
	dialing, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c, err := godwit.Dial(dialing, addr, cfg)
	if err != nil {
		return dialHint(addr, err)
	}
	report := sendReport{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for err == nil && lines.Scan() {
		if err = c.SendWait(ctx, godwit.Message{Channel: channel, Payload: lines.Bytes(), Tag: 1}); err == nil {
			report.Sent++
		}
	}
	err = errors.Join(err, lines.Err())
	_ = c.Close() // it may be closed already, for the reason in err
	<-c.Done()
	report.Acknowledged = acknowledged.Load()
	if godwit.Mode(channel).Reliable() && report.Acknowledged < report.Sent && err == nil {
		err = fmt.Errorf("%d of %s not acknowledged within %v", report.Sent-report.Acknowledged, count(int(report.Sent), "message"), f.timeout)
	}
	if f.json {
		return errors.Join(err, json.NewEncoder(out).Encode(&report))
	}
	return err
}

type recvFlags struct {
	listen, engine string
	count          int
	plain, json    bool
}

func newRecv() *cobra.Command {
	var f recvFlags
	cmd := &cobra.Command{
		Use:   "recv",
		Short: "Listen and print each message that comes, one a line",
		Long: "Listen and print each message that comes, one a line on standard output. Messages that are not printable text are quoted as in Go.\n" +
			"Where it listens, and how to send there, is on standard error.",
		Args: cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return f.recv(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", DefaultAddress, "UDP address; :4242 is every address, IPv4 and IPv6")
	flags.StringVar(&f.engine, "engine", "", engineHelp)
	flags.IntVar(&f.count, "count", 0, "end after so many messages; 0 is never")
	flags.BoolVar(&f.plain, "plain", false, "checksums instead of encryption, for trusted networks; senders must ask for it too")
	flags.BoolVar(&f.json, "json", false, "print each message as a JSON object on a line of its own, the payload in base64")
	return cmd
}

// recvMessage is the JSON form of a message.
type recvMessage struct {
	From    string         `json:"from"`
	Channel godwit.Channel `json:"channel"`
	Key     uint64         `json:"key"`
	Payload []byte         `json:"payload"`
}

func (f *recvFlags) recv(ctx context.Context, out, errOut io.Writer) error {
	ctx, done := context.WithCancelCause(ctx)
	defer done(nil)
	var mu sync.Mutex // two connections may be served at once
	left := f.count
	receive := func(c godwit.Conn, m godwit.Message) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if err := f.print(out, c, m); err != nil {
			done(err)
		}
		if left--; left == 0 {
			done(errEnough)
		}
	}
	// One worker, so that a slow reader of standard output holds up nothing but the messages.
	cfg := &godwit.Config{Engine: f.engine, Plain: f.plain, Handler: godwit.Async(godwit.Handler{Message: receive}, 1)}
	ep, err := godwit.Listen(f.listen, cfg)
	if err != nil {
		return listenHint(f.listen, err)
	}
	defer ep.Close()
	fmt.Fprintf(errOut, "listening at %v; to send: %s send %s --pin %v\n", ep.Addr(), os.Args[0], reachable(ep.Addr(), outward), ep.Identity())
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errEnough) {
		time.Sleep(ackTime)
	}
	drain, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = ep.Shutdown(drain) // whoever does not answer has had its messages printed
	if cause := context.Cause(ctx); !errors.Is(cause, errEnough) && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// ackTime is for the acknowledgment of the last message to leave: a connection that is closed first leaves its sender in doubt.
const ackTime = 100 * time.Millisecond

var errEnough = errors.New("enough messages")

func (f *recvFlags) print(out io.Writer, c godwit.Conn, m godwit.Message) error {
	if f.json {
		return json.NewEncoder(out).Encode(&recvMessage{c.RemoteAddr().String(), m.Channel, m.Key, m.Payload})
	}
	_, err := fmt.Fprintln(out, printable(m.Payload))
	return err
}

// printable quotes what could do something to a terminal, or would not be one line.
func printable(p []byte) string {
	text := string(p)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
