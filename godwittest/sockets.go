package godwittest

import (
	"net/netip"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
)

// The functions of this file are what a simulated endpoint has instead of the operating system.

func (n *Net) listen(addr netip.AddrPort, shards int) ([]shard.Socket, error) {
	var list []shard.Socket
	for i := range shards {
		e, err := n.mem.Listen(udp.MemConfig{Addr: udp.AddrFrom(addr), GRO: true, Shards: shards, ShardIndex: i})
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// client opens a host that dials; its connections get ports of it.
func (n *Net) client() (shard.Socket, error) {
	n.nextClient++
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(n.nextClient >> 8), byte(n.nextClient)}), 0)
	return n.mem.Listen(udp.MemConfig{Addr: udp.AddrFrom(addr), Client: true, GRO: true})
}

func (n *Net) start(s *shard.Shard) {
	n.actors = append(n.actors, &actor{shard: s, socket: s.Socket().(*udp.MemEndpoint), due: n.now})
}

// stop steps a shard a last time, so that it says goodbye, and forgets it.
func (n *Net) stop(s *shard.Shard) {
	for i, a := range n.actors {
		if a.shard == s {
			n.step(a)
			n.actors = append(n.actors[:i:i], n.actors[i+1:]...)
			return
		}
	}
}

// move gives the client's socket another port, and another host if the network changes.
func (n *Net) move(c godwit.Conn, network bool) {
	n.t.Helper()
	socket, number, ok := n.socketOf(c)
	if !ok {
		n.t.Fatal("godwittest: only connections of Dial can move")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	old := socket.SocketAddr(number)
	host := old.AddrPort().Addr()
	if network {
		n.nextClient++
		host = netip.AddrFrom4([4]byte{10, 3, byte(n.nextClient >> 8), byte(n.nextClient)})
	}
	n.nextPort++
	at := udp.AddrFrom(netip.AddrPortFrom(host, 20_000+n.nextPort))
	if err := socket.Rebind(number, at); err != nil {
		n.t.Fatal(err)
	}
}

// socketOf finds the socket of a dialed connection.
func (n *Net) socketOf(c godwit.Conn) (*udp.MemEndpoint, uint32, bool) {
	r := shard.Ref{Slot: uint32(c.ID()), Gen: uint32(c.ID() >> 32)}
	if c.Endpoint() == nil {
		return nil, 0, false
	}
	s := n.sim.ShardOf(c)
	if w, waiting := s.Socket().(*waitingSocket); waiting {
		number, ok := w.numberOf(s, r)
		return w.mem, number, ok
	}
	for _, a := range n.actors {
		if a.shard != s {
			continue
		}
		number, ok := a.shard.SocketOf(r)
		return a.socket, number, ok
	}
	return nil, 0, false
}
