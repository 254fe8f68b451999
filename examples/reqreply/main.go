// Command reqreply asks a server many questions at a time, each with a deadline. Some answers take longer than that: the question is
// then given up, on the way too, and the others do not notice.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
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

// header is the length of the number that questions and answers begin with, which says what belongs together.
const header = 8

// caller asks questions on one connection.
type caller struct {
	conn    godwit.Conn
	last    atomic.Uint64
	waiting sync.Map // number of the question → chan []byte
}

// answer hands an answer to whom it is for, if he still waits.
func (cl *caller) answer(_ godwit.Conn, m godwit.Message) {
	if len(m.Payload) < header {
		return
	}
	if ch, ok := cl.waiting.LoadAndDelete(binary.LittleEndian.Uint64(m.Payload)); ok {
		ch.(chan []byte) <- bytes.Clone(m.Payload[header:]) // there is room for one; a copy, because the payload is borrowed
	}
}

// call asks a question and waits for the answer until ctx ends.
func (cl *caller) call(ctx context.Context, question string) (string, error) {
	id, ch := cl.last.Add(1), make(chan []byte, 1)
	cl.waiting.Store(id, ch)
	defer cl.waiting.Delete(id)
	// The order of questions does not matter, so none waits for one that was lost.
	m := godwit.Message{Channel: godwit.UnorderedChannel, Payload: append(binary.LittleEndian.AppendUint64(nil, id), question...)}
	if deadline, ok := ctx.Deadline(); ok {
		m.TTL = max(time.Until(deadline), 1) // nobody needs it later
	}
	if err := cl.conn.SendWait(ctx, m); err != nil {
		return "", err
	}
	select {
	case answer := <-ch:
		return string(answer), nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-cl.conn.Done():
		return "", cl.conn.Err()
	}
}

// run serves on loopback and asks all questions at once. The server takes its time, and far too much for every tenth question.
func run(ctx context.Context, questions int, timeout time.Duration) error {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		delay, answer := timeout/10, append(bytes.Clone(m.Payload), " it is"...)
		if bytes.HasSuffix(m.Payload, []byte("0")) {
			delay = 2 * timeout
		}
		time.AfterFunc(delay, func() { _ = c.Send(m.Channel, answer) }) // a handler does not sleep: the whole shard would
	}}})
	if err != nil {
		return err
	}
	defer server.Close()
	cl := new(caller)
	cl.conn, err = godwit.Dial(ctx, server.Addr().String(), &godwit.Config{Handler: godwit.Handler{Message: cl.answer}})
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
			switch answer, err := cl.call(ctx, question); {
			case err == nil && answer == question+" it is":
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
	return cl.conn.Close()
}
