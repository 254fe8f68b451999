package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Best names the engine that Open opens here.
const Best = "linux"

// maxSockets bounds the sockets of one client engine; the process's limit of
// open files usually bites first.
const maxSockets = 1 << 20

// noSocket stands for "none" in the engine's socket numbers.
const noSocket = ^uint32(0)

// Engine moves datagrams in batches: recvmmsg and sendmmsg with segmentation
// offload (UDP_SEGMENT, UDP_GRO) where the host has it.
//
// One goroutine at a time may call its methods, except Wake, which any may call
// at any time. No method but Wait blocks. Read and Write allocate nothing once
// they have run.
type Engine struct {
	cfg Config
	sys system

	socks []socket
	spare []uint32 // numbers of closed sockets, to be used again
	// only is the number of the engine's single socket as long as there is at
	// most one: then no epoll instance exists. noSocket otherwise.
	only uint32

	gso, gro bool
	tx       *txHeaders

	hold holding

	// single-socket waits
	fds     [2]unix.PollFd // the eventfd, the socket
	timeout unix.Timespec
	// idle: the last wait saw nothing to read, so that the next Read need not ask.
	idle bool

	// waits on many sockets
	epfd        int
	events      []unix.EpollEvent
	ready       fifo // numbers of sockets that have, or may have, datagrams
	moreEvents  bool // the last poll filled events
	oldKernel   bool // no epoll_pwait2
	epollFD     [1]unix.PollFd
	pollTimeout kernelTimespec

	stamp     uint32 // marks sockets seen in the current Write
	single    [1]Out // scratch of probeSegment
	lastErrno unix.Errno

	stats Stats

	wakePending atomic.Bool
	wakes       atomic.Uint64
	wakeMu      sync.Mutex // guards eventfd against Close
	eventfd     int
	wakeCount   [8]byte // what the eventfd held; nobody asks
	closed      bool
}

// socket is one of the engine's sockets; fd is -1 when it is closed.
type socket struct {
	fd         int32
	family     uint16
	connected  bool
	fixedLocal bool   // bound to one address, which needs no telling
	queued     bool   // is in Engine.ready
	ecn        uint8  // what the socket sends by itself
	otherECN   uint8  // what the last entries wanted instead,
	otherRun   uint8  // and how many of them there were
	drops      uint32 // SO_RXQ_OVFL as last seen
	stamp      uint32
	local      Addr
	remote     Addr
}

// Open opens a server's socket, a client's shared or bound socket, or a client
// without sockets. The caller closes the engine.
func Open(cfg Config) (*Engine, error) { return open(cfg, kernel) }

func open(cfg Config, sys system) (*Engine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, sys: sys, tx: new(txHeaders), only: noSocket, epfd: -1}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("udp: eventfd: %w", err)
	}
	e.eventfd = fd
	e.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	gso, gro := probeOffloads()
	e.gso, e.gro = gso && !cfg.DisableGSO, gro && !cfg.DisableGRO
	e.stats.GSO, e.stats.GRO = e.gso, e.gro
	at := cfg.Addr
	if cfg.Client && !cfg.Shared {
		if at = cfg.Bound; !at.IsValid() {
			return e, nil
		}
	}
	s, err := e.openBound(at)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.socks = []socket{s}
	e.useOnly(0)
	return e, nil
}

// probeOffloads asks a fresh socket whether the kernel knows UDP_SEGMENT and
// UDP_GRO. Whether the way to a peer bears the former is found out by sending.
func probeOffloads() (gso, gro bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return false, false
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return err == nil, unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
}

// Connect opens a socket connected to remote and gives its number. In shared
// mode that is the shared socket's. Numbers of closed sockets are used again.
func (e *Engine) Connect(remote Addr) (uint32, error) {
	switch {
	case e.closed:
		return 0, errClosed
	case !e.cfg.Client:
		return 0, errNotClient
	case e.cfg.Shared:
		return 0, nil
	case len(e.socks)-len(e.spare) >= maxSockets:
		return 0, ErrTooManySockets
	}
	s, err := e.openConnected(remote)
	if err != nil {
		return 0, err
	}
	n := uint32(len(e.socks))
	if k := len(e.spare); k > 0 {
		n, e.spare = e.spare[k-1], e.spare[:k-1]
		s.queued = e.socks[n].queued // the number may still stand in the queue
		e.socks[n] = s
	} else {
		e.socks = append(e.socks, s)
	}
	e.ready.grow(len(e.socks))
	if err := e.watch(n); err != nil {
		e.CloseSocket(n)
		return 0, err
	}
	return n, nil
}

