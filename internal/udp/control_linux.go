package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control messages (cmsg(3)) carry what does not fit an address: segment size,
// ECN bits, the local address, the drop count. They are written and read in
// place, since the helpers of x/sys allocate.

const (
	cmsgAlign  = int(unsafe.Sizeof(uintptr(0)))
	cmsgHeader = (unix.SizeofCmsghdr + cmsgAlign - 1) &^ (cmsgAlign - 1)

	// A received entry carries at most the packet info of one family (20 B of
	// data), two traffic classes, the segment size and the drop count.
	rxControlLen = 5*cmsgHeader + 24 + 4*8
	// A sent one: segment size, packet info, traffic class.
	txControlLen = 3*cmsgHeader + 8 + 24 + 8
)

// The arrays are made of words, so that every header in them is aligned.
type (
	rxControl [(rxControlLen + 7) / 8]uint64
	txControl [(txControlLen + 7) / 8]uint64
)

func cmsgSpace(n int) int { return cmsgHeader + (n+cmsgAlign-1)&^(cmsgAlign-1) }

// put appends a header for n bytes of data at off and gives the place of the
// data and the next offset.
func (c *txControl) put(off int, level, typ int32, n int) (unsafe.Pointer, int) {
	p := unsafe.Pointer(&c[0])
	h := (*unix.Cmsghdr)(unsafe.Add(p, off))
	h.Level, h.Type = level, typ
	h.SetLen(cmsgHeader + n)
	return unsafe.Add(p, off+cmsgHeader), off + cmsgSpace(n)
}

func (c *txControl) putSegment(off, segment int) int {
	p, next := c.put(off, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	*(*uint16)(p) = uint16(segment)
	return next
}

// putClass sets the traffic class: code point and ECN bits. An IPv6 socket wants the IPv4 option for
// addresses that it maps.
func (c *txControl) putClass(off int, v4 bool, class uint8) int {
	level, typ := int32(unix.SOL_IPV6), int32(unix.IPV6_TCLASS)
	if v4 {
		level, typ = unix.SOL_IP, unix.IP_TOS
	}
	p, next := c.put(off, level, typ, 4)
	*(*int32)(p) = int32(class)
	return next
}

// putLocal names the source address. The interface is left to the routing
// table, for a reply may leave another way than the question came; only a
// link-local address means nothing without it.
func (c *txControl) putLocal(off int, v4 bool, local *Addr) int {
	if v4 {
		p, next := c.put(off, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		info := (*unix.Inet4Pktinfo)(p)
		*info = unix.Inet4Pktinfo{Spec_dst: [4]byte(local[12:16])}
		return next
	}
	p, next := c.put(off, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	info := (*unix.Inet6Pktinfo)(p)
	info.Addr = [16]byte(local[:16])
	info.Ifindex = 0
	if local.isLinkLocal() {
		info.Ifindex = local.Scope()
	}
	return next
}

// parse reads the first n bytes that the kernel wrote into d; drops is the
// socket's drop counter, or the value it had before.
func (c *rxControl) parse(n int, d *Datagram, drops uint32) uint32 {
	base := unsafe.Pointer(&c[0])
	for off := 0; off+cmsgHeader <= n; {
		h := (*unix.Cmsghdr)(unsafe.Add(base, off))
		size := int(h.Len)
		if size < cmsgHeader || size > n-off {
			break
		}
		p, length := unsafe.Add(base, off+cmsgHeader), size-cmsgHeader
		off += (size + cmsgAlign - 1) &^ (cmsgAlign - 1)
		switch {
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && length >= 4:
			d.Segment = int(*(*int32)(p))
		case h.Level == unix.SOL_IP && h.Type == unix.IP_TOS && length >= 1:
			d.ECN = *(*uint8)(p) & 3
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_TCLASS && length >= 4:
			d.ECN = uint8(*(*int32)(p)) & 3
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && length >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(p)
			d.Local = Addr{10: 0xff, 11: 0xff}
			*(*[4]byte)(d.Local[12:16]) = info.Spec_dst
			binary.BigEndian.PutUint32(d.Local[20:], uint32(info.Ifindex))
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && length >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(p)
			*(*[16]byte)(d.Local[:16]) = info.Addr
			binary.BigEndian.PutUint32(d.Local[20:], info.Ifindex)
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && length >= 4:
			drops = *(*uint32)(p)
		}
	}
	return drops
}
