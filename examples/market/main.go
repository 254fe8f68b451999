// Command market publishes prices to many subscribers on a Latest channel, with the symbol as key: who keeps up gets every price, who does
// not skips old ones, and both end up with the newest price of every symbol. Nobody is disconnected, and nobody is waited for.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"time"

	"godwit.example/godwit"
)

const symbols = 100

var (
	subscribers = flag.Int("subscribers", 20, "number of subscribers; one more is slow")
	rate        = flag.Int("rate", 5000, "prices a second")
	length      = flag.Duration("for", 2*time.Second, "how long prices change")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "market:", err)
		os.Exit(1)
	}
}

// config is what both ends agree on. A subscriber says with its receive buffer how far behind it may be.
func config() *godwit.Config { return &godwit.Config{MaxMessageSize: 1024, ReceiveBuffer: 16 << 10} }

// publish changes one price after the other for some time, and sends each to all. It returns the last price of each symbol.
func publish(all *godwit.Group) (prices [symbols]uint64, n, refused int) {
	var quote [16]byte // price and time
	start := time.Now()
	for time.Since(start) < *length {
		time.Sleep(time.Millisecond)
		for ; n < int(time.Since(start).Seconds()*float64(*rate)); n++ {
			symbol := uint64(n*7) % symbols
			prices[symbol]++
			binary.LittleEndian.PutUint64(quote[:], prices[symbol])
			binary.LittleEndian.PutUint64(quote[8:], uint64(time.Now().UnixNano()))
			if _, err := all.Send(godwit.Message{Channel: godwit.LatestChannel, Key: symbol, Payload: quote[:]}); err != nil {
				refused++ // the shard has too much to do; nobody reads so slowly
			}
		}
	}
	return prices, n, refused
}

// subscription is what one subscriber has seen.
type subscription struct {
	updates int
	oldest  time.Duration // age of a price when it came
	prices  [symbols]uint64
}

// subscribe receives prices until the server is done; a slow subscriber takes a while for each.
func subscribe(ctx context.Context, c godwit.Conn, work time.Duration) (s subscription) {
	var buf []byte
	for {
		m, err := c.Receive(ctx, buf)
		if err != nil || len(m.Payload) != 16 || m.Key >= symbols {
			return s
		}
		s.updates++
		s.prices[m.Key] = binary.LittleEndian.Uint64(m.Payload)
		s.oldest = max(s.oldest, time.Since(time.Unix(0, int64(binary.LittleEndian.Uint64(m.Payload[8:])))))
		time.Sleep(work)
		buf = m.Payload
	}
}

func run(ctx context.Context) error {
	server, err := godwit.Listen("127.0.0.1:0", config())
	if err != nil {
		return err
	}
	defer server.Close()
	all := server.NewGroup()
	results := make([]chan subscription, *subscribers+1)
	for i := range results {
		c, err := godwit.Dial(ctx, server.Addr().String(), config())
		if err != nil {
			return err
		}
		var work time.Duration
		if i == *subscribers {
			work = time.Millisecond
		}
		results[i] = make(chan subscription, 1)
		go func() { results[i] <- subscribe(ctx, c, work) }()
		peer, err := server.Accept(ctx)
		if err != nil {
			return err
		}
		if err := all.Add(peer); err != nil {
			return err
		}
	}
	prices, n, refused := publish(all)
	if err := server.Shutdown(ctx); err != nil { // closes after everything is delivered
		return err
	}
	for i, result := range results {
		s := <-result
		if i == 0 || i == *subscribers {
			fmt.Printf("subscriber %d: %d updates, the oldest %v behind, all %d symbols current: %v\n",
				i, s.updates, s.oldest.Round(time.Microsecond), symbols, s.prices == prices)
		}
	}
	fmt.Printf("%d prices published, %d sends refused\n", n, refused)
	return nil
}
