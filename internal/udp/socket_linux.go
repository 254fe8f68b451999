package udp

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// openBound opens the socket of a server, the shared one of a client, or that of a proxy.
func (e *Engine) openBound(addr netip.AddrPort) (socket, error) {
	if !dualStack(addr) {
		family := uint16(unix.AF_INET6)
		if addr.Addr().Unmap().Is4() {
			family = unix.AF_INET
		}
		return e.bindNew(AddrFrom(addr), family)
	}
	s, err := e.bindNew(AddrFrom(netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())), unix.AF_INET6)
	if !e.cfg.IPv6Only && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
		// This host has no IPv6.
		return e.bindNew(AddrFrom(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())), unix.AF_INET)
	}
	return s, err
}

func (e *Engine) bindNew(local Addr, family uint16) (socket, error) {
	s := socket{family: family, fixedLocal: !local.isUnspecified(), local: local}
	fd, err := unix.Socket(int(family), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return s, fmt.Errorf("udp: socket: %w", err)
	}
	s.fd = int32(fd)
	fail := func(err error) (socket, error) { return s, errors.Join(err, unix.Close(fd)) }
	if e.cfg.Shards > 1 && !e.cfg.Client {
		if err := e.joinGroup(fd); err != nil {
			return fail(err)
		}
	}
	if family == unix.AF_INET6 && !s.fixedLocal {
		only := 0
		if e.cfg.IPv6Only {
			only = 1
		}
		if err := e.sys.setsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return fail(fmt.Errorf("udp: dual stack: %w", err))
		}
	}
	e.setOptions(&s)
	if err := unix.Bind(fd, local.sockaddr(family)); err != nil {
		return fail(fmt.Errorf("udp: bind %v: %w", local, err))
	}
	s.local.SetPort(0)
	if !s.fixedLocal {
		s.local = Addr{}
	}
	return s, nil
}

// openConnected opens a client's socket to one peer.
func (e *Engine) openConnected(remote Addr) (socket, error) {
	s := socket{family: unix.AF_INET6, connected: true, remote: remote}
	if remote.Is4() {
		s.family = unix.AF_INET
	}
	fd, err := unix.Socket(int(s.family), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return s, fmt.Errorf("udp: socket: %w", err)
	}
	s.fd = int32(fd)
	fail := func(err error) (socket, error) { return s, errors.Join(err, unix.Close(fd)) }
	e.setOptions(&s)
	if e.cfg.Addr.Addr().IsValid() || e.cfg.Addr.Port() != 0 {
		local := AddrFrom(e.cfg.Addr)
		if local.isUnspecified() && s.family == unix.AF_INET {
			local = AddrFrom(netip.AddrPortFrom(netip.IPv4Unspecified(), e.cfg.Addr.Port()))
		}
		if err := unix.Bind(fd, local.sockaddr(s.family)); err != nil {
			return fail(fmt.Errorf("udp: bind %v: %w", local, err))
		}
	}
	if err := unix.Connect(fd, remote.sockaddr(s.family)); err != nil {
		return fail(fmt.Errorf("udp: connect %v: %w", remote, err))
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fail(fmt.Errorf("udp: getsockname: %w", err))
	}
	s.local = addrFromSockaddr(sa)
	s.local.SetPort(0)
	return s, nil
}

// setOptions sets what the host may refuse without harm and notes in the stats
// what it granted.
func (e *Engine) setOptions(s *socket) {
	fd := int(s.fd)
	set := func(level, option, value int) bool {
		return e.sys.setsockoptInt(fd, level, option, value) == nil
	}
	e.stats.ECN = set(unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	// The path's MTU is found by our own probes: set the don't-fragment bit and
	// let no ICMP message, which anyone can send, change what may be sent.
	set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	if s.family == unix.AF_INET6 {
		e.stats.ECN = set(unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1) && e.stats.ECN
		set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	if class := int(e.dscp()); class != 0 {
		set(unix.IPPROTO_IP, unix.IP_TOS, class)
		if s.family == unix.AF_INET6 {
			set(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, class)
		}
	}
	if !s.connected && !s.fixedLocal && !e.cfg.DisablePacketInfo {
		if s.family == unix.AF_INET6 {
			e.stats.PacketInfo = set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			e.stats.PacketInfo = set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	}
	if e.gro {
		e.gro = set(unix.SOL_UDP, unix.UDP_GRO, 1)
		e.stats.GRO = e.gro
	}
	set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if us := int(e.cfg.BusyPoll.Microseconds()); us > 0 {
		e.stats.BusyPoll = set(unix.SOL_SOCKET, unix.SO_BUSY_POLL, us)
		set(unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, 1)
	}
	e.setBuffers(s)
}

func (e *Engine) setBuffers(s *socket) {
	fd := int(s.fd)
	receive, send := e.cfg.buffers(s.connected)
	if exact := e.cfg.ExactReceiveBuffer; exact > 0 {
		receive = exact
		_ = e.sys.setsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, exact)
	} else {
		e.askBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receive)
	}
	e.askBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, send)
	e.stats.ReceiveBuffer = grantedBuffer(fd, unix.SO_RCVBUF)
	e.stats.SendBuffer = grantedBuffer(fd, unix.SO_SNDBUF)
	e.stats.Hint = bufferHint(receive, e.stats.ReceiveBuffer)
}

// askBuffer tries the privileged form first, which no sysctl limits. A buffer
// that is already larger is left alone.
func (e *Engine) askBuffer(fd, force, plain, want int) {
	if want < 0 || grantedBuffer(fd, plain) >= want {
		return
	}
	if e.sys.setsockoptInt(fd, unix.SOL_SOCKET, force, want) != nil {
		_ = e.sys.setsockoptInt(fd, unix.SOL_SOCKET, plain, want)
	}
}

// grantedBuffer is half of what the kernel reports, since it doubles what it is
// asked for.
func grantedBuffer(fd, option int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return 0
	}
	return n / 2
}

// bufferHint tells how to get the receive buffer that was asked for. A small
// one loses datagrams in every burst, so it is worth a line at start.
func bufferHint(asked, granted int) string {
	if granted >= asked {
		return ""
	}
	return fmt.Sprintf("receive buffer is %d of %d bytes; run: sysctl -w net.core.rmem_max=%d", granted, asked, asked)
}
