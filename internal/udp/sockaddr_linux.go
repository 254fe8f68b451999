package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Addresses cross the kernel boundary as raw bytes: an IPv4 socket uses struct
// sockaddr_in, which lies in the first 16 bytes of the storage for an IPv6 one.

const (
	sizeofInet4 = unix.SizeofSockaddrInet4
	sizeofInet6 = unix.SizeofSockaddrInet6
)

// setRaw reads what the kernel wrote.
func (a *Addr) setRaw(sa *unix.RawSockaddrInet6) {
	switch sa.Family {
	case unix.AF_INET6:
		copy(a[:16], sa.Addr[:])
		*(*[2]byte)(a[16:18]) = *(*[2]byte)(unsafe.Pointer(&sa.Port))
		*(*[2]byte)(a[18:20]) = [2]byte{}
		binary.BigEndian.PutUint32(a[20:], sa.Scope_id)
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*a = Addr{10: 0xff, 11: 0xff}
		*(*[4]byte)(a[12:16]) = sa4.Addr
		*(*[2]byte)(a[16:18]) = *(*[2]byte)(unsafe.Pointer(&sa4.Port))
	default:
		*a = Addr{}
	}
}

// putRaw writes what a socket of this family wants and gives its length; 0 if
// the address cannot be reached through such a socket.
func (a *Addr) putRaw(sa *unix.RawSockaddrInet6, family uint16) uint32 {
	if family == unix.AF_INET6 {
		sa.Family = unix.AF_INET6
		sa.Flowinfo = 0
		copy(sa.Addr[:], a[:16])
		*(*[2]byte)(unsafe.Pointer(&sa.Port)) = [2]byte(a[16:18])
		sa.Scope_id = 0
		if a.isLinkLocal() {
			sa.Scope_id = a.Scope()
		}
		return sizeofInet6
	}
	if !a.Is4() {
		return 0
	}
	sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
	sa4.Family = unix.AF_INET
	sa4.Addr = [4]byte(a[12:16])
	*(*[2]byte)(unsafe.Pointer(&sa4.Port)) = [2]byte(a[16:18])
	return sizeofInet4
}

// sockaddr is for the control plane only: bind and connect allocate.
func (a *Addr) sockaddr(family uint16) unix.Sockaddr {
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: [4]byte(a[12:16])}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: [16]byte(a[:16])}
	if a.isLinkLocal() {
		sa.ZoneId = a.Scope()
	}
	return sa
}

func addrFromSockaddr(sa unix.Sockaddr) Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return AddrFrom(netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)))
	case *unix.SockaddrInet6:
		a := AddrFrom(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
		binary.BigEndian.PutUint32(a[20:], sa.ZoneId)
		return a
	}
	return Addr{}
}
