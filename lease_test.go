package godwit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"testing"
	"time"

	"godwit.example/godwit"
)

// A lease is filled in place, here with the result of an encoder.
func ExampleConn_Lease() {
	server, err := godwit.Listen("127.0.0.1:0", nil)
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

	lease, err := c.Lease(godwit.OrderedChannel, 8*1000)
	if err != nil {
		log.Fatal(err)
	}
	b := lease.Bytes()[:0]
	for i := range uint64(500) {
		b = binary.BigEndian.AppendUint64(b, i*i)
	}
	lease.Truncate(len(b))
	if err := lease.Commit(); err != nil {
		lease.Cancel()
		log.Fatal(err)
	}

	peer, err := server.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	m, err := peer.Receive(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(m.Payload), binary.BigEndian.Uint64(m.Payload[8*499:]))
	// Output: 4000 249001
}

func TestLeasesAndSendsKeepTheirOrder(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1})
	c := dial(t, e, godwit.Config{})
	sizes := []int{0, 1, 700, 2000, 20_000, 100_000, 250_000}
	want := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, sizes[i%len(sizes)]) }
	go func() {
		for i := range 100 {
			for {
				err := error(nil)
				if i%3 == 0 {
					err = c.Send(0, want(i))
				} else {
					var l godwit.Lease
					if l, err = c.Lease(0, len(want(i))+100*(i%2)); err == nil { //nolint:govet // a lease that begins
						copy(l.Bytes(), want(i))
						l.Truncate(len(want(i)))
						if err = l.Commit(); err != nil {
							l.Cancel()
						}
					}
				}
				if err == nil {
					break
				}
				if !errors.Is(err, godwit.ErrWouldBlock) {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}
	}()
	peer, err := e.Accept(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var buf []byte
	for i := range 100 {
		m, err := peer.Receive(deadline(t, 10*time.Second), buf)
		if err != nil || !bytes.Equal(m.Payload, want(i)) {
			t.Fatalf("message %d has %d bytes: %v", i, len(m.Payload), err)
		}
		buf = m.Payload
	}
}

func TestLeaseRefusesWhatSendRefuses(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, ReceiveBuffer: 32 << 10, MaxMessageSize: 5000})
	c := dial(t, e, godwit.Config{SendBuffer: 16 << 10})
	var large *godwit.TooLargeError
	if _, err := c.Lease(0, 5001); !errors.As(err, &large) || large.Max != 5000 || large.Size != 5001 {
		t.Errorf("a message too large: %v", err)
	}
	if _, err := c.Lease(256, 1); err == nil {
		t.Error("a lease on a channel that does not exist")
	}
	if _, err := c.Lease(0, -1); err == nil {
		t.Error("a lease of -1 bytes")
	}
	held, err := c.Lease(0, 4000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		l, err := c.Lease(0, 4000)
		if err == nil {
			err = l.Commit()
		}
		if err == nil {
			n++
			continue
		}
		if !errors.Is(err, godwit.ErrWouldBlock) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // the peer takes what its credit allows
		if st, _ := c.Stats(); st.Queued > 12<<10 {
			break
		}
	}
	if err := held.Commit(); !errors.Is(err, godwit.ErrWouldBlock) || held.Bytes() == nil {
		t.Errorf("a full buffer took a lease: %v", err)
	}
	peer, err := e.Accept(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := peer.Receive(deadline(t, 10*time.Second), nil); err != nil {
			t.Fatal(err)
		}
	}
	for err = held.Commit(); errors.Is(err, godwit.ErrWouldBlock); err = held.Commit() {
		time.Sleep(time.Millisecond)
	}
	if err != nil || held.Bytes() != nil {
		t.Error(err)
	}
	if err := held.Commit(); err == nil {
		t.Error("a lease was committed twice")
	}
	held.Cancel()
}

func TestLeaseOfAClosedConnection(t *testing.T) {
	c := dial(t, listen(t, godwit.Config{Shards: 1}), godwit.Config{})
	late, err := c.Lease(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := late.Commit(); !errors.Is(err, net.ErrClosed) || late.Bytes() != nil {
		t.Errorf("on a closed connection: %v", err)
	}
	if _, err := c.Lease(0, 10); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed connection: %v", err)
	}
	var none godwit.Conn
	if _, err := none.Lease(0, 10); !errors.Is(err, net.ErrClosed) {
		t.Errorf("without a connection: %v", err)
	}
}

func TestLeasesDoNotAllocate(t *testing.T) {
	const burst = 8
	back := make(chan struct{}, 1)
	n := 0
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) {
		if n++; n%burst == 0 {
			back <- struct{}{}
		}
	}}})
	round := func() {
		for i := range burst {
			l, err := c.Lease(godwit.UnorderedChannel, 500+i*900)
			if err != nil {
				t.Fatal(err)
			}
			clear(l.Bytes())
			if i == 0 {
				l.Cancel()
				l, err = c.Lease(godwit.UnorderedChannel, 10)
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		<-back
	}
	for range 500 {
		round()
	}
	if got := allocations(500, burst, round); got > 0.1 {
		t.Errorf("%.3f allocations a message", got)
	}
}
