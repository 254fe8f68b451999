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
	"sync"
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

// room is who is there. The handlers of different shards run at the same time, hence the lock; sends never block, so it is held only for
// microseconds.
type room struct {
	mu      sync.Mutex
	members map[godwit.Conn]string
}

func serve(ctx context.Context, addr string) error {
	r := &room{members: make(map[godwit.Conn]string)}
	server, err := godwit.Listen(addr, &godwit.Config{
		MaxMessageSize: 4 << 10, // nobody types more
		Handler:        godwit.Handler{Message: r.message, Close: func(c godwit.Conn, _ error) { r.leave(c) }},
	})
	if err != nil {
		return err
	}
	fmt.Printf("godwit://%v?pin=%v\n", server.Addr(), server.Identity())
	<-ctx.Done()
	return server.Shutdown(context.Background())
}

// message takes the name of a newcomer, and afterwards what is said.
func (r *room) message(c godwit.Conn, m godwit.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, known := r.members[c]
	if !known {
		name = string(m.Payload) // a string is a copy: the payload is ours only until this function returns
		r.members[c] = name
		r.tell(c, name+" has come")
		_ = c.Send(godwit.OrderedChannel, fmt.Appendf(nil, "welcome, %s: %d in the room", name, len(r.members)))
		return
	}
	r.tell(c, name+": "+string(m.Payload))
}

func (r *room) leave(c godwit.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, known := r.members[c]; known {
		delete(r.members, c)
		r.tell(c, name+" has left")
	}
}

// tell sends a line to everybody but from. Who reads so slowly that a megabyte has come together is shown the door.
func (r *room) tell(from godwit.Conn, line string) {
	for c := range r.members {
		if c == from {
			continue
		}
		if err := c.Send(godwit.OrderedChannel, []byte(line)); errors.Is(err, godwit.ErrWouldBlock) {
			_ = c.CloseWithError(1, "you read too slowly")
		}
	}
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
