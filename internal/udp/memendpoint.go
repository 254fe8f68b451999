package udp

import (
	"encoding/binary"
	"sync/atomic"

	"godwit.example/godwit/internal/mono"
)

const (
	memEntries       = 64
	memReceiveBuffer = 4 << 20
	// memFirstPort is where the ports of sockets without one begin.
	memFirstPort = 49152
)

// Fault is a failure of sending that MemConfig.Fault brings about.
type Fault uint8

// The faults and the error of the kernel that each stands for.
const (
	FaultNone     Fault = iota
	FaultBlocked        // EAGAIN: this segment and all after it are not sent
	FaultLost           // ENOBUFS
	FaultTooLarge       // EMSGSIZE
	FaultRefused        // EPERM
)

// MemConfig says how to join a MemNet.
type MemConfig struct {
	// Addr is the endpoint's address; port 0 chooses one. Others are further
	// addresses of the same host, with the same port.
	Addr   Addr
	Others []Addr
	// Client, Shared, Shards and ShardIndex are Config's.
	Client, Shared     bool
	Shards, ShardIndex int
	// GRO merges datagrams of equal size that lie one behind another in the
	// receive buffer into one entry.
	GRO bool
	// ReceiveBuffer is the payload that waits at most; 0 means 4 MiB.
	ReceiveBuffer int
	// Fault, if not nil, is asked before each segment that Write sends.
	Fault func(o *Out, segment []byte) Fault
}

// MemEndpoint has Engine's methods on a MemNet. Wait does not wait: time belongs
// to whoever calls Advance.
type MemEndpoint struct {
	net        *MemNet
	cfg        MemConfig
	socks      []memSocket
	spare      []uint32
	inbox      []memArrival // from head on
	head       int
	inboxBytes int
	nextPort   uint16 // counted from memFirstPort
	stats      Stats
	woken      atomic.Bool
	wakes      atomic.Uint64
	closed     bool
}

type memSocket struct {
	open   bool
	addr   Addr
	remote Addr // zero if not connected
}

type memArrival struct {
	flight
	socket uint32
}

// Listen adds an endpoint: a server, a client's shared socket, or a client
// without sockets.
func (n *MemNet) Listen(cfg MemConfig) (*MemEndpoint, error) {
	if cfg.ReceiveBuffer <= 0 {
		cfg.ReceiveBuffer = memReceiveBuffer
	}
	e := &MemEndpoint{net: n, cfg: cfg}
	e.stats = Stats{GSO: true, GRO: cfg.GRO, ECN: true, PacketInfo: true, ReceiveBuffer: cfg.ReceiveBuffer}
	if cfg.Client && !cfg.Shared {
		return e, nil
	}
	if _, err := e.open(Addr{}); err != nil {
		return nil, err
	}
	return e, nil
}

// open adds a socket at the endpoint's address, or at a free port of it.
func (e *MemEndpoint) open(remote Addr) (uint32, error) {
	addr := e.cfg.Addr
	if addr.Port() == 0 && !e.choosePort(&addr) {
		return 0, ErrTooManySockets
	}
	n := uint32(len(e.socks))
	if k := len(e.spare); k > 0 {
		n = e.spare[k-1]
	}
	if err := e.net.bind(addr, e, n); err != nil {
		return 0, err
	}
	for _, other := range e.cfg.Others {
		other.SetPort(addr.Port())
		if err := e.net.bind(other, e, n); err != nil {
			e.release(addr)
			return 0, err
		}
	}
	s := memSocket{open: true, addr: addr, remote: remote}
	if int(n) == len(e.socks) {
		e.socks = append(e.socks, s)
	} else {
		e.spare = e.spare[:len(e.spare)-1]
		e.socks[n] = s
	}
	return n, nil
}

// choosePort goes round the free ports, so that a number comes back late.
func (e *MemEndpoint) choosePort(addr *Addr) bool {
	for range 0x10000 - memFirstPort {
		addr.SetPort(memFirstPort + e.nextPort)
		e.nextPort = (e.nextPort + 1) % (0x10000 - memFirstPort)
		if e.net.ports[*addr] == nil {
			return true
		}
	}
	return false
}

func (e *MemEndpoint) release(addr Addr) {
	e.net.unbind(addr, e)
	for _, other := range e.cfg.Others {
		other.SetPort(addr.Port())
		e.net.unbind(other, e)
	}
}

