package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
)

// A pool gives every request the connection of its server.
func ExamplePool() {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, m.Payload) },
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	pool := godwit.NewPool(nil)
	defer pool.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for range 3 {
		c, err := pool.Get(ctx, server.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		if err := c.Send(godwit.OrderedChannel, []byte("hello")); err != nil {
			log.Fatal(err)
		}
		if _, err := c.Receive(ctx, nil); err != nil {
			log.Fatal(err)
		}
	}
	st := pool.Stats()
	fmt.Println(st.Gets, "requests,", st.Dials, "connection")
	// Output: 3 requests, 1 connection
}

func TestPoolSharesOneDialAmongAllWhoWait(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	p := godwit.NewPool(nil)
	defer p.Close()
	var mu sync.Mutex
	seen := map[godwit.Conn]bool{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			c, err := p.Get(deadline(t, 10*time.Second), e.Addr().String())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			seen[c] = true
			mu.Unlock()
		})
	}
	all.Wait()
	if st := p.Stats(); len(seen) != 1 || st.Dials != 1 || st.Gets != 50 || st.Open != 1 {
		t.Errorf("%d connections, %+v", len(seen), st)
	}
	two := godwit.NewPool(&godwit.PoolConfig{PerAddress: 2})
	defer two.Close()
	clear(seen)
	for range 10 {
		c, err := two.Get(deadline(t, 10*time.Second), e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		seen[c] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d connections of two", len(seen))
	}
}

func TestPoolReplacesWhatEnds(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1})
	p := godwit.NewPool(&godwit.PoolConfig{BackoffMin: 20 * time.Millisecond})
	defer p.Close()
	first, err := p.Get(deadline(t, 10*time.Second), e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := e.Accept(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	_ = peer.CloseWithError(7, "go away")
	if _, err := e.Accept(deadline(t, 10*time.Second)); err != nil { // nobody has asked again
		t.Fatal(err)
	}
	second, err := p.Get(deadline(t, 10*time.Second), e.Addr().String())
	if err != nil || second == first || second.State() != godwit.StateOpen {
		t.Errorf("%v after %v: %v", second, first, err)
	}
	if st := p.Stats(); st.Ended != 1 || st.Dials != 2 {
		t.Errorf("%+v", st)
	}
}

func TestPoolClosesWhatNobodyUses(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1})
	p := godwit.NewPool(&godwit.PoolConfig{IdleTimeout: 100 * time.Millisecond})
	defer p.Close()
	c, err := p.Get(deadline(t, 10*time.Second), e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("an idle connection stays")
	}
	if st := p.Stats(); st.Evicted != 1 || st.Open != 0 || st.Ended != 0 {
		t.Errorf("%+v", st)
	}
	few := godwit.NewPool(&godwit.PoolConfig{MaxAddresses: 1})
	defer few.Close()
	other := listen(t, godwit.Config{Shards: 1})
	for _, a := range []*godwit.Endpoint{e, other, e} {
		if _, err := few.Get(deadline(t, 10*time.Second), a.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	if st := few.Stats(); st.Evicted != 2 || st.Open != 1 {
		t.Errorf("one address at a time: %+v", st)
	}
}

func TestPoolBacksOff(t *testing.T) {
	p := godwit.NewPool(&godwit.PoolConfig{
		Config:     &godwit.Config{HandshakeTimeout: 50 * time.Millisecond},
		BackoffMin: 20 * time.Second, BackoffMax: time.Minute,
	})
	defer p.Close()
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var failed *godwit.HandshakeError
	for range 5 {
		begin := time.Now()
		if _, err := p.Get(deadline(t, 5*time.Second), silent.LocalAddr().String()); !errors.As(err, &failed) {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("an error that is known took %v", d)
		}
	}
	if st := p.Stats(); st.Dials != 1 || st.Failures != 1 {
		t.Errorf("%+v", st)
	}
	waiting := make(chan error)
	go func() {
		_, err := p.Get(context.Background(), silent.LocalAddr().String())
		waiting <- err
	}()
	time.Sleep(20 * time.Millisecond)
	p.Close()
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting while the pool was closed: %v", err)
	}
	if _, err := p.Get(context.Background(), "127.0.0.1:1"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed pool: %v", err)
	}
}
