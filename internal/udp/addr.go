package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
)

// Addr is an address and a port in 24 comparable, pointer-free bytes: 0-15 the
// IP address (IPv4 in its mapped form, ::ffff:a.b.c.d), 16-17 the port, big
// endian, 18-19 zero, 20-23 the scope of a link-local address or, in a local
// address, the interface index, big endian. The zero value means unknown.
type Addr [24]byte

// AddrFrom converts from the standard library's form. A zone is resolved to its
// interface index; one that does not exist becomes 0. An invalid IP becomes the
// unspecified IPv6 address.
func AddrFrom(ap netip.AddrPort) Addr {
	var a Addr
	ip := ap.Addr()
	if ip.IsValid() {
		b := ip.As16()
		copy(a[:16], b[:])
		if zone := ip.Zone(); zone != "" {
			binary.BigEndian.PutUint32(a[20:], zoneIndex(zone))
		}
	}
	binary.BigEndian.PutUint16(a[16:], ap.Port())
	return a
}

// AddrPort converts to the standard library's form: IPv4-mapped addresses are
// unmapped, a scope becomes a numeric zone.
func (a Addr) AddrPort() netip.AddrPort {
	ip := netip.AddrFrom16([16]byte(a[:16])).Unmap()
	if scope := a.Scope(); scope != 0 && ip.Is6() && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(ip, a.Port())
}

// String gives the address in the usual form, for logs and errors.
func (a Addr) String() string { return a.AddrPort().String() }

// Port is the UDP port.
func (a Addr) Port() uint16 { return binary.BigEndian.Uint16(a[16:]) }

// SetPort changes the port.
func (a *Addr) SetPort(p uint16) { binary.BigEndian.PutUint16(a[16:], p) }

// Scope is the scope of a link-local address or a local address's interface.
func (a Addr) Scope() uint32 { return binary.BigEndian.Uint32(a[20:]) }

// Is4 reports whether this is an IPv4 address.
func (a Addr) Is4() bool {
	return binary.BigEndian.Uint64(a[0:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff
}

// isUnspecified reports whether the IP is 0.0.0.0 or ::, which as a local
// address means that the host chooses.
func (a Addr) isUnspecified() bool {
	high, low := binary.BigEndian.Uint64(a[0:]), binary.BigEndian.Uint64(a[8:])
	return high == 0 && (low == 0 || low == 0xffff<<32)
}

// isLinkLocal reports whether the IP lies in fe80::/10 and so means nothing
// without its interface.
func (a Addr) isLinkLocal() bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

func zoneIndex(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}