// Connect opens a socket connected to remote and gives its number. In shared
// mode that is the shared socket's. Numbers of closed sockets are used again.
func (e *MemEndpoint) Connect(remote Addr) (uint32, error) {
	switch {
	case e.closed:
		return 0, errClosed
	case !e.cfg.Client:
		return 0, errNotClient
	case e.cfg.Shared:
		return 0, nil
	}
	return e.open(remote)
}

// CloseSocket closes a socket that Connect opened. The shared socket stays.
func (e *MemEndpoint) CloseSocket(n uint32) {
	if !e.cfg.Client || e.cfg.Shared || int(n) >= len(e.socks) || !e.socks[n].open {
		return
	}
	e.release(e.socks[n].addr)
	e.socks[n] = memSocket{}
	e.spare = append(e.spare, n)
	kept := e.inbox[:0]
	for _, a := range e.inbox[e.head:] {
		if a.socket == n {
			e.inboxBytes -= len(a.data)
			e.net.buffers.put(a.data)
			continue
		}
		kept = append(kept, a)
	}
	e.inbox, e.head = kept, 0
}

// Rebind gives a socket a new address, as a host gets that changes networks:
// what is under way to the old one is lost. A port of 0 keeps the port.
func (e *MemEndpoint) Rebind(n uint32, addr Addr) error {
	if e.closed || int(n) >= len(e.socks) || !e.socks[n].open {
		return errClosed
	}
	s := &e.socks[n]
	if addr.Port() == 0 {
		addr.SetPort(s.addr.Port())
	}
	if err := e.net.bind(addr, e, n); err != nil {
		return err
	}
	e.net.unbind(s.addr, e)
	s.addr = addr
	return nil
}

// Close closes all sockets. A second Close does nothing.
func (e *MemEndpoint) Close() error {
	if e.closed {
		return nil
	}
	e.closed = true
	for i := range e.socks {
		if e.socks[i].open {
			e.release(e.socks[i].addr)
		}
	}
	for _, a := range e.inbox[e.head:] {
		e.net.buffers.put(a.data)
	}
	e.inbox, e.head, e.inboxBytes = nil, 0, 0
	return nil
}

// memSlab holds the buffers that the batch's entries lie in.
type memSlab struct {
	endpoint *MemEndpoint
	lent     [][]byte
}

func (s *memSlab) free() {
	for _, b := range s.lent {
		s.endpoint.net.buffers.put(b)
	}
	s.lent = s.lent[:0]
}

func (s *memSlab) trim() { s.free() }

// Read fills the batch with what has arrived and gives the number of entries.
func (e *MemEndpoint) Read(b *ReadBatch) int {
	s, ok := b.slab.(*memSlab)
	if !ok || s.endpoint != e {
		b.Free()
		s = &memSlab{endpoint: e}
		b.slab = s
		b.Datagrams = make([]Datagram, memEntries)
	}
	s.free()
	b.N, b.More = 0, false
	limit := len(b.Datagrams)
	if b.Limit > 0 && b.Limit < limit {
		limit = b.Limit
	}
	e.stats.ReadCalls++
	for b.N < limit && e.head < len(e.inbox) {
		segments := e.take(&b.Datagrams[b.N], s)
		e.stats.ReadEntries++
		e.stats.ReadSegments += uint64(segments)
		e.stats.ReadBytes += uint64(len(b.Datagrams[b.N].Data))
		b.N++
	}
	b.More = e.Pending()
	if 2*e.head >= len(e.inbox) {
		n := copy(e.inbox, e.inbox[e.head:])
		clear(e.inbox[n:])
		e.inbox, e.head = e.inbox[:n], 0
	}
	return b.N
}

// take moves the first waiting datagram, or the train that begins with it, into
// d and gives its number of segments.
func (e *MemEndpoint) take(d *Datagram, s *memSlab) int {
	first := &e.inbox[e.head]
	count, size := 1, len(first.data)
	if e.cfg.GRO {
		count, size = e.train()
	}
	data := first.data
	if count > 1 {
		data = e.net.buffers.get(size)
	}
	*d = Datagram{Remote: first.from, Local: first.to, ECN: first.ecn, Socket: first.socket}
	d.Local.SetPort(0)
	binary.BigEndian.PutUint32(d.Local[20:], 0)
	if count > 1 {
		d.Segment = len(first.data)
		for i := range count {
			a := &e.inbox[e.head+i]
			data = append(data, a.data...)
			e.net.buffers.put(a.data)
		}
	}
	e.head += count
	e.inboxBytes -= size
	d.Data = data
	s.lent = append(s.lent, data)
	return count
}

