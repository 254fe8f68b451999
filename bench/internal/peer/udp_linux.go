package peer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"godwit.example/godwit"
	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
	"golang.org/x/sys/unix"
)

// maxDatagram is the largest datagram that godwit would use on any path: 1,500
// bytes less the headers of IPv6 and UDP. A workload of larger messages needs
// fragments put together again, which is a protocol and no floor of one.
const maxDatagram = 1452

// rawUDP is a way to use UDP sockets, the same at both ends: the floor of what
// transports over UDP cost. Both ends are written as in C: one thread, system calls
// and memory that is laid out once.
type rawUDP struct {
	batch  int  // datagrams a system call
	trains bool // UDP_SEGMENT and UDP_GRO
	spin   bool // neither end sleeps
}

// batchSize is how many datagrams one system call moves, at most.
const batchSize = 64

func init() {
	for _, v := range []struct {
		name, about string
		rawUDP
	}{
		{"udp", "recvfrom and sendto, a datagram each", rawUDP{batch: 1}},
		{"udp-mmsg", "recvmmsg and sendmmsg of up to 64 datagrams", rawUDP{batch: batchSize}},
		{"udp-gso", "as udp-mmsg, with UDP_GRO and UDP_SEGMENT: equal messages side by side are one packet to the kernel", rawUDP{batch: batchSize, trains: true}},
		{"udp-spin", "as udp-mmsg, and neither end ever sleeps", rawUDP{batch: batchSize, spin: true}},
	} {
		register(&Peer{
			Name: v.name, About: "the floor, no protocol: " + v.about + "; a message is a datagram, which may be lost; not encrypted",
			Mode: godwit.Unreliable, MaxMessage: maxDatagram, Serve: v.serve, Room: v.serveRoom,
			Members: func(_ *room.Load, addr netip.AddrPort, _ string) room.Transport {
				return udpMembers{&udpClient{rawUDP: v.rawUDP, addr: addr, epoll: -1}}
			},
			Transport: func(addr netip.AddrPort, _ string) load.Transport {
				return &udpClient{rawUDP: v.rawUDP, addr: addr, epoll: -1}
			},
		})
	}
}

// socketBuffer is what is asked for both buffers of the server's socket.
const socketBuffer = 4 << 20

// open makes a socket.
func (u rawUDP) open() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil || !u.trains {
		return fd, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("UDP_GRO, which needs Linux 5.0: %w", err)
	}
	return fd, nil
}

// openServer makes the server's socket. A receive on it waits for a tenth of a
// second at most, so that the server notices that it is to stop.
func (u rawUDP) openServer(at netip.AddrPort) (fd int, addr netip.AddrPort, err error) {
	if fd, err = u.open(); err != nil {
		return -1, addr, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	buffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	buffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return -1, addr, os.NewSyscallError("SO_RCVTIMEO", err)
	}
	if !at.Addr().Is4() {
		return -1, addr, fmt.Errorf("%v: these servers listen on IPv4", at)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return -1, addr, os.NewSyscallError("bind", err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return -1, addr, os.NewSyscallError("getsockname", err)
	}
	return fd, netip.AddrPortFrom(at.Addr(), uint16(own.(*unix.SockaddrInet4).Port)), nil
}

// buffer asks for a buffer as godwit does: past the system's bound if that is allowed.
func buffer(fd, force, plain int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBuffer)
	}
}

func (u rawUDP) serve(ctx context.Context, answer Answer, ready func(netip.AddrPort, string)) error {
	fd, addr, err := u.openServer(listen)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var over atomic.Bool
	defer context.AfterFunc(ctx, func() { over.Store(true) })()
	in, out := newInbox(u, u.batch), newOutbox(u)
	out.fds = []int{fd}
	ready(addr, "")
	for !over.Load() {
		n, errno := in.receive(fd, !u.spin)
		if errno != 0 {
			return os.NewSyscallError("receive", errno)
		}
		for i := range n {
			p, size, from := in.datagram(i)
			for len(p) > 0 {
				m := p[:min(size, len(p))]
				p = p[len(m):]
				begin := len(out.buf)
				out.buf = answer(out.buf, m)
				out.add(0, from, begin)
			}
		}
		for {
			blocked, errno := out.flush()
			if blocked && !over.Load() {
				waitWritable(fd)
				continue
			}
			if errno != 0 && !blocked {
				return os.NewSyscallError("send", errno)
			}
			break
		}
	}
	return nil
}

// waitWritable waits until a socket has room again, a little while at most.
func waitWritable(fd int) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, _ = unix.Ppoll(fds[:], &unix.Timespec{Nsec: 10e6}, nil)
}

