package udp

import (
	"fmt"

	"godwit.example/godwit/internal/mono"
)

// Arrival is the fate of one copy of a datagram that a PathFunc lets through.
type Arrival struct {
	// At is when it reaches its receiver; not before now.
	At mono.Time
	// ECN is what its ECN bits have become on the way.
	ECN uint8
	// Data replaces the payload if not nil. From and To replace the addresses
	// if not zero, as a NAT does.
	Data     []byte
	From, To Addr
}

// PathFunc decides what becomes of a datagram sent at now: it appends one
// Arrival for each copy that arrives, none if it is lost. It must not change or
// keep data.
type PathFunc func(now mono.Time, from, to Addr, ecn uint8, data []byte, arrivals []Arrival) []Arrival

// MemNet is a network in memory and in virtual time. Datagrams sent are put in
// flight as its PathFunc says and reach their endpoints when Advance passes
// their time. Same calls, same order: same result.
//
// A MemNet and its endpoints belong to one goroutine; only MemEndpoint.Wake may
// be called by others.
type MemNet struct {
	path     PathFunc
	now      mono.Time
	flights  flightHeap
	sequence uint64
	ports    map[Addr]*memPort
	arrivals []Arrival // scratch of send
	buffers  memBuffers
	stats    MemStats
}

// MemStats counts datagrams of a whole MemNet.
type MemStats struct {
	// Sent counts segments sent, Delivered those put before an endpoint,
	// Lost those the PathFunc let vanish, Unreachable those that found nobody
	// at their address, Overflowed those that a full receive buffer dropped.
	Sent, Delivered, Lost, Unreachable, Overflowed uint64
	// Buffers is the number of buffers in use now: in flight, in receive
	// buffers and lent to batches.
	Buffers int
}

// memPort is what listens at an address: one endpoint's socket, or the endpoints
// of a steered group.
type memPort struct {
	endpoints []*MemEndpoint
	socket    uint32
}

// NewMemNet makes a network whose clock stands at zero. A nil path delivers
// everything at once.
func NewMemNet(path PathFunc) *MemNet {
	return &MemNet{path: path, ports: make(map[Addr]*memPort)}
}

// Now is the network's time.
func (n *MemNet) Now() mono.Time { return n.now }

// Next is when the next datagram arrives; mono.Never if none is in flight.
func (n *MemNet) Next() mono.Time {
	if len(n.flights) == 0 {
		return mono.Never
	}
	return n.flights[0].at
}

// Advance moves the clock forward, never back, and puts what has arrived by
// then into the endpoints' receive buffers.
func (n *MemNet) Advance(now mono.Time) {
	n.now = max(n.now, now)
	for len(n.flights) > 0 && n.flights[0].at <= n.now {
		n.deliver(n.flights.pop())
	}
}

// Stats is a copy of the network's figures.
func (n *MemNet) Stats() MemStats {
	s := n.stats
	s.Buffers = n.buffers.inUse
	return s
}

// send puts one segment in flight.
func (n *MemNet) send(from, to Addr, ecn uint8, data []byte) {
	n.stats.Sent++
	n.arrivals = n.arrivals[:0]
	if n.path == nil {
		n.arrivals = append(n.arrivals, Arrival{At: n.now, ECN: ecn})
	} else {
		n.arrivals = n.path(n.now, from, to, ecn, data, n.arrivals)
	}
	if len(n.arrivals) == 0 {
		n.stats.Lost++
	}
	for i := range n.arrivals {
		a := &n.arrivals[i]
		payload := data
		if a.Data != nil {
			payload = a.Data
		}
		f := flight{at: max(a.At, n.now), sequence: n.sequence, from: from, to: to, ecn: a.ECN & 3}
		if a.From != (Addr{}) {
			f.from = a.From
		}
		if a.To != (Addr{}) {
			f.to = a.To
		}
		f.data = append(n.buffers.get(len(payload)), payload...)
		n.sequence++
		n.flights.push(f)
	}
}

