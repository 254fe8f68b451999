package godwittest

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
)

// Bubble is Run for programs that have goroutines of their own, such as an http.Server over streams: shards and callers run as in the real world,
// and only the network and the time are simulated. It calls f in a bubble of testing/synctest. There time.Now, time.Sleep, timers, contexts and
// deadlines go by the virtual time, which passes when all goroutines of the bubble wait, and then at once; f must end those that it has
// started. All methods of Net may be called by any goroutine of the bubble but in a handler; Sleep and Until wait, and others run meanwhile.
//
// What the network does to the datagrams follows from the seed, but not which of several goroutines runs first: two runs of one seed
// are alike, not the same. A goroutine that waits for a sync.Mutex keeps time from passing. So if one receives with Conn.Receive, another
// must not do so at the same time on the same connection.
func Bubble(t *testing.T, seed uint64, link Link, f func(t *testing.T, n *Net)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, seed, link, Options{})
		n.began = time.Now()
		n.sim = &shard.Simulation{
			Listen: n.listenBubble, Client: n.clientBubble,
			Now: n.clock,
			Seed: func() [32]byte {
				n.mu.Lock()
				defer n.mu.Unlock()
				return n.rng.Fork()
			},
		}
		defer n.endBubble()
		defer n.sayFailed(seed, t.Failed())
		f(t, n)
	})
}

// waitingSocket is an endpoint of the network in memory for a shard that runs on a goroutine of its own. The network's lock guards all.
type waitingSocket struct {
	n     *Net
	mem   *udp.MemEndpoint
	raw   udp.ReadBatch // what was read last: its buffers go back to the network under the lock
	woken chan struct{} // one slot
}

func (n *Net) listenBubble(addr netip.AddrPort, shards int) ([]shard.Socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list, err := n.listen(addr, shards)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i] = n.waiting(list[i])
	}
	return list, nil
}

func (n *Net) clientBubble() (shard.Socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, err := n.client()
	if err != nil {
		return nil, err
	}
	return n.waiting(s), nil
}

func (n *Net) waiting(s shard.Socket) *waitingSocket {
	w := &waitingSocket{n: n, mem: s.(*udp.MemEndpoint), woken: make(chan struct{}, 1)}
	n.sockets[w] = true
	return w
}

// deliver puts what has arrived before its receivers, and comes back for what will. The caller has the lock.
func (n *Net) deliver() {
	n.now = n.clock()
	n.mem.Advance(n.now)
	for s := range n.sockets {
		if s.mem.Pending() {
			s.Wake()
		}
	}
	next := n.mem.Next()
	if next == mono.Never || n.timer != nil && n.timerAt > n.now && n.timerAt <= next {
		return
	}
	if n.timer != nil {
		n.timer.Stop()
	}
	n.timerAt = next
	n.timer = time.AfterFunc(next.Sub(n.now), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.deliver()
	})
}

// endBubble closes what the test has left open, and waits until the shards have ended: connections of Dial whose server has gone without
// a word end by their idle timeout.
func (n *Net) endBubble() {
	n.mu.Lock()
	endpoints, dialed := n.endpoints, n.dialed
	n.mu.Unlock()
	for _, e := range endpoints {
		_ = e.Close() // it may be closed already
	}
	for _, c := range dialed {
		_ = c.CloseWithError(0, "") // so may this
	}
	for end := time.Now().Add(n.limit); n.openSockets() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Errorf("godwittest: %d sockets are still open %v after the end", n.openSockets(), n.limit)
			return
		}
	}
	synctest.Wait()
}

func (n *Net) openSockets() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sockets)
}

// waitBubble waits until ready returns true.
func (n *Net) waitBubble(ready func() bool) error {
	for end := time.Now().Add(n.limit); ; time.Sleep(100 * time.Microsecond) {
		if ready() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("godwittest: what was waited for has not happened in %v of virtual time", n.limit)
		}
	}
}

// Read fills b without blocking.
func (s *waitingSocket) Read(b *udp.ReadBatch) int {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.n.deliver()
	s.raw.Limit = b.Limit
	s.mem.Read(&s.raw)
	b.Datagrams, b.N, b.More = s.raw.Datagrams, s.raw.N, s.raw.More
	return b.N
}

// Write sends b.Outs.
func (s *waitingSocket) Write(b *udp.WriteBatch) (sent int, blocked bool) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.n.deliver() // the network's clock is right before anything is sent by it
	sent, blocked = s.mem.Write(b)
	s.n.deliver()
	return sent, blocked
}

// Wait returns when something has arrived, after Wake, or after d.
func (s *waitingSocket) Wait(_ mono.Time, d mono.Duration) {
	s.n.mu.Lock()
	pending := s.mem.Pending()
	s.n.mu.Unlock()
	if pending || d == 0 {
		return
	}
	var over <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-s.woken:
	case <-over:
	}
}

// Wake ends a Wait, or the next one.
func (s *waitingSocket) Wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Connect opens a socket for a connection of this end.
func (s *waitingSocket) Connect(remote udp.Addr) (uint32, error) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.mem.Connect(remote)
}

// CloseSocket closes one that Connect opened.
func (s *waitingSocket) CloseSocket(socket uint32) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.mem.CloseSocket(socket)
}

// LocalAddr is the address of the endpoint.
func (s *waitingSocket) LocalAddr() udp.Addr {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.mem.LocalAddr()
}

// Stats are the socket's figures.
func (s *waitingSocket) Stats() udp.Stats {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.mem.Stats()
}

// Close closes all sockets.
func (s *waitingSocket) Close() error {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.raw.Free()
	delete(s.n.sockets, s)
	return s.mem.Close()
}

// numberOf asks a shard that runs for the socket of a connection.
func (s *waitingSocket) numberOf(of *shard.Shard, r shard.Ref) (number uint32, ok bool) {
	done := make(chan struct{})
	if !of.Do(func(mono.Time) {
		number, ok = of.SocketOf(r)
		close(done)
	}) {
		return 0, false
	}
	<-done
	return number, ok
}
