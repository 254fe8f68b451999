package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// tcpClient is the client's end of the TCP reference: an event loop of its own,
// because the runtime's timers are up to a millisecond late and its poller would
// cost a change of goroutine a message.
type tcpClient struct {
	addr  netip.AddrPort
	epoll int
	conns []tcpConn
	dirty []int32 // connections with something to write
	ready [64]syscall.EpollEvent
	err   error
}

type tcpConn struct {
	fd    int
	in    frames
	out   []byte
	dirty bool
}

// mostUnwritten bounds what waits for one connection's socket.
const mostUnwritten = 256 << 10

func newTCPClient(addr netip.AddrPort) *tcpClient {
	return &tcpClient{addr: addr, epoll: -1}
}

func (t *tcpClient) Connect(ctx context.Context, connections int) error {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("load: epoll: %w", err)
	}
	t.epoll = epoll
	for k := range connections {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := t.open(k); err != nil {
			return errConnection(k, err)
		}
	}
	return nil
}

func (t *tcpClient) open(k int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.conns = append(t.conns, tcpConn{fd: fd})
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(t.addr.Port()), Addr: t.addr.Addr().As4()}); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	return syscall.EpollCtl(t.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(k)})
}

func (t *tcpClient) Send(k int, p []byte) bool {
	c := &t.conns[k]
	if len(c.out) > 0 && len(c.out)+len(p) > mostUnwritten {
		return false
	}
	c.out = appendFrame(c.out, p)
	if !c.dirty {
		c.dirty = true
		t.dirty = append(t.dirty, int32(k))
	}
	return true
}

// flush writes what the generator queued, a write a connection.
func (t *tcpClient) flush() {
	left := t.dirty[:0]
	for _, k := range t.dirty {
		c := &t.conns[k]
		n, err := syscall.Write(c.fd, c.out)
		if err != nil && !errors.Is(err, syscall.EAGAIN) {
			t.err = errConnection(int(k), err)
			return
		}
		c.out = c.out[:copy(c.out, c.out[max(n, 0):])]
		if c.dirty = len(c.out) > 0; c.dirty {
			left = append(left, k)
		}
	}
	t.dirty = left
}

func (t *tcpClient) Drive(ctx context.Context, l *Load) error {
	runtime.LockOSThread() // the timer slack is the thread's
	defer runtime.UnlockOSThread()
	preciseSleep()
	for ctx.Err() == nil && t.err == nil {
		left, done := l.Turn()
		if done {
			return nil
		}
		t.flush()
		n, err := syscall.EpollWait(t.epoll, t.ready[:], 0)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("load: epoll: %w", err)
		}
		if n <= 0 {
			wait := longestWait
			if len(t.dirty) > 0 {
				wait = blockedWait
			}
			if !l.Spins(left) {
				pollFor(t.epoll, min(left, wait))
			}
			continue
		}
		for _, e := range t.ready[:n] {
			t.read(l, int(e.Fd))
		}
		t.flush()
	}
	if t.err != nil {
		return t.err
	}
	return context.Cause(ctx)
}

// read takes what one connection has received, a read a turn: epoll is
// level-triggered and reports what is left.
func (t *tcpClient) read(l *Load, k int) {
	c := &t.conns[k]
	n, err := syscall.Read(c.fd, c.in.room())
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return
	case err == nil && n == 0:
		err = errors.New("the server closed it")
	}
	if err != nil {
		t.err = errConnection(k, err)
		return
	}
	c.in.grow(n)
	l.Arrived()
	for m := c.in.next(); m != nil; m = c.in.next() {
		l.Message(k, m)
	}
}

func (t *tcpClient) remote() netip.Addr { return t.addr.Addr() }

func (t *tcpClient) packets() (packetCounts, bool) { return packetCounts{}, false }

func (t *tcpClient) Close() {
	for i := range t.conns {
		_ = syscall.Close(t.conns[i].fd)
	}
	if t.epoll >= 0 {
		_ = syscall.Close(t.epoll)
	}
}

const prSetTimerSlack = 29 // PR_SET_TIMERSLACK of linux/prctl.h

// preciseSleep lets sleeps of this thread end on time; the default is up to 50 µs
// late.
func preciseSleep() {
	_, _, _ = syscall.Syscall6(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0, 0, 0, 0)
}

// pollFor waits until fd is readable, for at most d.
func pollFor(fd int, d time.Duration) {
	if d <= 0 {
		return
	}
	event := struct {
		fd              int32
		events, revents int16
	}{int32(fd), 1 /* POLLIN */, 0}
	timeout := syscall.NsecToTimespec(int64(d))
	_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&event)), 1, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
}

// onCPUs starts a process on some CPUs: it inherits the affinity of the thread
// that starts it.
func onCPUs(cpus []int, start func() error) error {
	if len(cpus) == 0 {
		return start()
	}
	var before, mask [16]uint64 // 1,024 CPUs
	for _, n := range cpus {
		if n < 0 || n >= 64*len(mask) {
			return fmt.Errorf("there is no CPU %d", n)
		}
		mask[n/64] |= 1 << (n % 64)
	}
	runtime.LockOSThread()
	if err := affinity(syscall.SYS_SCHED_GETAFFINITY, &before); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	if err := affinity(syscall.SYS_SCHED_SETAFFINITY, &mask); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("CPUs %v: %w", cpus, err)
	}
	err := start()
	// A thread that cannot be put back stays locked and ends with its goroutine.
	if affinity(syscall.SYS_SCHED_SETAFFINITY, &before) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// affinity gets or sets the CPUs of this thread.
func affinity(call uintptr, mask *[16]uint64) error {
	if _, _, errno := syscall.Syscall(call, 0, unsafe.Sizeof(*mask), uintptr(unsafe.Pointer(mask))); errno != 0 {
		return errno
	}
	return nil
}
