// Command reqreply asks a server many questions at a time, each with a deadline. Some answers take longer than that: the question is
// then given up, on the way too, and the others do not notice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
)

func main() {
	questions := flag.Int("questions", 200, "how many questions are asked")
	timeout := flag.Duration("timeout", 500*time.Millisecond, "how long an answer may take")
	flag.Parse()
	if err := run(context.Background(), *questions, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "reqreply:", err)
		os.Exit(1)
	}
}

// run serves on loopback and asks all questions at once. The server takes its time, and far too much for every tenth question.
func run(ctx context.Context, questions int, timeout time.Duration) error {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		delay, answer := timeout/10, append(m.Payload[:len(m.Payload):len(m.Payload)], " it is"...)
		if m.Payload[len(m.Payload)-1] == '0' {
			delay = 2 * timeout
		}
		time.AfterFunc(delay, func() { _ = c.Send(m.Channel, answer) }) // a handler does not sleep: the whole shard would
	}}})
	if err != nil {
		return err
	}
	defer server.Close()
	cl, err := dial(ctx, server.Addr().String())
	if err != nil {
		return err
	}
	var answered, late, failed atomic.Int64
	var all sync.WaitGroup
	for i := range questions {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			question := fmt.Sprint("is it ", i)
			switch answer, err := cl.call(ctx, []byte(question)); {
			case err == nil && string(answer) == question+" it is":
				answered.Add(1)
			case errors.Is(err, context.DeadlineExceeded):
				late.Add(1)
			default:
				failed.Add(1)
			}
		})
	}
	all.Wait()
	fmt.Printf("%d questions: %d answered, %d gave up after %v, %d failed\n", questions, answered.Load(), late.Load(), timeout, failed.Load())
	_ = cl.conn.Close()
	<-cl.conn.Done()
	return nil
}
