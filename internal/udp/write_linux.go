package udp

import (
	"cmp"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxPieces = 64 // headers of one sendmmsg
	// maxRetries bounds how often one piece is sent anew after an error that may
	// not be its own.
	maxRetries = 3
)

// txHeaders is what sendmmsg reads. A piece is what one header sends: an entry,
// or the part of one that the kernel's limits allow, or a single segment.
type txHeaders struct {
	hdrs   [maxPieces]mmsghdr
	iovs   [maxPieces]unix.Iovec
	names  [maxPieces]unix.RawSockaddrInet6
	ctls   [maxPieces]txControl
	pieces [maxPieces]piece
}

// piece remembers what a header stands for: Data[from:to] of entry out.
type piece struct {
	out      int
	from, to int
	segments int
}

// position is how far a run of entries has been dealt with.
type position struct{ out, off int }

// flushEnd tells why flush ended.
type flushEnd uint8

const (
	flushDone      flushEnd = iota
	flushBlocked            // the socket buffer is full
	flushNoOffload          // the piece was refused, perhaps because it has segments
)

// Write sends the batch's entries and gives how many it is done with; it never
// blocks. Those are the first ones of b.Outs: sent, or given up and counted in
// the Stats. If a socket's buffer was full, blocked is true and b.Outs[sent:]
// holds what is left, an entry sent in part with what remains of its Data; the
// caller offers it again later.
//
// The order of entries on one socket is kept. On a client with many sockets
// Write may reorder entries of different ones, so that each socket's lie
// together.
func (e *Engine) Write(b *WriteBatch) (sent int, blocked bool) {
	outs := b.Outs
	if e.closed {
		e.refuse(outs)
		return len(outs), false
	}
	if e.epfd >= 0 {
		e.group(outs)
	}
	left := len(outs) // beyond it lie the entries of blocked sockets
	for sent < left {
		end := sent + 1
		for end < left && outs[end].Socket == outs[sent].Socket {
			end++
		}
		n, full := e.writeRun(outs[sent:end])
		sent += n
		if full {
			blocked = true
			rotate(outs[sent:left], end-sent)
			left -= end - sent
		}
	}
	if blocked {
		e.stats.WriteBlocked++
	}
	return sent, blocked
}

// writeRun sends entries of one socket and gives how many it is done with.
func (e *Engine) writeRun(outs []Out) (done int, blocked bool) {
	n := outs[0].Socket
	if int(n) >= len(e.socks) || e.socks[n].fd < 0 {
		e.refuse(outs)
		return len(outs), false
	}
	s := &e.socks[n]
	for at := (position{}); at.out < len(outs); {
		count, built := e.build(s, outs, at, e.gso)
		switch e.flush(s, count, &at) {
		case flushDone:
			at = built
		case flushNoOffload:
			if e.probeSegment(s, outs, &at) {
				return e.keep(outs, at), true
			}
		case flushBlocked:
			return e.keep(outs, at), true
		}
	}
	return len(outs), false
}

// keep trims the entry at a position to what remains of it.
func (e *Engine) keep(outs []Out, at position) int {
	o := &outs[at.out]
	o.Data = o.Data[at.off:]
	return at.out
}

// build writes headers for the entries from a position on and gives their
// number and the position behind them. Entries that cannot be sent are passed
// over.
func (e *Engine) build(s *socket, outs []Out, at position, offload bool) (int, position) {
	if s.otherRun >= ecnChange {
		e.changeECN(s)
	}
	n := 0
	for at.out < len(outs) && n < maxPieces {
		o := &outs[at.out]
		size := len(o.Data) - at.off
		if size <= 0 || !e.address(s, o, n) {
			if size > 0 {
				e.stats.WriteRefused += uint64(segmentsOf(size, o.Segment))
			}
			at = position{out: at.out + 1}
			continue
		}
		segments := 1
		if o.Segment > 0 && o.Segment < size {
			if offload {
				segments = mostSegments(o.Segment)
			}
			size = min(size, segments*o.Segment)
			segments = segmentsOf(size, o.Segment)
		}
		e.tx.iovs[n].Base = &o.Data[at.off]
		e.tx.iovs[n].SetLen(size)
		e.tx.pieces[n] = piece{out: at.out, from: at.off, to: at.off + size, segments: segments}
		e.control(s, o, n, segments)
		n++
		at.off += size
		if at.off >= len(o.Data) {
			at = position{out: at.out + 1}
		}
	}
	return n, at
}