func (n *MemNet) deliver(f flight) {
	port := n.ports[f.to]
	if port == nil {
		n.stats.Unreachable++
		n.buffers.put(f.data)
		return
	}
	e := port.endpoints[0]
	if k := len(port.endpoints); k > 1 {
		shard, ok := ShardOf(f.data, k)
		if !ok {
			shard = int(hashAddr(f.from) % uint32(k))
		}
		e = port.endpoints[shard]
	}
	if s := &e.socks[port.socket]; s.remote != (Addr{}) && s.remote != f.from {
		n.stats.Unreachable++ // a connected socket hears its peer only
		n.buffers.put(f.data)
		return
	}
	if e.inboxBytes+len(f.data) > e.cfg.ReceiveBuffer {
		n.stats.Overflowed++
		e.stats.KernelDrops++
		n.buffers.put(f.data)
		return
	}
	n.stats.Delivered++
	e.inboxBytes += len(f.data)
	e.inbox = append(e.inbox, memArrival{flight: f, socket: port.socket})
}

// bind takes an address for an endpoint's socket.
func (n *MemNet) bind(addr Addr, e *MemEndpoint, socket uint32) error {
	port := n.ports[addr]
	switch {
	case port == nil && e.cfg.ShardIndex == 0:
		n.ports[addr] = &memPort{endpoints: []*MemEndpoint{e}, socket: socket}
		return nil
	case port != nil && e.cfg.Shards > 1 && e.cfg.ShardIndex == len(port.endpoints):
		port.endpoints = append(port.endpoints, e)
		return nil
	}
	return fmt.Errorf("udp: memory network: address %v is in use", addr)
}

// unbind gives an address back. When one endpoint of a group goes, all of the
// group's datagrams are lost, as they would be with a shard gone.
func (n *MemNet) unbind(addr Addr, e *MemEndpoint) {
	if port := n.ports[addr]; port != nil {
		for _, other := range port.endpoints {
			if other == e {
				delete(n.ports, addr)
			}
		}
	}
}

// hashAddr is FNV-1a: it stands for the kernel's hash, which no one may rely on
// either.
func hashAddr(a Addr) uint32 {
	h := uint32(2166136261)
	for _, b := range a {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

// flight is a datagram on its way.
type flight struct {
	at       mono.Time
	sequence uint64 // decides between equal times
	from, to Addr
	ecn      uint8
	data     []byte
}

// flightHeap is a binary heap by time and sequence.
type flightHeap []flight

func (h flightHeap) less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].sequence < h[j].sequence
}

func (h *flightHeap) push(f flight) {
	*h = append(*h, f)
	q := *h
	for i := len(q) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.less(i, parent) {
			break
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
}

func (h *flightHeap) pop() flight {
	q := *h
	first, last := q[0], len(q)-1
	q[0], q[last] = q[last], flight{}
	q = q[:last]
	*h = q
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && q.less(child+1, child) {
			child++
		}
		if !q.less(child, i) {
			break
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
	return first
}

// memBuffers keeps used buffers for the next datagram: small ones for what
// crosses a real network, large ones for merged trains and jumbo datagrams.
type memBuffers struct {
	small, large [][]byte
	inUse        int
}

const (
	memSmall = 2 << 10
	memLarge = 64 << 10
)

// get gives an empty buffer with room for n bytes.
func (p *memBuffers) get(n int) []byte {
	p.inUse++
	list, size := &p.small, memSmall
	if n > memSmall {
		list, size = &p.large, max(memLarge, n)
	}
	if k := len(*list); k > 0 && n <= memLarge {
		b := (*list)[k-1]
		*list = (*list)[:k-1]
		return b
	}
	return make([]byte, 0, size)
}

func (p *memBuffers) put(b []byte) {
	p.inUse--
	switch cap(b) {
	case memSmall:
		p.small = append(p.small, b[:0])
	case memLarge:
		p.large = append(p.large, b[:0])
	}
}
