package udp

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"godwit.example/godwit/internal/mono"
)

const (
	portableEntries  = 64
	portableDatagram = 2 << 10
	// portableQueue is how many entries wait between the reading goroutines
	// and Read; beyond it they wait in the kernel. With receive offload, where
	// an entry may have 64 KiB, they are fewer.
	portableQueue    = 256
	portableGROQueue = 64
	// portableLarge is how many buffers of 64 KiB are kept for the next entries.
	portableLarge = 32
	// portableFailures is how many reads may fail in a row before the reader
	// pauses.
	portableFailures = 16
	// portableShared is how many sockets of each address family the connections
	// of a shared client take turns in. A server that steers by the hash of the
	// four addresses sees as many strangers: one socket would put all of its
	// connections on one shard.
	portableShared = 8
)

// Portable has Engine's methods on top of package net: one system call and one
// hand-off between goroutines an entry, no ECN. It is meant to be right
// everywhere, not to be fast. What needs control messages it has on Linux only:
// segments sent and received together (GSO and GRO), and, on a socket for every
// address, knowing which of them was addressed, so that the answer leaves from
// it. A connected client socket has no GRO: its reader would hold 64 KiB.
//
// One goroutine at a time may call its methods, except Wake, which any may call
// at any time. Write waits for room in the socket buffer instead of reporting
// that it is blocked.
type Portable struct {
	cfg   Config
	socks []portableSocket
	spare []uint32
	count int       // open sockets
	turn  [2]uint32 // connections so far of a shared client, by family: IPv4, IPv6

	gso, gro bool
	queue    chan portableArrival
	buffers  chan []byte     // for datagrams
	large    chan []byte     // for entries of many
	pending  portableArrival // taken off the queue by Wait
	wake     chan struct{}
	done     chan struct{}
	readers  sync.WaitGroup
	timer    *time.Timer

	control    controlOut // scratch of send
	stats      Stats
	wakes      atomic.Uint64
	truncated  atomic.Uint64
	readErrors atomic.Uint64
	closed     bool
}

type portableSocket struct {
	conn   *net.UDPConn // nil if closed
	remote Addr         // zero if not connected
	local  Addr         // what Datagram.Local says, port zero; zero if it differs from datagram to datagram
}

// portableArrival is a received entry on its way to Read.
type portableArrival struct {
	buf     []byte // its whole buffer; nil for none
	n       int
	segment int // size of its segments but the last, 0 if it is one
	remote  Addr
	local   Addr
	socket  uint32
	conn    *net.UDPConn
}

// OpenPortable opens what Open opens, on every system. It cannot steer: with
// Shards > 1 the error wraps ErrSteering.
func OpenPortable(cfg Config) (*Portable, error) {
	if cfg.Shards > 1 && !cfg.Client {
		return nil, fmt.Errorf("%w: portable engine", ErrSteering)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Portable{cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{})}
	e.gso, e.gro = probeOffloads()
	e.gso = e.gso && !cfg.DisableGSO
	e.gro = e.gro && !cfg.DisableGRO && (!cfg.Client || cfg.Shared)
	e.stats.GSO, e.stats.GRO = e.gso, e.gro
	waiting := portableQueue
	if e.gro {
		waiting = portableGROQueue
	}
	e.queue, e.buffers = make(chan portableArrival, waiting), make(chan []byte, portableQueue)
	e.large = make(chan []byte, portableLarge)
	at := cfg.Addr
	if cfg.Client {
		if at = cfg.Bound; !at.IsValid() {
			return e, nil
		}
	}
	network := "udp"
	switch {
	case cfg.IPv6Only:
		network = "udp6"
	case at.Addr().Unmap().Is4():
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, localAddr(at))
	if err != nil {
		return nil, fmt.Errorf("udp: listen: %w", err)
	}
	s := portableSocket{conn: conn, local: e.addrOf(conn)}
	s.local.SetPort(0)
	if s.local.isUnspecified() {
		s.local = Addr{}
		e.stats.PacketInfo = !cfg.DisablePacketInfo && askLocal(conn)
	}
	e.add(s)
	return e, nil
}

