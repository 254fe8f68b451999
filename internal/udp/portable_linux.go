package udp

import (
	"errors"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What package net does not tell the portable engine, it asks Linux itself.

// askLocal has the kernel tell the local address of each datagram.
func askLocal(conn *net.UDPConn) (ok bool) {
	onSocket(conn, func(fd int) {
		if unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) == nil {
			ok = true
			return
		}
		ok = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1) == nil
	})
	return ok
}

// receiveTogether has the kernel give segments of one sender together.
func receiveTogether(conn *net.UDPConn) (ok bool) {
	onSocket(conn, func(fd int) { ok = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil })
	return ok
}

// refusesSegments reports whether an error may mean that the way to the peer
// does not bear segmentation offload.
func refusesSegments(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && suspectsOffload(errno)
}

// granted gives the buffers that the kernel granted.
func granted(conn *net.UDPConn, asked int) (receive, send int, hint string) {
	onSocket(conn, func(fd int) {
		receive, send = grantedBuffer(fd, unix.SO_RCVBUF), grantedBuffer(fd, unix.SO_SNDBUF)
	})
	return receive, send, bufferHint(asked, receive)
}

func onSocket(conn *net.UDPConn, f func(fd int)) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // it fails on a closed socket only
	}
}

// controlIn is where a reader receives control messages.
type controlIn struct{ raw rxControl }

func (c *controlIn) buffer() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&c.raw[0])), rxControlLen)
}

// read gives the address that the entry was sent to, zero if unknown, and the
// size of its segments, 0 if it is one.
func (c *controlIn) read(n int) (local Addr, segment int) {
	var d Datagram
	c.raw.parse(n, &d, 0)
	return d.Local, d.Segment
}

// controlOut is where control messages are written.
type controlOut struct{ raw txControl }

// write gives the control messages that make an entry leave from an address,
// nil for the host's choice, in segments of a size, 0 for one.
func (c *controlOut) write(from *Addr, segment int) []byte {
	if from == nil && segment == 0 {
		return nil
	}
	c.raw = txControl{}
	n := 0
	if segment > 0 {
		n = c.raw.putSegment(n, segment)
	}
	if from != nil {
		n = c.raw.putLocal(n, from.Is4(), from)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&c.raw[0])), n)
}
