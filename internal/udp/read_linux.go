package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	groEntries = 16
	entrySize  = 2 << 10
	entries    = 64
	// readDepth is how many entries a ready client socket is offered at least:
	// one datagram a call would cost a system call each.
	readDepth = 8
	// stagger keeps the beginnings of the entries in different sets of the
	// first-level cache, which repeat every 4 KiB.
	stagger = 5 * 64
	// maxReadErrors bounds how many errors one Read passes over. It must pass
	// over them: they do not tell whether datagrams wait behind them, and epoll
	// would not report those again.
	maxReadErrors = 16
)

// rxSlab is the memory that recvmmsg writes to: one mapping outside the Go
// heap, whose pages exist from their first use on, and the headers that point
// into it.
type rxSlab struct {
	engine *Engine
	memory []byte
	hdrs   []mmsghdr
	iovs   []unix.Iovec
	names  []unix.RawSockaddrInet6 // nil if all sockets are connected
	ctls   []rxControl
}

func (e *Engine) newSlab() *rxSlab {
	size, n := entrySize, entries
	if e.cfg.MaxDatagram > 0 {
		size = (e.cfg.MaxDatagram + 63) &^ 63
	}
	if e.gro {
		size, n = groEntry, groEntries
	}
	if e.cfg.ReadEntries > 0 {
		n = e.cfg.ReadEntries
	}
	stride := size + stagger
	memory, err := unix.Mmap(-1, 0, n*stride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		memory = make([]byte, n*stride)
	} else {
		// A huge page would make untouched entries resident.
		_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	}
	s := &rxSlab{
		engine: e, memory: memory,
		hdrs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n),
		ctls: make([]rxControl, n),
	}
	if !e.cfg.Client || e.cfg.Shared || e.cfg.Bound.IsValid() {
		s.names = make([]unix.RawSockaddrInet6, n)
	}
	for i := range s.hdrs {
		s.iovs[i].Base = &memory[i*stride]
		s.iovs[i].SetLen(size)
		h := &s.hdrs[i].hdr
		h.Iov = &s.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&s.ctls[i]))
		s.rearm(i)
	}
	return s
}

// rearm makes an entry's header ready for the next call, which overwrites the
// lengths.
func (s *rxSlab) rearm(i int) {
	h := &s.hdrs[i].hdr
	if s.names != nil {
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Namelen = sizeofInet6
	}
	h.SetControllen(int(unsafe.Sizeof(rxControl{})))
}

func (s *rxSlab) free() {
	// What was not mapped, because the host refused, is the collector's.
	_ = unix.Munmap(s.memory)
	s.memory = nil
}

func (s *rxSlab) trim() { _ = unix.Madvise(s.memory, unix.MADV_DONTNEED) }

// Read fills the batch with what has arrived and gives the number of entries;
// it never blocks. A server asks its socket once. A client with many sockets
// goes through those that Wait found ready, in turn, and asks which are ready
// itself when it knows of none.
func (e *Engine) Read(b *ReadBatch) int {
	b.N, b.More = 0, false
	if e.closed {
		return 0
	}
	s, ok := b.slab.(*rxSlab)
	if !ok || s.engine != e {
		b.Free()
		s = e.newSlab()
		b.slab = s
		b.Datagrams = make([]Datagram, len(s.hdrs))
	}
	limit := len(s.hdrs)
	if b.Limit > 0 && b.Limit < limit {
		limit = b.Limit
	}
	if e.epfd >= 0 {
		e.readReady(b, s, limit)
		return b.N
	}
	if e.idle || e.only == noSocket {
		e.idle = false
		return 0
	}
	b.More = e.readSocket(b, s, e.only, 0, limit) == limit
	return b.N
}

// readReady drains ready sockets until the slab is nearly full. A socket that
// filled its share goes to the end of the queue; one that did not is empty, and
// epoll reports it when that changes.
func (e *Engine) readReady(b *ReadBatch, s *rxSlab, limit int) {
	if e.ready.len() == 0 {
		if e.idle {
			e.idle = false
			return
		}
		n, _ := e.sys.epollPoll(e.epfd, unsafe.SliceData(e.events), len(e.events))
		e.noteEvents(n)
	}
	depth := min(readDepth, limit)
	for used := 0; limit-used >= depth && e.ready.len() > 0; {
		n := e.ready.pop()
		e.socks[n].queued = false
		if e.socks[n].fd < 0 {
			continue
		}
		got := e.readSocket(b, s, n, used, limit)
		if got == limit-used {
			e.socks[n].queued = true
			e.ready.push(n)
		}
		used += got
	}
	b.More = e.ready.len() > 0 || e.moreEvents
}

// readSocket reads into the slab's entries from..limit and gives how many it
// used.
func (e *Engine) readSocket(b *ReadBatch, s *rxSlab, n uint32, from, limit int) int {
	sock := &e.socks[n]
	for range maxReadErrors {
		e.stats.ReadCalls++
		got, errno := e.sys.recvmmsg(int(sock.fd), &s.hdrs[from], limit-from)
		switch errno {
		case 0:
			for i := from; i < from+got; i++ {
				e.take(b, s, sock, n, i)
			}
			return got
		case unix.EAGAIN:
			return 0
		}
		switch {
		case errno == unix.EINTR:
		case sock.connected && mayBeOld(errno):
			e.stats.ICMPErrors++
		default:
			e.stats.ReadErrors++
		}
	}
	return 0
}

// take turns the slab's entry i into the batch's next datagram.
func (e *Engine) take(b *ReadBatch, s *rxSlab, sock *socket, n uint32, i int) {
	m := &s.hdrs[i]
	d := &b.Datagrams[b.N]
	d.Data = unsafe.Slice(s.iovs[i].Base, int(m.n))
	d.Segment, d.ECN, d.Socket, d.Local = 0, 0, n, sock.local
	drops := s.ctls[i].parse(int(m.hdr.Controllen), d, sock.drops)
	e.stats.KernelDrops += uint64(drops - sock.drops)
	sock.drops = drops
	if sock.connected {
		d.Remote = sock.remote
	} else {
		d.Remote.setRaw(&s.names[i])
	}
	truncated := m.hdr.Flags&unix.MSG_TRUNC != 0
	s.rearm(i)
	if truncated {
		e.stats.Truncated++
		return
	}
	segments := 1
	if d.Segment <= 0 || d.Segment >= len(d.Data) {
		d.Segment = 0
	} else {
		segments = (len(d.Data) + d.Segment - 1) / d.Segment
	}
	e.stats.ReadEntries++
	e.stats.ReadSegments += uint64(segments)
	e.stats.ReadBytes += uint64(len(d.Data))
	b.N++
}
