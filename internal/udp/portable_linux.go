package udp

import (
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

// local is the address that the datagram was sent to, zero if unknown.
func (c *controlIn) local(n int) Addr {
	var d Datagram
	c.raw.parse(n, &d, 0)
	return d.Local
}

// controlOut is where control messages are written.
type controlOut struct{ raw txControl }

// local gives the control message that makes a datagram leave from an address.
func (c *controlOut) local(from *Addr) []byte {
	c.raw = txControl{}
	n := c.raw.putLocal(0, from.Is4(), from)
	return unsafe.Slice((*byte)(unsafe.Pointer(&c.raw[0])), n)
}
