// Command chat is a room for many people: what one writes, all others read, in the same order everywhere.
//
//	chat serve [ADDRESS]
//	chat join NAME [ADDRESS]    what is typed goes to the room, what others say is printed
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"godwit.example/godwit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: chat serve [ADDRESS] | chat join NAME [ADDRESS]")
	switch args := append(os.Args[1:], "", "", ""); {
	case args[0] == "serve":
		err = serve(ctx, address(args[1]))
	case args[0] == "join" && args[1] != "":
		err = join(ctx, address(args[2]), args[1], os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func address(arg string) string {
	if arg == "" {
		return "127.0.0.1:4242"
	}
	return arg
}

func serve(ctx context.Context, addr string) error {
	r := &room{names: make(map[godwit.Conn]string)}
	server, err := godwit.Listen(addr, &godwit.Config{
		MaxMessageSize: 4 << 10, // nobody types more
		Handler: godwit.Handler{
			Open:    r.open,
			Message: r.message,
			Outcome: r.outcome,
			Close:   func(c godwit.Conn, _ error) { r.leave(c) },
		},
	})
	if err != nil {
		return err
	}
	fmt.Printf("godwit://%v?pin=%v\n", server.Addr(), server.Identity())
	<-ctx.Done()
	return server.Shutdown(context.Background())
}

func join(ctx context.Context, addr, name string, in io.Reader, out io.Writer) error {
	c, err := godwit.Dial(ctx, addr, &godwit.Config{Handler: godwit.Handler{
		Message: func(_ godwit.Conn, m godwit.Message) { fmt.Fprintf(out, "%s\n", m.Payload) },
	}})
	if err != nil {
		return err
	}
	say := func(text string) error { return c.SendWait(ctx, godwit.Message{Payload: []byte(text)}) }
	for err, lines := say(name), bufio.NewScanner(in); err == nil && lines.Scan(); {
		err = say(lines.Text())
	}
	_ = c.Close() // delivers what was said; an error says that the connection is over, and so does Done
	<-c.Done()
	if err := c.Err(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