// localAddr is where a socket is to be bound; nil leaves it to the host.
func localAddr(at netip.AddrPort) *net.UDPAddr {
	if at.Addr().IsValid() || at.Port() != 0 {
		return net.UDPAddrFromAddrPort(at)
	}
	return nil
}

// Connect opens a socket connected to remote and gives its number. In shared
// mode that is one of a few unconnected ones of remote's family. Numbers of
// closed sockets are used again.
func (e *Portable) Connect(remote Addr) (uint32, error) {
	switch {
	case e.closed:
		return 0, errClosed
	case !e.cfg.Client:
		return 0, errNotClient
	case e.cfg.Shared:
		return e.share(remote)
	}
	conn, err := net.DialUDP("udp", localAddr(e.cfg.Addr), net.UDPAddrFromAddrPort(remote.AddrPort()))
	if err != nil {
		return 0, fmt.Errorf("udp: connect: %w", err)
	}
	s := portableSocket{conn: conn, remote: remote, local: e.addrOf(conn)}
	s.local.SetPort(0)
	return e.add(s), nil
}

// share gives the shared sockets of a family their turn; each is opened when its
// first turn comes. They have no address of their own, so that what is sent
// follows the host's routes when these change.
func (e *Portable) share(remote Addr) (uint32, error) {
	family, network := 0, "udp4"
	if !remote.Is4() {
		family, network = 1, "udp6"
	}
	if e.socks == nil {
		e.socks = make([]portableSocket, 2*portableShared)
	}
	n := uint32(family)*portableShared + e.turn[family]%portableShared
	if e.socks[n].conn == nil {
		conn, err := net.ListenUDP(network, localAddr(e.cfg.Addr))
		if err != nil {
			return 0, fmt.Errorf("udp: listen: %w", err)
		}
		e.open(n, portableSocket{conn: conn})
	}
	e.turn[family]++
	return n, nil
}

// add gives a socket a number and opens it.
func (e *Portable) add(s portableSocket) uint32 {
	n := uint32(len(e.socks))
	if k := len(e.spare); k > 0 {
		n, e.spare = e.spare[k-1], e.spare[:k-1]
	} else {
		e.socks = append(e.socks, portableSocket{})
	}
	e.open(n, s)
	return n
}

// open sets the socket's buffers and starts its reader.
func (e *Portable) open(n uint32, s portableSocket) {
	receive, send := e.cfg.buffers(e.cfg.Client)
	if e.cfg.ExactReceiveBuffer > 0 {
		receive = e.cfg.ExactReceiveBuffer
	}
	// A refusal costs speed only.
	if receive > 0 {
		_ = s.conn.SetReadBuffer(receive)
	}
	if send > 0 {
		_ = s.conn.SetWriteBuffer(send)
	}
	e.stats.ReceiveBuffer, e.stats.SendBuffer, e.stats.Hint = granted(s.conn, receive)
	together := e.gro && receiveTogether(s.conn)
	e.stats.GRO = e.stats.GRO && together
	e.socks[n] = s
	e.count++
	e.readers.Add(1)
	go e.read(s.conn, n, together)
}

// take gives a buffer of a size from those that came back, or a new one.
func take(from chan []byte, size int) []byte {
	select {
	case buf := <-from:
		return buf
	default:
		return make([]byte, size)
	}
}

// limit is the longest datagram to be received.
func (e *Portable) limit() int {
	if e.cfg.MaxDatagram > 0 {
		return e.cfg.MaxDatagram
	}
	return portableDatagram
}