// udpClient is the client's end: a connected socket for each connection.
type udpClient struct {
	rawUDP

	addr  netip.AddrPort
	epoll int
	in    *inbox
	out   *outbox
	ready [64]unix.EpollEvent
}

func (t *udpClient) Connect(ctx context.Context, connections int) (err error) {
	if !t.addr.Addr().Is4() {
		return fmt.Errorf("%v: these clients speak IPv4", t.addr)
	}
	if t.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	t.in, t.out = newInbox(t.rawUDP, t.batch), newOutbox(t.rawUDP)
	for k := range connections {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fd, err := t.open()
		if err != nil {
			return fmt.Errorf("connection %d: %w", k, err)
		}
		t.out.fds = append(t.out.fds, fd)
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(t.addr.Port()), Addr: t.addr.Addr().As4()})
		if err == nil {
			err = unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(k)})
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", k, err)
		}
	}
	return nil
}

// connected is the destination of a connected socket.
var connected unix.RawSockaddrInet4

func (t *udpClient) Send(k int, p []byte) bool {
	begin := len(t.out.buf)
	if begin > 0 && begin+len(p) > mostUnsent {
		return false
	}
	t.out.buf = append(t.out.buf, p...)
	t.out.add(k, &connected, begin)
	return true
}

// mostUnsent bounds what waits for sockets without room, in bytes.
const mostUnsent = 16 << 20

// spinner is turns that may be due so often that nobody should sleep.
type spinner interface {
	turns
	Spins(wait time.Duration) bool
}

func (t *udpClient) Drive(ctx context.Context, l *load.Load) error { return t.drive(ctx, l) }

func (t *udpClient) drive(ctx context.Context, l spinner) error {
	_, done := pauser() // sleeps of this thread end on time
	defer done()
	for ctx.Err() == nil {
		left, over := l.Turn()
		if over {
			return nil
		}
		blocked, err := t.flush()
		if err != nil {
			return err
		}
		if blocked {
			left = min(left, blockedPause)
		}
		n, err := t.wait(l, min(left, longestPause))
		if err != nil {
			return err
		}
		for i := range t.ready[:n] {
			if err := t.read(l, int(t.ready[i].Fd)); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

func (t *udpClient) flush() (blocked bool, err error) {
	blocked, errno := t.out.flush()
	if errno != 0 && !blocked {
		return false, fmt.Errorf("connection %d: %w", t.out.queue[t.out.sent].conn, os.NewSyscallError("send", errno))
	}
	return blocked, nil
}

// read takes what one connection has received and sends what follows from it. epoll
// is level-triggered and reports what is left.
func (t *udpClient) read(l turns, k int) error {
	n, errno := t.in.receive(t.out.fds[k], false)
	if errno != 0 {
		return fmt.Errorf("connection %d: %w", k, os.NewSyscallError("receive", errno))
	}
	if n == 0 {
		return nil
	}
	l.Arrived()
	for i := range n {
		p, size, _ := t.in.datagram(i)
		for len(p) > 0 {
			m := p[:min(size, len(p))]
			p = p[len(m):]
			l.Message(k, m)
		}
	}
	_, err := t.flush()
	return err
}

// blockedPause is how long the client waits before it tries a socket without room again.
const blockedPause = 50 * time.Microsecond

// wait returns how many of ready are, after d at most. It does not sleep where the
// load comes too often for that.
func (t *udpClient) wait(l spinner, d time.Duration) (n int, err error) {
	var got uintptr
	var errno unix.Errno
	events, most := uintptr(unsafe.Pointer(&t.ready[0])), uintptr(len(t.ready))
	if spins := l.Spins(d); spins || t.spin {
		var bounded unix.Timespec // by zero
		got, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(t.epoll), events, most, uintptr(unsafe.Pointer(&bounded)), 0, 0)
		if got == 0 && !spins {
			runtime.Gosched() // this program's other goroutines have the same CPU
		}
	} else {
		timeout := unix.NsecToTimespec(int64(d))
		got, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(t.epoll), events, most, uintptr(unsafe.Pointer(&timeout)), 0, 0)
	}
	switch {
	case errno == 0:
		return int(got), nil
	case errno == unix.EINTR:
		return 0, nil
	case errno == unix.ENOSYS:
		return 0, errors.New("epoll_pwait2, which needs Linux 5.11, is not there")
	}
	return 0, os.NewSyscallError("epoll_pwait2", errno)
}

func (t *udpClient) Close() {
	if t.out != nil {
		for _, fd := range t.out.fds {
			_ = unix.Close(fd)
		}
	}
	if t.epoll >= 0 {
		_ = unix.Close(t.epoll)
	}
}
