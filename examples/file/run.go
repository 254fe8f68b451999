package main

import (
	"context"
	"errors"
	"time"

	"godwit.example/godwit"
)

// run sends nothing, then a file beside the small messages, then a file that they have to share the channel with.
func run(ctx context.Context, size int) error {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Channels: channels, Handler: serve()})
	if err != nil {
		return err
	}
	defer server.Close()
	cl := &client{sums: make(chan []byte, 1), window: make(chan struct{}, window)}
	cl.Conn, err = godwit.Dial(ctx, server.Addr().String(), &godwit.Config{Channels: channels, SendBuffer: sendBuffer, Handler: godwit.Handler{
		Message: cl.message,
		Outcome: func(godwit.Conn, uint64, godwit.Outcome) { <-cl.window },
	}})
	if err != nil {
		return err
	}
	defer cl.Close()
	send := func() error { return cl.send(ctx, size) }
	return errors.Join(
		cl.beside(godwit.OrderedChannel, "alone", func() error { time.Sleep(time.Second); return nil }),
		cl.beside(godwit.OrderedChannel, "on their own channel", send),
		cl.beside(fileChannel, "on the file's channel", send),
	)
}
