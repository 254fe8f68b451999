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

// A relay stands between clients and a server, and can stop carrying what one of its clients sends and is sent.
type relay struct {
	front  *net.UDPConn
	server string
	mu     sync.Mutex
	backs  []*net.UDPConn // one for each client
	cut    int            // index of the client that is cut off, or -1
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{front: front, server: server, cut: -1}
	var tasks sync.WaitGroup
	tasks.Go(func() { r.run(&tasks) })
	t.Cleanup(func() {
		front.Close()
		tasks.Wait()
	})
	return r
}

func (r *relay) cutOff(client int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = client
}

// passes reports whether the datagrams of a client are carried.
func (r *relay) passes(client int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return client != r.cut
}

func (r *relay) run(tasks *sync.WaitGroup) {
	clients := map[string]int{}
	defer func() {
		for _, b := range r.backs {
			b.Close()
		}
	}()
	buf := make([]byte, 2048)
	for {
		n, from, err := r.front.ReadFromUDP(buf)
		if err != nil {
			return
		}
		k, ok := clients[from.String()]
		if !ok {
			to, err := net.ResolveUDPAddr("udp", r.server)
			if err != nil {
				return
			}
			back, err := net.DialUDP("udp", nil, to)
			if err != nil {
				return
			}
			k = len(r.backs)
			clients[from.String()] = k
			r.backs = append(r.backs, back)
			tasks.Go(func() {
				buf := make([]byte, 2048)
				for {
					n, err := back.Read(buf)
					if errors.Is(err, net.ErrClosed) {
						return
					}
					if err == nil && r.passes(k) {
						_, _ = r.front.WriteToUDP(buf[:n], from)
					}
				}
			})
		}
		if r.passes(k) {
			_, _ = r.backs[k].Write(buf[:n])
		}
	}
}

func TestPoolPassesByWhatIsSilent(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	r := newRelay(t, e.Addr().String())
	p := godwit.NewPool(&godwit.PoolConfig{PerAddress: 2, Config: &godwit.Config{KeepAlive: 100 * time.Millisecond}})
	defer p.Close()
	// handedOut is how many different connections ten calls are given.
	handedOut := func() int {
		seen := map[godwit.Conn]bool{}
		for range 10 {
			c, err := p.Get(deadline(t, 10*time.Second), r.front.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			seen[c] = true
		}
		return len(seen)
	}
	until := func(want int, what string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); handedOut() != want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not %d connections are handed out; %+v", what, want, p.Stats())
			}
		}
	}
	until(2, "both well")
	r.cutOff(0)
	until(1, "one is cut off")
	if st := p.Stats(); st.Avoided == 0 || st.Open != 2 || st.Dials != 2 {
		t.Errorf("one is cut off: %+v", st)
	}
	r.cutOff(-1)
	until(2, "it answers again")
	if st := p.Stats(); st.Ended != 0 || st.Dials != 2 {
		t.Errorf("it answers again: %+v", st)
	}
}
