// Command chat is a room for many people: what one writes, all others read, in the same order everywhere.
//
//	chat serve ADDRESS          prints the address to join at
//	chat join ADDRESS NAME      what is typed goes to the room, what others say is printed
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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
	err := errors.New("usage: chat serve ADDRESS | chat join ADDRESS NAME")
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "serve":
		err = serve(ctx, args[1])
	case len(args) == 3 && args[0] == "join":
		err = join(ctx, args[1], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// room is who is there. The handlers of different shards run at the same time, hence the lock; sends never block, so it is held only for
// microseconds. It also makes the order of lines the same for everybody.
type room struct {
	mu       sync.Mutex
	names    map[godwit.Conn]string
	everyone *godwit.Group
}

func serve(ctx context.Context, addr string) error {
	r := &room{names: make(map[godwit.Conn]string)}
	r.mu.Lock() // handlers wait until there is a group
	server, err := godwit.Listen(addr, &godwit.Config{
		MaxMessageSize: 4 << 10, // nobody types more
		Handler:        godwit.Handler{Message: r.message, Outcome: r.outcome, Close: r.leave},
	})
	if err != nil {
		return err
	}
	r.everyone = server.NewGroup()
	r.mu.Unlock()
	fmt.Printf("godwit://%v?pin=%v\n", server.Addr(), server.Identity())
	<-ctx.Done()
	return server.Shutdown(context.Background())
}

// message takes the name of a newcomer, and afterwards what is said.
func (r *room) message(c godwit.Conn, m godwit.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := string(m.Payload) // a copy: the payload is ours only until this function returns
	if name, known := r.names[c]; known {
		r.tell(c, name+": "+text)
		return
	}
	if err := r.everyone.Add(c); err != nil {
		_ = c.CloseWithError(2, err.Error())
		return
	}
	r.names[c] = text
	r.tell(c, text+" has come")
	_ = c.Send(godwit.OrderedChannel, fmt.Appendf(nil, "welcome, %s: %d in the room", text, len(r.names)))
}

func (r *room) leave(c godwit.Conn, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, known := r.names[c]; known {
		delete(r.names, c) // it has left the group by itself
		r.tell(c, name+" has left")
	}
}

// tell sends a line to everybody but from. The tag asks for what becomes of it. Who says more than the room can be given is shown the door.
func (r *room) tell(from godwit.Conn, line string) {
	if _, err := r.everyone.SendExcept(from, godwit.Message{Channel: godwit.OrderedChannel, Payload: []byte(line), Tag: 1}); err != nil {
		_ = from.CloseWithError(1, "you say too much at once")
	}
}

// outcome shows the door to who reads so slowly that there was no room for another line.
func (r *room) outcome(c godwit.Conn, _ uint64, o godwit.Outcome) {
	if o == godwit.Refused {
		_ = c.CloseWithError(1, "you read too slowly")
	}
}

func join(ctx context.Context, addr, name string) error {
	c, err := godwit.Dial(ctx, addr, &godwit.Config{Handler: godwit.Handler{
		Message: func(_ godwit.Conn, m godwit.Message) { fmt.Printf("%s\n", m.Payload) },
	}})
	if err != nil {
		return err
	}
	say := func(text string) error { return c.SendWait(ctx, godwit.Message{Payload: []byte(text)}) }
	for err, lines := say(name), bufio.NewScanner(os.Stdin); err == nil && lines.Scan(); {
		err = say(lines.Text())
	}
	_ = c.Close() // delivers what was said; an error says that the connection is over, and so does Done
	<-c.Done()
	if err := c.Err(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