// address writes where header n goes; false if the socket cannot reach it.
func (e *Engine) address(s *socket, o *Out, n int) bool {
	h := &e.tx.hdrs[n].hdr
	h.Iov = &e.tx.iovs[n]
	h.SetIovlen(1)
	h.Name, h.Namelen = nil, 0
	if s.connected {
		return true
	}
	// The kernel would answer port 0, which only a forger sends from, with the
	// error that a broken offload gives.
	length := o.Remote.putRaw(&e.tx.names[n], s.family)
	if length == 0 || o.Remote.Port() == 0 {
		return false
	}
	h.Name = (*byte)(unsafe.Pointer(&e.tx.names[n]))
	h.Namelen = length
	return true
}

// control writes header n's control messages: as few as possible, since the
// kernel copies them for each.
func (e *Engine) control(s *socket, o *Out, n, segments int) {
	c := &e.tx.ctls[n]
	v4 := s.family == unix.AF_INET || !s.connected && o.Remote.Is4()
	off := 0
	if segments > 1 {
		off = c.putSegment(off, o.Segment)
	}
	if !s.connected && !s.fixedLocal && !o.Local.isUnspecified() && o.Local.Is4() == v4 {
		off = c.putLocal(off, v4, &o.Local)
	}
	if e.differsECN(s, o.ECN&3) {
		off = c.putClass(off, v4, e.dscp()|o.ECN&3)
	}
	h := &e.tx.hdrs[n].hdr
	h.Control = nil
	if off > 0 {
		h.Control = (*byte)(unsafe.Pointer(c))
	}
	h.SetControllen(off)
}

// ecnChange is how many entries in a row must want other ECN bits than the
// socket sends by itself before these are changed.
const ecnChange = 8

// differsECN reports whether an entry must name its ECN bits. On a connected
// socket that makes the kernel look up the route anew, 0.6 µs each; so the bits
// most entries want are made the socket's own (see changeECN).
func (e *Engine) differsECN(s *socket, ecn uint8) bool {
	if ecn == s.ecn {
		s.otherRun = 0
		return false
	}
	if ecn != s.otherECN {
		s.otherECN, s.otherRun = ecn, 0
	}
	if s.otherRun < ecnChange {
		s.otherRun++
	}
	return true
}

// dscp returns the code point as it lies in a traffic class, above the ECN bits.
func (e *Engine) dscp() uint8 { return uint8(e.cfg.DSCP) << 2 }

// changeECN is called when no header is waiting, since those written before
// count on the old bits. Should the host refuse, entries go on naming theirs.
func (e *Engine) changeECN(s *socket) {
	s.otherRun = 0
	fd, class := int(s.fd), int(e.dscp()|s.otherECN)
	if s.family == unix.AF_INET6 {
		if e.sys.setsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, class) != nil {
			return
		}
	}
	// An IPv6 socket needs both: this one is for the IPv4 addresses that it maps.
	if e.sys.setsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, class) != nil {
		if s.family == unix.AF_INET6 {
			_ = e.sys.setsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(e.dscp()|s.ecn))
		}
		return
	}
	s.ecn = s.otherECN
}

// flush sends the first n headers. Unless it ends with flushDone, at becomes
// the position of the piece that it ended at.
func (e *Engine) flush(s *socket, n int, at *position) flushEnd {
	retries := 0
	for i := 0; i < n; {
		e.stats.WriteCalls++
		got, errno := e.sys.sendmmsg(int(s.fd), &e.tx.hdrs[i], n-i)
		if errno == 0 && got > 0 {
			e.stats.ICMPErrors += uint64(retries)
			retries = 0
			for _, p := range e.tx.pieces[i : i+got] {
				e.stats.WriteEntries++
				e.stats.WriteSegments += uint64(p.segments)
				e.stats.WriteBytes += uint64(p.to - p.from)
			}
			i += got
			continue
		}
		p := &e.tx.pieces[i]
		switch {
		case errno == unix.EAGAIN:
			*at = position{p.out, p.from}
			return flushBlocked
		case errno == unix.EINTR:
		case s.connected && mayBeOld(errno) && retries < maxRetries:
			retries++
		case p.segments > 1 && suspectsOffload(errno):
			*at = position{p.out, p.from}
			return flushNoOffload
		default:
			e.giveUp(errno, p.segments)
			i++
			retries = 0
		}
	}
	return flushDone
}

