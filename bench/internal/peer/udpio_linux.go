package peer

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of one train: what UDP_SEGMENT cuts on any kernel that has it, and the
// payload of the largest UDP packet.
const (
	mostSegments = 64
	mostTrain    = 65_507
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// control has room for one control message: the segment size of a train.
type control [4]uint64

// inbox is the memory that datagrams are received into.
type inbox struct {
	slot    int
	buf     []byte
	names   []unix.RawSockaddrInet4
	control []control // nil without UDP_GRO
	iovs    []unix.Iovec
	msgs    []mmsghdr
}

func newInbox(u rawUDP, batch int) *inbox {
	in := &inbox{slot: 2 << 10, names: make([]unix.RawSockaddrInet4, batch), iovs: make([]unix.Iovec, batch), msgs: make([]mmsghdr, batch)}
	if u.trains {
		in.slot = 64 << 10
		in.control = make([]control, batch)
	}
	in.buf = make([]byte, batch*in.slot)
	for i := range in.msgs {
		in.iovs[i].Base = &in.buf[i*in.slot]
		in.iovs[i].SetLen(in.slot)
		h := &in.msgs[i].hdr
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
	}
	return in
}

// receive takes the datagrams that are there, or waits for the first one. n is 0 if
// there is none. A call that may wait tells Go's scheduler; one that does not is as
// cheap as in C.
func (in *inbox) receive(fd int, wait bool) (n int, errno unix.Errno) {
	if len(in.msgs) == 1 {
		return in.receive1(fd, wait)
	}
	for i := range in.msgs {
		h := &in.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet4
		if in.control != nil {
			h.Control = (*byte)(unsafe.Pointer(&in.control[i]))
			h.SetControllen(len(in.control[i]) * 8)
		}
	}
	var got uintptr
	p, most := uintptr(unsafe.Pointer(&in.msgs[0])), uintptr(len(in.msgs))
	if wait {
		got, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), p, most, unix.MSG_WAITFORONE, 0, 0)
	} else {
		got, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), p, most, unix.MSG_DONTWAIT, 0, 0)
	}
	if errno != 0 {
		return 0, passing(errno)
	}
	return int(got), 0
}

func (in *inbox) receive1(fd int, wait bool) (n int, errno unix.Errno) {
	var got uintptr
	namelen := uint32(unix.SizeofSockaddrInet4)
	buf, name := uintptr(unsafe.Pointer(&in.buf[0])), uintptr(unsafe.Pointer(&in.names[0]))
	if wait {
		got, _, errno = unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), buf, uintptr(in.slot), 0, name, uintptr(unsafe.Pointer(&namelen)))
	} else {
		got, _, errno = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), buf, uintptr(in.slot), unix.MSG_DONTWAIT, name, uintptr(unsafe.Pointer(&namelen)))
	}
	if errno != 0 {
		return 0, passing(errno)
	}
	in.msgs[0].len = uint32(got)
	return 1, 0
}

// passing is errno, unless it only says that there is nothing now.
func passing(errno unix.Errno) unix.Errno {
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0
	}
	return errno
}

// datagram returns what slot i received: one message, or a train of messages of
// size bytes each, of which the last may be shorter.
func (in *inbox) datagram(i int) (p []byte, size int, from *unix.RawSockaddrInet4) {
	m := &in.msgs[i]
	p = in.buf[i*in.slot:][:m.len]
	size = len(p)
	if in.control != nil && m.hdr.Controllen >= unix.SizeofCmsghdr {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&in.control[i]))
		if c.Level == unix.SOL_UDP && c.Type == unix.UDP_GRO {
			size = int(*(*int32)(unsafe.Pointer(uintptr(unsafe.Pointer(c)) + uintptr(unix.CmsgLen(0)))))
		}
	}
	return p, size, &in.names[i]
}

// outbox is what is to be sent.
type outbox struct {
	batch  int
	trains bool
	fds    []int // of connections; a server has one

	buf   []byte
	queue []train
	sent  int // of queue

	control []control
	iovs    []unix.Iovec
	msgs    []mmsghdr
}

// train is one message, or equal ones side by side, of which the last may be shorter.
type train struct {
	conn     int32
	count    int32
	to       unix.RawSockaddrInet4 // zero if the socket is connected
	from     int                   // in outbox.buf
	len      int
	size     int // of a message
	complete bool
}

func newOutbox(u rawUDP) *outbox {
	o := &outbox{batch: u.batch, trains: u.trains, iovs: make([]unix.Iovec, u.batch), msgs: make([]mmsghdr, u.batch)}
	if u.trains {
		o.control = make([]control, u.batch)
	}
	return o
}

// add queues what has been appended to buf since it was from bytes long.
func (o *outbox) add(conn int, to *unix.RawSockaddrInet4, from int) {
	n := len(o.buf) - from
	if o.trains && len(o.queue) > o.sent {
		t := &o.queue[len(o.queue)-1]
		if t.conn == int32(conn) && t.to == *to && !t.complete && n <= t.size && t.count < mostSegments && t.len+n <= mostTrain {
			t.len += n
			t.count++
			t.complete = n < t.size
			return
		}
	}
	o.queue = append(o.queue, train{conn: int32(conn), count: 1, to: *to, from: from, len: n, size: n})
}

// flush sends what is queued. blocked says that a socket has no room for the rest.
func (o *outbox) flush() (blocked bool, errno unix.Errno) {
	for o.sent < len(o.queue) {
		var n int
		if o.batch == 1 {
			n, errno = o.send1(&o.queue[o.sent])
		} else {
			n, errno = o.sendRun()
		}
		if errno != 0 {
			return errno == unix.EAGAIN || errno == unix.ENOBUFS, errno
		}
		o.sent += n
	}
	o.queue, o.buf, o.sent = o.queue[:0], o.buf[:0], 0
	return false, 0
}

func (o *outbox) send1(t *train) (n int, errno unix.Errno) {
	var to, tolen uintptr
	if t.to.Family != 0 {
		to, tolen = uintptr(unsafe.Pointer(&t.to)), unix.SizeofSockaddrInet4
	}
	_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(o.fds[t.conn]), uintptr(unsafe.Pointer(&o.buf[t.from])), uintptr(t.len), unix.MSG_DONTWAIT, to, tolen)
	return 1, errno
}

// sendRun sends what stands first in the queue and has one socket.
func (o *outbox) sendRun() (n int, errno unix.Errno) {
	queue := o.queue[o.sent:]
	for n < len(queue) && n < o.batch && queue[n].conn == queue[0].conn {
		t := &queue[n]
		o.iovs[n].Base = &o.buf[t.from]
		o.iovs[n].SetLen(t.len)
		h := &o.msgs[n].hdr
		h.Iov = &o.iovs[n]
		h.SetIovlen(1)
		h.Name, h.Namelen = nil, 0
		if t.to.Family != 0 {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&t.to)), unix.SizeofSockaddrInet4
		}
		h.Control = nil
		h.SetControllen(0)
		if t.count > 1 {
			o.segment(n, uint16(t.size))
		}
		n++
	}
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(o.fds[queue[0].conn]), uintptr(unsafe.Pointer(&o.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(sent), errno
}

// segment asks the kernel to cut what slot n sends into messages of size bytes.
func (o *outbox) segment(n int, size uint16) {
	c := (*unix.Cmsghdr)(unsafe.Pointer(&o.control[n]))
	c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(uintptr(unsafe.Pointer(c)) + uintptr(unix.CmsgLen(0)))) = size
	h := &o.msgs[n].hdr
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
}
