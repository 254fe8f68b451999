package peer

import (
	"context"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"godwit.example/godwit/bench/internal/room"
	"golang.org/x/sys/unix"
)

// udpRoom is the server of a room on one thread. It sends all that comes to all: a
// socket has no queue in which a newer state could take an older one's place.
type udpRoom struct {
	app     room.App
	out     *outbox
	members []udpSeat
	index   map[uint64]int // of members, by address and port
	tick    uint64
	next    int64 // when the next tick is due
}

type udpSeat struct {
	to     unix.RawSockaddrInet4
	number uint32
	inputs uint64
}

func (u rawUDP) serveRoom(ctx context.Context, app room.App, ready func(netip.AddrPort, string)) error {
	fd, addr, err := u.openServer(listen)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, done := pauser() // for its thread: ticks come on time
	defer done()
	var over atomic.Bool
	defer context.AfterFunc(ctx, func() { over.Store(true) })()
	r := &udpRoom{app: app, out: newOutbox(u), index: make(map[uint64]int), next: room.Now()}
	r.out.fds = []int{fd}
	in := newInbox(u, u.batch)
	ready(addr, "")
	for !over.Load() {
		// A relay waits for the first message in the call that takes it, an authority until its next tick.
		n, errno := in.receive(fd, app.Relay() && !u.spin)
		if errno != 0 {
			return os.NewSyscallError("receive", errno)
		}
		for i := range n {
			p, size, from := in.datagram(i)
			for len(p) > 0 {
				m := p[:min(size, len(p))]
				p = p[len(m):]
				r.message(from, m)
			}
		}
		var wait time.Duration
		if !app.Relay() {
			wait = r.ticks()
		}
		if err := r.flush(fd, &over); err != nil {
			return err
		}
		if n == 0 && wait > 0 && !u.spin {
			waitReadable(fd, min(wait, longestPause))
		}
	}
	return nil
}

func (r *udpRoom) message(from *unix.RawSockaddrInet4, p []byte) {
	var head room.Header
	if !head.Parse(p) {
		return
	}
	key := uint64(*(*uint32)(unsafe.Pointer(&from.Addr)))<<16 | uint64(from.Port)
	k, known := r.index[key]
	begin := len(r.out.buf)
	switch {
	case head.Kind == room.Hello: // repeated, if the answer was lost
		if !known && len(r.members) < room.MostMembers {
			r.index[key] = len(r.members)
			r.members = append(r.members, udpSeat{to: *from, number: head.Member})
		}
		r.out.buf = append(r.out.buf, p...)
		r.out.add(0, from, begin)
	case !known:
	case r.app.Relay():
		r.out.buf = append(r.out.buf, p...) // once for all
		for i := range r.members {
			if i != k {
				r.out.add(0, &r.members[i].to, begin)
			}
		}
	default:
		r.members[k].inputs++
	}
}

// ticks makes the tick that is due, if one is, and returns how long it is until the next.
func (r *udpRoom) ticks() time.Duration {
	now := room.Now()
	if now >= r.next {
		r.next = max(r.next+int64(r.app.Tick), now)
		r.tick++
		for i := range r.members {
			m := &r.members[i]
			head := room.Header{Kind: room.State, Member: m.number, Seq: r.tick, Time: now, Inputs: m.inputs}
			begin := len(r.out.buf)
			r.out.buf = head.Append(r.out.buf, r.app.State)
			r.out.add(0, &m.to, begin)
		}
	}
	return time.Duration(r.next - now)
}

func (r *udpRoom) flush(fd int, over *atomic.Bool) error {
	for {
		blocked, errno := r.out.flush()
		switch {
		case errno == 0 || over.Load():
			return nil
		case !blocked:
			return os.NewSyscallError("send", errno)
		}
		waitWritable(fd)
	}
}

// waitReadable waits until a socket has received something, for d at most.
func waitReadable(fd int, d time.Duration) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	t := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(fds[:], &t, nil)
}

// udpMembers is the members' end: datagrams carry messages of all kinds alike.
type udpMembers struct{ *udpClient }

func (t udpMembers) Drive(ctx context.Context, m *room.Members) error { return t.drive(ctx, m) }

func (t udpMembers) Send(member int, _ room.Kind, p []byte) bool { return t.udpClient.Send(member, p) }
