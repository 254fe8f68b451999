// Command echo is a minimal server: it returns each message on the channel it came on. The memory of a connection is measured on it,
// because nothing else is linked in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"godwit.example/godwit"
)

// mostConnections is more than the default, so that a million idle ones leave room for others; only those that come about take memory.
const mostConnections = 2_000_000

func main() {
	addr := "127.0.0.1:4242"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, addr); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// serve echoes until ctx ends.
func serve(ctx context.Context, addr string) error {
	echo := godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		if err := c.Send(m.Channel, m.Payload); err != nil {
			c.CloseWithError(1, "echo: "+err.Error()) // a peer that writes faster than it reads
		}
	}}
	// Idle connections stay for an hour, so that their memory can be looked at.
	server, err := godwit.Listen(addr, &godwit.Config{Handler: echo, IdleTimeout: time.Hour, MaxConnections: mostConnections})
	if err != nil {
		return err
	}
	debug.SetGCPercent(50) // a handshake leaves twenty times as much garbage as its connection needs
	tidy(ctx, server)
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(drain)
}

// tidy returns memory to the system whenever the server has fallen quiet, and when its connections have become records, until ctx ends: the
// runtime by itself would keep for minutes what a burst of handshakes has left.
func tidy(ctx context.Context, server *godwit.Endpoint) {
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	var last, tidied [2]uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		st := server.Stats()
		for i, n := range [...]uint64{st.DatagramsReceived, st.Hibernations} {
			if n == last[i] && n != tidied[i] {
				debug.FreeOSMemory()
				tidied[i] = n
			}
			last[i] = n
		}
	}
}
