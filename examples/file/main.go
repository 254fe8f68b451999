// Command file sends a large file over a connection and small messages beside it, and prints how long the small ones take: messages go
// before the bytes of streams, so they do not wait behind the file.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"time"

	"godwit.example/godwit"
)

func main() {
	size := flag.Int64("mib", 256, "size of the file in MiB")
	flag.Parse()
	if err := run(context.Background(), *size<<20); err != nil {
		fmt.Fprintln(os.Stderr, "file:", err)
		os.Exit(1)
	}
}

// run serves on loopback, and sends small messages first alone and then beside a file.
func run(ctx context.Context, size int64) error {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, m.Payload) }, // the small ones come back
	}})
	if err != nil {
		return err
	}
	defer server.Close()
	go receive(server.NetListener())
	c, err := godwit.Dial(ctx, server.Addr().String(), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	err = beside(ctx, c, "alone", func() error { time.Sleep(time.Second); return nil })
	if err != nil {
		return err
	}
	return beside(ctx, c, "beside the file", func() error { return send(ctx, c, size) })
}

// receive takes one file from each stream, and answers with its sum.
func receive(streams net.Listener) {
	for {
		stream, err := streams.Accept()
		if err != nil {
			return // the endpoint is closed
		}
		go func() {
			defer stream.Close()
			sum := sha256.New()
			if _, err := io.Copy(sum, stream); err == nil {
				_, _ = stream.Write(sum.Sum(nil))
			}
		}()
	}
}

// send sends a file, here of noise, on a stream of its own, and prints how fast it went and whether it arrived as it was.
func send(ctx context.Context, c godwit.Conn, size int64) error {
	stream, err := c.Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	start, sum := time.Now(), sha256.New()
	file := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sum)
	if _, err := io.Copy(stream, file); err != nil { // waits while the other end has no room
		return err
	}
	if err := stream.(*godwit.Stream).CloseWrite(); err != nil { // the other end sees io.EOF, and may still answer
		return err
	}
	answer, err := io.ReadAll(stream)
	intact := bytes.Equal(answer, sum.Sum(nil))
	fmt.Printf("file of %d MiB: %.0f MB/s, intact: %v\n", size>>20, float64(size)/1e6/time.Since(start).Seconds(), intact)
	return err
}

// beside sends one small message after the other while work goes on, and prints how long they took to the server and back.
func beside(ctx context.Context, c godwit.Conn, what string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	var took []time.Duration
	for {
		start := time.Now()
		if err := c.Send(godwit.OrderedChannel, []byte("small")); err != nil {
			return err
		}
		if _, err := c.Receive(ctx, nil); err != nil {
			return err
		}
		took = append(took, time.Since(start))
		select {
		case err := <-done:
			slices.Sort(took)
			n := len(took)
			fmt.Printf("small messages %s: p50 %v, p99 %v\n", what, took[n/2].Round(time.Microsecond), took[n*99/100].Round(time.Microsecond))
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}
