package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/sctp"
	"godwit.example/godwit"
	"godwit.example/godwit/load"
	"golang.org/x/net/ipv4"
)

const (
	sctpMTU        = 1452
	sctpMaxMessage = 64 << 10
)

func init() {
	register(&Peer{
		Name: "sctp", About: "pion/sctp 1.12.1 over UDP, not encrypted (CRC-32C): ordered reliable messages on one stream of an association, MTU 1,452, else its defaults; " +
			"the server's socket is shared out by remote address by this program, which reads it in batches",
		Mode: godwit.Ordered, Handshake: true, Procs: 2, MaxMessage: sctpMaxMessage,
		serveLinks: serveSCTP,
		Transport: func(addr netip.AddrPort, _ string) load.Transport {
			return &links{dial: func(ctx context.Context, _ int) (link, error) { return dialSCTP(ctx, addr) }}
		},
	})
}

func serveSCTP(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(listen))
	if err != nil {
		return err
	}
	enlarge(socket)
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	ready(socket.LocalAddr().(*net.UDPAddr).AddrPort(), "")
	d := &demux{socket: socket, remotes: map[netip.AddrPort]*remote{}}
	defer d.close()
	err = d.run(func(r *remote) {
		a, err := sctp.ServerWithOptions(sctp.WithNetConn(r), sctp.WithMTU(sctpMTU))
		if err != nil {
			_ = r.Close()
			return
		}
		s, err := a.AcceptStream()
		if err != nil {
			_ = a.Close()
			return
		}
		each(messageLink{&sctpConn{a: a, s: s}})
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// dialSCTP makes an association on a socket of its own.
func dialSCTP(ctx context.Context, addr netip.AddrPort) (link, error) {
	socket, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	enlarge(socket)
	a, err := sctp.ClientContext(ctx, sctp.WithNetConn(socket), sctp.WithMTU(sctpMTU))
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	s, err := a.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
	if err != nil {
		_ = a.Close()
		return nil, err
	}
	return messageLink{&sctpConn{a: a, s: s}}, nil
}

// sctpConn is an association with one stream.
type sctpConn struct {
	a   *sctp.Association
	s   *sctp.Stream
	buf []byte
}

func (c *sctpConn) ReadMessage() ([]byte, error) {
	for {
		n, err := c.s.Read(c.buf)
		if err == nil {
			return c.buf[:n], nil
		}
		if !errors.Is(err, io.ErrShortBuffer) {
			return nil, err
		}
		c.buf = make([]byte, max(n, 2*len(c.buf))) // the message is still there
	}
}

func (c *sctpConn) WriteMessage(p []byte) error {
	_, err := c.s.WriteSCTP(p, sctp.PayloadTypeWebRTCBinary)
	return err
}

func (c *sctpConn) Close() error { return c.a.Close() }

// demux shares a server's socket out: one remote for each address that sends.
type demux struct {
	socket *net.UDPConn

	mu      sync.Mutex
	remotes map[netip.AddrPort]*remote
}

const (
	demuxBatch = 32
	// mostWaiting bounds the datagrams that wait for one remote; more are dropped, as a socket would.
	mostWaiting = 256
)

// datagram is one that waits, in a buffer that returns to the pool.
type datagram struct {
	n    int
	data [sctpMTU + 48]byte
}

var datagrams = sync.Pool{New: func() any { return new(datagram) }}

// run reads until the socket closes; serve has a goroutine for each new remote.
func (d *demux) run(serve func(*remote)) error {
	batch := ipv4.NewPacketConn(d.socket)
	into := make([]*datagram, demuxBatch)
	messages := make([]ipv4.Message, demuxBatch)
	for i := range into {
		into[i] = datagrams.Get().(*datagram)
		messages[i].Buffers = [][]byte{into[i].data[:]}
	}
	for {
		n, err := batch.ReadBatch(messages, 0)
		if err != nil {
			return err
		}
		for i := range messages[:n] {
			r := d.remote(messages[i].Addr.(*net.UDPAddr).AddrPort(), serve)
			into[i].n = messages[i].N
			select {
			case r.in <- into[i]:
				into[i] = datagrams.Get().(*datagram)
				messages[i].Buffers[0] = into[i].data[:]
			default:
			}
		}
	}
}

func (d *demux) remote(addr netip.AddrPort, serve func(*remote)) *remote {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.remotes[addr]
	if r == nil {
		r = &remote{d: d, addr: addr, in: make(chan *datagram, mostWaiting), closed: make(chan struct{})}
		d.remotes[addr] = r
		go serve(r)
	}
	return r
}

func (d *demux) close() {
	_ = d.socket.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.remotes {
		r.end()
	}
	clear(d.remotes)
}

// remote is a net.Conn over the server's socket.
type remote struct {
	d      *demux
	addr   netip.AddrPort
	in     chan *datagram
	closed chan struct{}
	once   sync.Once
}

func (r *remote) Read(p []byte) (int, error) {
	select {
	case m := <-r.in:
		n := copy(p, m.data[:m.n])
		datagrams.Put(m)
		return n, nil
	case <-r.closed:
		return 0, net.ErrClosed
	}
}

func (r *remote) Write(p []byte) (int, error) { return r.d.socket.WriteToUDPAddrPort(p, r.addr) }

func (r *remote) end() { r.once.Do(func() { close(r.closed) }) }

func (r *remote) Close() error {
	r.end()
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	delete(r.d.remotes, r.addr)
	return nil
}

func (r *remote) LocalAddr() net.Addr  { return r.d.socket.LocalAddr() }
func (r *remote) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(r.addr) }

// Deadlines are for Abort, which the server does not call.
func (r *remote) SetDeadline(time.Time) error      { return nil }
func (r *remote) SetReadDeadline(time.Time) error  { return nil }
func (r *remote) SetWriteDeadline(time.Time) error { return nil }
