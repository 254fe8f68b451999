package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"godwit.example/godwit"
)

// A server that answers each message on the channel it came on, and a client.
func Example() {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) {
			if err := c.Send(m.Channel, append([]byte("you said "), m.Payload...)); err != nil {
				c.CloseWithError(1, err.Error())
			}
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	ctx := context.Background()
	c, err := godwit.Dial(ctx, server.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(godwit.OrderedChannel, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	m, err := c.Receive(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", m.Payload)
	// Output: you said hello
}

func ExampleServe() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := godwit.Serve(ctx, "127.0.0.1:0", godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, m.Payload) },
	}, nil)
	fmt.Println("served until the context ended:", err)
	// Output: served until the context ended: <nil>
}

// Accept and Receive are for applications that prefer a goroutine for each connection.
func ExampleEndpoint_Accept() {
	server, err := godwit.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	go func() {
		c, err := godwit.Dial(ctx, server.Addr().String(), nil)
		if err != nil {
			log.Fatal(err)
		}
		_ = c.Send(godwit.UnorderedChannel, []byte("from a client"))
		_ = c.Close() // delivers it first
	}()

	c, err := server.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	var buf []byte
	for {
		m, err := c.Receive(ctx, buf)
		if errors.Is(err, net.ErrClosed) {
			fmt.Println("the client is gone")
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s, on channel %d\n", m.Payload, m.Channel)
		buf = m.Payload
	}
	// Output:
	// from a client, on channel 1
	// the client is gone
}

// A client that knows a server's pin needs no certificate authority.
func ExampleDial_pin() {
	server, err := godwit.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	address := fmt.Sprintf("godwit://%v?pin=%v", server.Addr(), server.Identity())
	c, err := godwit.Dial(context.Background(), address, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.State())
	c.Close()

	var wrong godwit.Pin
	_, err = godwit.Dial(context.Background(), server.Addr().String(), &godwit.Config{Pins: []godwit.Pin{wrong}})
	var failed *godwit.HandshakeError
	fmt.Println(errors.As(err, &failed), failed.Stage)
	// Output:
	// open
	// true tls
}

// A Latest channel delivers the newest value of each key; older ones that have not left yet are skipped.
func ExampleConn_SendMessage() {
	got := make(chan string)
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(_ godwit.Conn, m godwit.Message) { got <- fmt.Sprintf("player %d is at %s", m.Key, m.Payload) },
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	c, err := godwit.Dial(context.Background(), server.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.SendMessage(godwit.Message{
		Channel: godwit.LatestChannel, Key: 7, Payload: []byte("3,4"), TTL: time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-got)
	// Output: player 7 is at 3,4
}

// SendWait waits where Send would return ErrWouldBlock.
func ExampleConn_SendWait() {
	received := make(chan int)
	total := 0
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(_ godwit.Conn, m godwit.Message) {
			if total += len(m.Payload); total == 4<<20 {
				received <- total
			}
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	c, err := godwit.Dial(ctx, server.Addr().String(), &godwit.Config{SendBuffer: 128 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for range 64 {
		if err := c.SendWait(ctx, godwit.Message{Payload: make([]byte, 64<<10)}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(<-received, "bytes")
	// Output: 4194304 bytes
}

// Async lets a handler block, for a database say.
func ExampleAsync() {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Async(godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) {
			time.Sleep(5 * time.Millisecond)
			_ = c.Send(m.Channel, m.Payload)
		},
	}, 16)})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	c, err := godwit.Dial(ctx, server.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for i := range 3 {
		_ = c.Send(godwit.OrderedChannel, fmt.Append(nil, "answer ", i))
	}
	for range 3 {
		m, err := c.Receive(ctx, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", m.Payload)
	}
	// Output:
	// answer 0
	// answer 1
	// answer 2
}

// Tick is the place for state that is sent at a fixed rate.
func ExampleHandler_tick() {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{
		TickInterval: 10 * time.Millisecond,
		Handler: godwit.Handler{Tick: func(s *godwit.Shard, _ time.Time) {
			for c := range s.Conns() {
				_ = c.Send(godwit.SequencedChannel, []byte("the world's state"))
			}
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	c, err := godwit.Dial(ctx, server.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	m, err := c.Receive(ctx, nil)
	fmt.Printf("%s %v\n", m.Payload, err)
	// Output: the world's state <nil>
}

// Shutdown is the orderly end of a server.
func ExampleEndpoint_Shutdown() {
	server, err := godwit.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(server.Shutdown(ctx))
	_, err = server.Accept(ctx)
	fmt.Println(errors.Is(err, net.ErrClosed))
	// Output:
	// <nil>
	// true
}

func ExampleParsePin() {
	pin, err := godwit.ParsePin("sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	fmt.Println(pin == godwit.Pin{}, err)
	// Output: true <nil>
}