// read is a socket's reading goroutine; it ends when the socket is closed. Where
// datagrams may come together it reads into a large buffer, and copies what is
// short into a small one: most are, and the queue shall not hold 64 KiB for each.
func (e *Portable) read(conn *net.UDPConn, socket uint32, together bool) {
	defer e.readers.Done()
	limit := e.limit()
	small := limit + 1 // one byte more shows what was cut off
	from, size := e.buffers, small
	if together {
		from, size = e.large, max(groEntry, small)
	}
	var buf []byte
	var control controlIn
	var lastFrom netip.AddrPort // a zone's name costs a look at all interfaces
	var last Addr
	for failures := 0; ; {
		if buf == nil {
			buf = take(from, size)
		}
		n, oob, _, peer, err := conn.ReadMsgUDPAddrPort(buf, control.buffer())
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Mostly an ICMP answer to something sent. Should it be something
			// lasting, the pause keeps the loop from spinning.
			e.readErrors.Add(1)
			if failures++; failures > portableFailures {
				time.Sleep(time.Millisecond)
			}
			continue
		}
		failures = 0
		if peer != lastFrom {
			lastFrom, last = peer, AddrFrom(peer)
		}
		d := portableArrival{buf: buf, n: n, remote: last, socket: socket, conn: conn}
		d.local, d.segment = control.read(oob)
		if d.segment >= n {
			d.segment = 0
		}
		if min(n, cmp.Or(d.segment, n)) > limit {
			e.truncated.Add(1)
			continue
		}
		if together && n <= limit {
			d.buf = take(e.buffers, small)
			copy(d.buf, buf[:n])
		} else {
			buf = nil
		}
		select {
		case e.queue <- d:
		case <-e.done:
			return
		}
	}
}

// CloseSocket closes a socket that Connect opened. Shared sockets stay.
func (e *Portable) CloseSocket(n uint32) {
	if !e.cfg.Client || e.cfg.Shared || int(n) >= len(e.socks) || e.socks[n].conn == nil {
		return
	}
	_ = e.socks[n].conn.Close()
	e.socks[n] = portableSocket{}
	e.spare = append(e.spare, n)
	e.count--
}

// Close closes all sockets and ends their readers. A second Close does nothing.
func (e *Portable) Close() error {
	if e.closed {
		return nil
	}
	e.closed = true
	close(e.done)
	var errs []error
	for i := range e.socks {
		if e.socks[i].conn != nil {
			errs = append(errs, e.socks[i].conn.Close())
		}
	}
	e.readers.Wait()
	return errors.Join(errs...)
}

// portableSlab holds the buffers that the batch's entries lie in.
type portableSlab struct {
	engine *Portable
	lent   [][]byte
}

func (s *portableSlab) free() {
	for _, buf := range s.lent {
		back := s.engine.buffers
		if len(buf) >= groEntry {
			back = s.engine.large
		}
		select {
		case back <- buf:
		default: // the collector takes it
		}
	}
	s.lent = s.lent[:0]
}

func (s *portableSlab) trim() { s.free() }

// Read fills the batch with what has arrived and gives the number of entries;
// it never blocks.
func (e *Portable) Read(b *ReadBatch) int {
	s, ok := b.slab.(*portableSlab)
	if !ok || s.engine != e {
		b.Free()
		s = &portableSlab{engine: e}
		b.slab = s
		b.Datagrams = make([]Datagram, portableEntries)
	}
	s.free()
	b.N, b.More = 0, false
	limit := len(b.Datagrams)
	if b.Limit > 0 && b.Limit < limit {
		limit = b.Limit
	}
	for b.N < limit {
		in := e.pending
		e.pending = portableArrival{}
		if in.buf == nil {
			select {
			case in = <-e.queue:
			default:
				return b.N
			}
		}
		s.lent = append(s.lent, in.buf)
		sock := &e.socks[in.socket]
		if sock.conn != in.conn {
			continue // closed meanwhile
		}
		local := sock.local
		if local == (Addr{}) {
			local = in.local
		}
		b.Datagrams[b.N] = Datagram{Data: in.buf[:in.n], Segment: in.segment, Remote: in.remote, Local: local, Socket: in.socket}
		b.N++
		e.stats.ReadCalls++
		e.stats.ReadEntries++
		e.stats.ReadSegments += uint64(segmentsOf(in.n, in.segment))
		e.stats.ReadBytes += uint64(in.n)
	}
	b.More = true
	return b.N
}

