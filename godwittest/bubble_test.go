package godwittest_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

// Servers and clients wait in goroutines, an outage and a move come in between, and all of it takes virtual time only.
func TestBubbleRunsGoroutines(t *testing.T) {
	real := time.Now()
	godwittest.Bubble(t, 1, badLink, func(t *testing.T, n *godwittest.Net) {
		server := n.Listen(nil)
		var all sync.WaitGroup
		defer all.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		all.Go(func() {
			for {
				c, err := server.Accept(ctx)
				if err != nil {
					return
				}
				all.Go(func() {
					for {
						m, err := c.Receive(ctx, nil)
						if err != nil {
							return
						}
						if err := c.SendWait(ctx, m); err != nil {
							t.Error(err)
						}
					}
				})
			}
		})
		for k := range 5 {
			c := n.Dial(server, nil)
			all.Go(func() {
				defer c.CloseWithError(0, "")
				for i := range 20 {
					if err := c.Send(godwit.OrderedChannel, []byte{byte(k), byte(i)}); err != nil {
						t.Error(err)
					}
					m, err := c.Receive(ctx, nil)
					if err != nil || m.Payload[0] != byte(k) || m.Payload[1] != byte(i) {
						t.Errorf("message %d of %d: %v, %v", i, k, m.Payload, err)
						return
					}
					n.Sleep(100 * time.Millisecond)
				}
			})
			if k == 2 {
				n.Rebind(c)
			}
		}
		n.Sleep(time.Second)
		n.Blackout(5 * time.Second)
		n.Until(func() bool { return server.Stats().Closed == 5 })
		if now := n.Now(); now < 6*time.Second || now > time.Minute {
			t.Errorf("it took %v of virtual time", now)
		}
	})
	if took := time.Since(real); took > 10*time.Second {
		t.Errorf("it took %v of real time", took)
	}
}

func TestBubbleContextsEndInVirtualTime(t *testing.T) {
	godwittest.Bubble(t, 2, godwittest.Link{Delay: time.Millisecond}, func(t *testing.T, n *godwittest.Net) {
		server := n.Listen(nil)
		n.Dial(server, nil)
		short, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		before := n.Now()
		if _, err := server.Accept(short); err != nil {
			t.Fatal(err) // the one that was dialed
		}
		if _, err := server.Accept(short); !errors.Is(err, context.DeadlineExceeded) || n.Now()-before != 3*time.Second {
			t.Errorf("%v after %v", err, n.Now()-before)
		}
	})
}

// What a test leaves open ends with it, also a connection whose server has gone without a word.
func TestBubbleLeavesNothing(t *testing.T) {
	godwittest.Bubble(t, 3, godwittest.Link{Delay: time.Millisecond}, func(t *testing.T, n *godwittest.Net) {
		server := n.Listen(nil)
		own, err := godwit.Dial(context.Background(), server.Addr().String(), n.Config(nil)) // not by n.Dial
		if err != nil {
			t.Fatal(err)
		}
		n.Dial(server, nil)
		if err := own.Send(0, []byte("lost")); err != nil {
			t.Fatal(err)
		}
		n.Blackout(time.Hour)
	})
}

func TestBubbleBlockingInAHandlerIsAnError(t *testing.T) {
	godwittest.Bubble(t, 4, godwittest.Link{}, func(t *testing.T, n *godwittest.Net) {
		refused := make(chan error, 1)
		server := n.Listen(&godwit.Config{Handler: godwit.Handler{Message: func(c godwit.Conn, _ godwit.Message) {
			s, err := c.Stream(context.Background())
			if err == nil {
				_, err = s.Read(make([]byte, 1))
			}
			refused <- err
		}}})
		c := n.Dial(server, nil)
		if err := c.Send(0, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("waiting in a handler: %v", err)
		}
	})
}

// An application that listens and dials itself, on goroutines that nothing orders: the library must not race on the simulation.
func TestBubbleListensAndDialsOnManyGoroutines(t *testing.T) {
	godwittest.Bubble(t, 5, godwittest.Link{Delay: time.Millisecond}, func(t *testing.T, n *godwittest.Net) {
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		cfg := n.Config(nil)
		all.Go(func() {
			if err := godwit.Serve(ctx, "10.9.0.1:4242", godwit.Handler{}, cfg); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second) // passes no memory from one goroutine to the other
		for range 2 {
			all.Go(func() {
				c, err := godwit.Dial(ctx, "10.9.0.1:4242", cfg)
				if err != nil {
					t.Error(err)
					return
				}
				<-c.Done()
				var closed *godwit.CloseError
				if !errors.As(c.Err(), &closed) || !closed.Transport || closed.Code != godwit.CodeShutdown {
					t.Errorf("the connection ended with %v", c.Err())
				}
			})
		}
		time.Sleep(time.Second)
		cancel()
		all.Wait()
	})
}