// train is how many waiting datagrams the kernel would have merged with the
// first one, and their bytes: of one peer, equal in size, the last may be
// shorter.
func (e *MemEndpoint) train() (count, size int) {
	const maxTrain = 64
	waiting := e.inbox[e.head:]
	first := &waiting[0]
	count, size = 1, len(first.data)
	for ; count < len(waiting) && count < maxTrain; count++ {
		a := &waiting[count]
		if a.from != first.from || a.to != first.to || a.ecn != first.ecn ||
			len(a.data) > len(first.data) || len(a.data) == 0 || size+len(a.data) > memLarge {
			break
		}
		size += len(a.data)
		if len(a.data) < len(first.data) {
			count++
			break
		}
	}
	return count, size
}

// Write sends the batch's entries; see Engine.Write.
func (e *MemEndpoint) Write(b *WriteBatch) (sent int, blocked bool) {
	e.stats.WriteCalls++
	for i := range b.Outs {
		if !e.sendEntry(&b.Outs[i]) {
			e.stats.WriteBlocked++
			return i, true
		}
	}
	return len(b.Outs), false
}

// sendEntry sends an entry's segments; false if it was blocked, with the entry
// trimmed to what is left.
func (e *MemEndpoint) sendEntry(o *Out) bool {
	open := !e.closed && int(o.Socket) < len(e.socks) && e.socks[o.Socket].open
	for len(o.Data) > 0 {
		n := len(o.Data)
		if o.Segment > 0 {
			n = min(n, o.Segment)
		}
		segment := o.Data[:n]
		fault := FaultNone
		if e.cfg.Fault != nil {
			fault = e.cfg.Fault(o, segment)
		}
		if !open {
			fault = FaultRefused
		}
		switch fault {
		case FaultNone:
			from, to := e.addresses(o)
			e.net.send(from, to, o.ECN&3, segment)
			e.stats.WriteSegments++
			e.stats.WriteBytes += uint64(n)
		case FaultBlocked:
			return false
		case FaultLost:
			e.stats.WriteLost++
		case FaultTooLarge:
			e.stats.WriteTooLarge++
		case FaultRefused:
			e.stats.WriteRefused++
		}
		o.Data = o.Data[n:]
	}
	e.stats.WriteEntries++
	return true
}

// addresses are where an entry comes from and goes to. An unconnected socket
// sends from the local address asked for, if it is one of the endpoint's.
func (e *MemEndpoint) addresses(o *Out) (from, to Addr) {
	s := &e.socks[o.Socket]
	from, to = s.addr, s.remote
	if to != (Addr{}) {
		return from, to
	}
	local := o.Local
	local.SetPort(from.Port())
	binary.BigEndian.PutUint32(local[20:], 0)
	for _, other := range e.cfg.Others {
		other.SetPort(from.Port())
		if other == local {
			from = local
		}
	}
	return from, o.Remote
}

// Pending reports whether Read would give something.
func (e *MemEndpoint) Pending() bool { return e.head < len(e.inbox) }

// Wait returns at once and forgets wake-ups; see Woken.
func (e *MemEndpoint) Wait(mono.Time, mono.Duration) { e.woken.Store(false) }

// Wake notes that someone wants the endpoint's owner to look around. Any
// goroutine may call it.
func (e *MemEndpoint) Wake() {
	if !e.woken.Swap(true) {
		e.wakes.Add(1)
	}
}

// Woken reports whether Wake was called since the last Wait.
func (e *MemEndpoint) Woken() bool { return e.woken.Load() }

// LocalAddr is the address of the server's or shared socket, else of the only
// connected one; the zero Addr if there are none or many.
func (e *MemEndpoint) LocalAddr() Addr {
	if len(e.socks)-len(e.spare) != 1 {
		return Addr{}
	}
	for i := range e.socks {
		if e.socks[i].open {
			return e.SocketAddr(uint32(i))
		}
	}
	return Addr{}
}

// SocketAddr is the local address and port of one socket, the zero Addr if it
// is not open.
func (e *MemEndpoint) SocketAddr(n uint32) Addr {
	if e.closed || int(n) >= len(e.socks) {
		return Addr{}
	}
	return e.socks[n].addr
}

// Stats is a copy of the endpoint's figures.
func (e *MemEndpoint) Stats() Stats {
	s := e.stats
	s.Wakes = e.wakes.Load()
	if !e.closed {
		s.Sockets = len(e.socks) - len(e.spare)
	}
	return s
}