// Write sends the batch's entries and gives how many it is done with: all of
// them. It is never blocked, but may wait for the kernel.
func (e *Portable) Write(b *WriteBatch) (sent int, blocked bool) {
	for i := range b.Outs {
		o := &b.Outs[i]
		var s portableSocket
		if int(o.Socket) < len(e.socks) {
			s = e.socks[o.Socket]
		}
		if s.conn == nil || e.closed {
			e.stats.WriteRefused += uint64(segmentsOf(len(o.Data), o.Segment))
			continue
		}
		to := o.Remote.AddrPort()
		for data := o.Data; len(data) > 0; {
			n, segment := len(data), 0
			if o.Segment > 0 && o.Segment < n {
				if n = o.Segment; e.gso {
					n, segment = min(len(data), mostSegments(o.Segment)*o.Segment), o.Segment
				}
			}
			err := e.send(s, o, to, data[:n], segment)
			if err != nil && segment > 0 && refusesSegments(err) && e.send(s, o, to, data[:segment], 0) == nil {
				// The way to the peer bears one segment, not many in one call.
				n, segment, err = segment, 0, nil
				e.gso, e.stats.GSO = false, false
				e.stats.Demotions++
			}
			e.note(err, n, segmentsOf(n, segment))
			data = data[n:]
		}
		e.stats.WriteEntries++
	}
	return len(b.Outs), false
}

// send makes one call for one segment, or for many of the given size.
func (e *Portable) send(s portableSocket, o *Out, to netip.AddrPort, data []byte, segment int) (err error) {
	var from *Addr
	if s.remote == (Addr{}) && s.local == (Addr{}) && o.Local != (Addr{}) {
		from = &o.Local
	}
	oob := e.control.write(from, segment)
	for range 2 { // the first error may belong to an earlier datagram
		e.stats.WriteCalls++
		if s.remote == (Addr{}) {
			_, _, err = s.conn.WriteMsgUDPAddrPort(data, oob, to)
		} else {
			_, _, err = s.conn.WriteMsgUDP(data, oob, nil)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		e.stats.ICMPErrors++
	}
	return err
}

// note counts what became of so many bytes and segments.
func (e *Portable) note(err error, bytes, segments int) {
	switch n := uint64(segments); {
	case err == nil:
		e.stats.WriteSegments += n
		e.stats.WriteBytes += uint64(bytes)
	case errors.Is(err, syscall.ENOBUFS):
		e.stats.WriteLost += n
	case errors.Is(err, syscall.EMSGSIZE):
		e.stats.WriteTooLarge += n
	default:
		e.stats.WriteRefused += n
	}
}

// Wait sleeps until a datagram arrives, Wake is called or d has passed; a
// negative d means without end, 0 only looks.
func (e *Portable) Wait(_ mono.Time, d mono.Duration) {
	if e.closed || e.pending.buf != nil {
		return
	}
	var expired <-chan time.Time
	switch {
	case d == 0:
		select {
		case <-e.wake:
		default:
		}
		return
	case d > 0 && e.timer == nil:
		e.timer = time.NewTimer(d)
		expired = e.timer.C
	case d > 0:
		e.timer.Reset(d)
		expired = e.timer.C
	}
	e.stats.Waits++
	select {
	case e.pending = <-e.queue:
	case <-e.wake:
	case <-expired:
		return
	}
	if expired != nil {
		e.timer.Stop()
	}
}

// Wake makes the current Wait, or else the next one, return at once. Any
// goroutine may call it.
func (e *Portable) Wake() {
	select {
	case e.wake <- struct{}{}:
		e.wakes.Add(1)
	default:
	}
}

// LocalAddr is the address of the server's socket or of the only one of a
// client; the zero Addr if there are none or many.
func (e *Portable) LocalAddr() Addr {
	if e.closed || e.count != 1 {
		return Addr{}
	}
	for i := range e.socks {
		if e.socks[i].conn != nil {
			return e.SocketAddr(uint32(i))
		}
	}
	return Addr{}
}

// SocketAddr is the local address and port of one socket, the zero Addr if it
// is not open.
func (e *Portable) SocketAddr(n uint32) Addr {
	if e.closed || int(n) >= len(e.socks) || e.socks[n].conn == nil {
		return Addr{}
	}
	return e.addrOf(e.socks[n].conn)
}

func (e *Portable) addrOf(conn *net.UDPConn) Addr {
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return Addr{}
	}
	return AddrFrom(local.AddrPort())
}

// Stats is a copy of the engine's figures. Drops of the kernel are not known
// here, and buffers on Linux only.
func (e *Portable) Stats() Stats {
	s := e.stats
	s.Wakes = e.wakes.Load()
	s.Truncated = e.truncated.Load()
	s.ReadErrors = e.readErrors.Load()
	if !e.closed {
		s.Sockets = e.count
	}
	return s
}