// suspectsOffload reports whether an error may mean that the way to the peer
// does not bear segmentation offload: EIO comes from a device without checksum
// offload and from IPsec, EINVAL and ENOPROTOOPT from kernels without it.
func suspectsOffload(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EINVAL || errno == unix.ENOPROTOOPT
}

// mayBeOld reports whether an error may come from an ICMP message, which the
// kernel reports with the next call on a connected socket: then it speaks of an
// earlier datagram, or of none if the message is forged, and the present one has
// not been tried. Only an error that comes again belongs to it. ENOPROTOOPT is
// among them, so that nobody can switch segmentation off by ICMP.
func mayBeOld(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EMSGSIZE, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENONET, unix.EACCES, unix.EPROTO, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		return true
	}
	return false
}

// probeSegment sends the one segment at a position by itself, after the kernel
// refused its piece, and moves the position on. If the segment goes,
// segmentation was at fault and is switched off for good. If it does not, the
// fault lies elsewhere (a segment larger than the MTU gives EINVAL on older
// kernels, a local address that is gone does on all) and the entry is given up:
// no peer shall be able to switch segmentation off.
func (e *Engine) probeSegment(s *socket, outs []Out, at *position) (blocked bool) {
	o := &outs[at.out]
	end := min(at.off+o.Segment, len(o.Data))
	e.single[0] = *o
	e.single[0].Data, e.single[0].Segment = o.Data[at.off:end], 0
	before := e.stats.WriteSegments
	n, _ := e.build(s, e.single[:], position{}, false)
	var ended position
	if e.flush(s, n, &ended) == flushBlocked {
		return true
	}
	if e.stats.WriteSegments == before {
		if rest := len(o.Data) - end; rest > 0 {
			e.giveUp(e.lastErrno, segmentsOf(rest, o.Segment))
		}
		*at = position{out: at.out + 1}
		return false
	}
	e.gso, e.stats.GSO = false, false
	e.stats.Demotions++
	if at.off = end; end == len(o.Data) {
		*at = position{out: at.out + 1}
	}
	return false
}

// giveUp counts what will not be sent.
func (e *Engine) giveUp(errno unix.Errno, segments int) {
	e.lastErrno = errno
	switch errno {
	case unix.ENOBUFS, unix.ENOMEM:
		e.stats.WriteLost += uint64(segments)
	case unix.EMSGSIZE:
		e.stats.WriteTooLarge += uint64(segments)
	default:
		e.stats.WriteRefused += uint64(segments)
	}
}

func (e *Engine) refuse(outs []Out) {
	for i := range outs {
		if len(outs[i].Data) > 0 {
			e.stats.WriteRefused += uint64(segmentsOf(len(outs[i].Data), outs[i].Segment))
		}
	}
}

// group brings the entries of each socket together, keeping their order. Most
// often they are so already: a connection's train is built at one go.
func (e *Engine) group(outs []Out) {
	e.stamp++
	last := noSocket
	for i := range outs {
		n := outs[i].Socket
		if n == last || int(n) >= len(e.socks) {
			continue
		}
		if e.socks[n].stamp == e.stamp {
			slices.SortStableFunc(outs, func(a, b Out) int { return cmp.Compare(a.Socket, b.Socket) })
			return
		}
		e.socks[n].stamp = e.stamp
		last = n
	}
}

// rotate moves the first n entries behind the others.
func rotate(outs []Out, n int) {
	slices.Reverse(outs[:n])
	slices.Reverse(outs[n:])
	slices.Reverse(outs)
}