// watch lets waits see the socket: directly while it is the only one, through
// epoll from the second on.
func (e *Engine) watch(n uint32) error {
	if e.epfd >= 0 {
		return e.register(n)
	}
	if e.openSockets() == 1 {
		e.useOnly(n)
		return nil
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("udp: epoll: %w", err)
	}
	e.epfd = epfd
	e.epollFD[0] = unix.PollFd{Fd: int32(epfd), Events: unix.POLLIN}
	e.events = make([]unix.EpollEvent, 64)
	e.only = noSocket
	e.fds[1] = unix.PollFd{}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: eventfdMark}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, e.eventfd, &ev); err != nil {
		return fmt.Errorf("udp: epoll: %w", err)
	}
	for i := range e.socks {
		if e.socks[i].fd < 0 {
			continue
		}
		if err := e.register(uint32(i)); err != nil {
			return err
		}
	}
	return nil
}

// eventfdMark is the eventfd's epoll data; a socket's is its number.
const eventfdMark = -1

// register watches edges only: a socket is reported once and then read until it
// is empty, which saves the kernel a second look at it.
func (e *Engine) register(n uint32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(n)}
	if err := unix.EpollCtl(e.epfd, unix.EPOLL_CTL_ADD, int(e.socks[n].fd), &ev); err != nil {
		return fmt.Errorf("udp: epoll: %w", err)
	}
	return nil
}

func (e *Engine) useOnly(n uint32) {
	e.only = n
	e.idle = false
	e.fds[1] = unix.PollFd{Fd: e.socks[n].fd, Events: unix.POLLIN}
}

func (e *Engine) openSockets() int { return len(e.socks) - len(e.spare) }

// CloseSocket closes a socket that Connect opened. The shared socket stays.
func (e *Engine) CloseSocket(n uint32) {
	if !e.cfg.Client || e.cfg.Shared || int(n) >= len(e.socks) || e.socks[n].fd < 0 {
		return
	}
	_ = unix.Close(int(e.socks[n].fd)) // epoll forgets it by itself
	queued := e.socks[n].queued
	e.socks[n] = socket{fd: -1, queued: queued}
	e.spare = append(e.spare, n)
	if e.only == n {
		e.only = noSocket
		e.fds[1] = unix.PollFd{}
	}
}

// Close closes all sockets. A second Close does nothing. Wake may still be
// called and does nothing.
func (e *Engine) Close() error {
	e.wakeMu.Lock()
	wasClosed := e.closed
	e.closed = true
	e.wakeMu.Unlock()
	if wasClosed {
		return nil
	}
	errs := []error{unix.Close(e.eventfd), e.hold.close()}
	for i := range e.socks {
		if e.socks[i].fd >= 0 {
			errs = append(errs, unix.Close(int(e.socks[i].fd)))
			e.socks[i].fd = -1
		}
	}
	if e.epfd >= 0 {
		errs = append(errs, unix.Close(e.epfd))
	}
	return errors.Join(errs...)
}

// LocalAddr is the address of the server's or shared socket, else of the only
// connected one; the zero Addr if there are none or many.
func (e *Engine) LocalAddr() Addr {
	if e.only == noSocket || e.closed {
		return Addr{}
	}
	return e.socketAddr(e.only)
}

// SocketAddr is the local address and port of one socket, the zero Addr if it
// is not open.
func (e *Engine) SocketAddr(n uint32) Addr {
	if e.closed || int(n) >= len(e.socks) || e.socks[n].fd < 0 {
		return Addr{}
	}
	return e.socketAddr(n)
}

func (e *Engine) socketAddr(n uint32) Addr {
	sa, err := unix.Getsockname(int(e.socks[n].fd))
	if err != nil {
		return Addr{}
	}
	return addrFromSockaddr(sa)
}

// Stats is a copy of the engine's figures.
func (e *Engine) Stats() Stats {
	s := e.stats
	s.Wakes = e.wakes.Load()
	if !e.closed {
		s.Sockets = e.openSockets()
	}
	return s
}

// dualStack reports whether the configured address asks for both families.
func dualStack(addr netip.AddrPort) bool {
	return !addr.Addr().IsValid() || addr.Addr() == netip.IPv6Unspecified()
}
