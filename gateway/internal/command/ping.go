package command

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"godwit.example/godwit"
)

type pingFlags struct {
	clientFlags
	count, size       int
	interval, timeout time.Duration
}

func newPing() *cobra.Command {
	var f pingFlags
	cmd := &cobra.Command{
		Use:   "ping [ADDR]",
		Short: "Measure the round trip to an echo server, " + DefaultAddress + " if no address is given",
		Args:  cobra.MaximumNArgs(1),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		return f.ping(ctx, address(args), cmd.OutOrStdout())
	})
	f.register(cmd)
	flags := cmd.Flags()
	flags.IntVar(&f.count, "count", 5, "messages to send")
	flags.IntVar(&f.size, "size", 64, "bytes a message, at least 8")
	flags.DurationVar(&f.interval, "interval", 200*time.Millisecond, "time between messages")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long to wait for the connection and for each answer")
	return cmd
}

// pingReport is the JSON form of the result.
type pingReport struct {
	Address   string  `json:"address"`
	ConnectMS float64 `json:"connect_ms"`
	Sent      int     `json:"sent"`
	Received  int     `json:"received"`
	MinMS     float64 `json:"min_ms"`
	MedianMS  float64 `json:"median_ms"`
	MaxMS     float64 `json:"max_ms"`
}

func (f *pingFlags) ping(ctx context.Context, addr string, out io.Writer) error {
	if f.count < 1 || f.size < 8 {
		return errors.New("--count is at least 1 and --size at least 8")
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	begin := time.Now()
	dialing, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c, err := godwit.Dial(dialing, addr, cfg)
	if err != nil {
		return dialHint(addr, err)
	}
	defer hangUp(c)
	report := pingReport{Address: c.RemoteAddr().String(), ConnectMS: ms(time.Since(begin))}
	if !f.json {
		fmt.Fprintf(out, "connected to %s in %.2f ms\n", report.Address, report.ConnectMS)
	}
	trips, err := f.roundTrips(ctx, c, &report, out)
	if len(trips) > 0 {
		slices.Sort(trips)
		report.MinMS, report.MedianMS, report.MaxMS = ms(trips[0]), ms(trips[len(trips)/2]), ms(trips[len(trips)-1])
	}
	if f.json {
		return errors.Join(err, json.NewEncoder(out).Encode(report))
	}
	if len(trips) > 0 {
		fmt.Fprintf(out, "%d sent, %d back; min %.3f, median %.3f, max %.3f ms\n", report.Sent, report.Received, report.MinMS, report.MedianMS, report.MaxMS)
	}
	return err
}

// roundTrips sends one message after the other and waits for each answer.
func (f *pingFlags) roundTrips(ctx context.Context, c godwit.Conn, report *pingReport, out io.Writer) ([]time.Duration, error) {
	payload, answer := make([]byte, f.size), make([]byte, 0, f.size)
	var trips []time.Duration
	for i := range f.count {
		if i > 0 {
			select {
			case <-ctx.Done():
				return trips, nil // interrupted: what was measured is reported
			case <-time.After(f.interval):
			}
		}
		binary.BigEndian.PutUint64(payload, uint64(i))
		began := time.Now()
		if err := c.Send(godwit.OrderedChannel, payload); err != nil {
			return trips, err
		}
		report.Sent++
		waiting, cancel := context.WithTimeout(ctx, f.timeout)
		m, err := c.Receive(waiting, answer)
		cancel()
		switch {
		case ctx.Err() != nil:
			return trips, nil
		case errors.Is(err, context.DeadlineExceeded):
			return trips, fmt.Errorf("no answer within %v: does the server run the echo application?", f.timeout)
		case err != nil:
			return trips, err
		case !bytes.Equal(m.Payload, payload):
			return trips, errors.New("the answer differs from what was sent: the server does not run the echo application")
		}
		took := time.Since(began)
		trips = append(trips, took)
		report.Received++
		if !f.json {
			fmt.Fprintf(out, "%d bytes back, message %d: %.3f ms\n", len(m.Payload), i+1, ms(took))
		}
	}
	return trips, nil
}

// hangUp closes the connection and waits until the server knows, so that it need not find out by silence.
func hangUp(c godwit.Conn) {
	_ = c.Close() // it may be closed already
	select {
	case <-c.Done():
	case <-time.After(time.Second):
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
