// Command file sends a large file over a connection and small messages beside it, and prints how long the small ones take: on a channel of
// their own they do not wait behind the file, on the file's channel they do.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"godwit.example/godwit"
)

const (
	fileChannel godwit.Channel = 16
	chunk                      = 64 << 10
	sendBuffer                 = 16 << 20
	window                     = sendBuffer / 2 / chunk // chunks of the file that wait or are on their way: there is always room for small messages
	pause                      = 5 * time.Millisecond
)

// channels are the same at both ends. Whatever waits on other channels goes before the file.
var channels = map[godwit.Channel]godwit.ChannelConfig{fileChannel: {Mode: godwit.Ordered, Priority: -1}}

func main() {
	size := flag.Int("mib", 64, "size of the file in MiB")
	flag.Parse()
	if err := run(context.Background(), *size<<20); err != nil {
		fmt.Fprintln(os.Stderr, "file:", err)
		os.Exit(1)
	}
}

// serve returns the server's handler: it sums up the file, tells the sum after its end, an empty message, and echoes small messages.
func serve() godwit.Handler {
	sum := sha256.New() // one client is all there is
	return godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		switch len(m.Payload) {
		case 8:
			_ = c.Send(m.Channel, m.Payload)
		case 0:
			_ = c.Send(m.Channel, sum.Sum(nil))
			sum.Reset()
		default:
			sum.Write(m.Payload)
		}
	}}
}

// client is what the functions of its handler and its goroutines share.
type client struct {
	godwit.Conn
	sums   chan []byte   // of the server, for each file
	window chan struct{} // holds a token for each chunk on its way
	mu     sync.Mutex
	took   []time.Duration // round trips of the small messages
}

func (cl *client) message(_ godwit.Conn, m godwit.Message) {
	if len(m.Payload) == sha256.Size {
		cl.sums <- bytes.Clone(m.Payload)
		return
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.took = append(cl.took, time.Since(time.Unix(0, int64(binary.LittleEndian.Uint64(m.Payload)))))
}

// send sends a file and reports how fast it went and whether it arrived as it was.
func (cl *client) send(ctx context.Context, size int) error {
	start, sum, data := time.Now(), sha256.New(), make([]byte, chunk)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	for range size / chunk {
		cl.window <- struct{}{} // until the Outcome of an earlier chunk takes one out
		if err := cl.SendWait(ctx, godwit.Message{Channel: fileChannel, Payload: data, Tag: 1}); err != nil {
			return err
		}
		sum.Write(data)
	}
	if err := cl.SendWait(ctx, godwit.Message{Channel: fileChannel}); err != nil {
		return err
	}
	intact := bytes.Equal(<-cl.sums, sum.Sum(nil))
	fmt.Printf("file of %d MiB: %.0f MB/s, intact: %v\n", size>>20, float64(size)/1e6/time.Since(start).Seconds(), intact)
	return nil
}

// beside sends small messages on a channel while work goes on, and prints how long they took to the server and back.
func (cl *client) beside(ch godwit.Channel, what string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	for {
		select {
		case err := <-done:
			time.Sleep(100 * time.Millisecond) // the last ones come back
			cl.mu.Lock()
			defer cl.mu.Unlock()
			slices.Sort(cl.took)
			n := len(cl.took)
			fmt.Printf("small messages %s: p50 %v, p99 %v\n", what, cl.took[n/2].Round(time.Microsecond), cl.took[n*99/100].Round(time.Microsecond))
			cl.took = nil
			return err
		case now := <-time.After(pause):
			if err := cl.Send(ch, binary.LittleEndian.AppendUint64(nil, uint64(now.UnixNano()))); err != nil {
				return err
			}
		}
	}
}
