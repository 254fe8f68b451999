// Command echo is a minimal server: it returns each message on the channel it came on. The memory of a connection is measured on it,
// because nothing else is linked in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"godwit.example/godwit"
)

func main() {
	addr := "127.0.0.1:4242"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	echo := godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		if err := c.Send(m.Channel, m.Payload); err != nil {
			c.CloseWithError(1, "echo: "+err.Error()) // a peer that writes faster than it reads
		}
	}}
	// Idle connections stay for an hour, so that their memory can be looked at.
	if err := godwit.Serve(ctx, addr, echo, &godwit.Config{IdleTimeout: time.Hour}); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}
