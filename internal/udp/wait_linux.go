package udp

import (
	"encoding/binary"
	"unsafe"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// preciseBelow is the longest wait for which the thread's timer slack is set to
// a nanosecond first. By default the kernel may end a sleep 50 µs late (or by a
// thousandth of its length, if that is more), which spoils pacing but no
// timeout. Asking costs a system call (0.2-0.3 µs) before a sleep that costs
// more; asking always would be waste, and remembering the answer is no use,
// since a goroutine changes threads and finding out costs as much.
const preciseBelow = mono.Millisecond

// Wait sleeps until a datagram arrives, Wake is called or d has passed; a
// negative d means without end, 0 only looks, after other goroutines have had their
// turn. now is the time, or a little earlier: it tells how often the engine waits.
// Wait may return early for no reason.
func (e *Engine) Wait(now mono.Time, d mono.Duration) {
	if e.closed {
		return
	}
	if d == 0 {
		e.hold.turn(now)
	}
	if d == 0 || e.wakePending.Load() || e.ready.len() > 0 || e.moreEvents {
		e.wait(0, true) // it cannot sleep
		return
	}
	e.stats.Waits++
	held := e.hold.begin(now)
	if held {
		e.stats.HeldWaits++
		if d < 0 || d > maxHeld {
			d = maxHeld
		}
	}
	if d > 0 && d < preciseBelow {
		e.sys.timerSlack(1)
	}
	e.wait(d, held)
}

func (e *Engine) wait(d mono.Duration, held bool) {
	if e.epfd >= 0 {
		e.waitMany(d, held)
	} else {
		e.waitOne(d, held)
	}
}

func (e *Engine) waitOne(d mono.Duration, held bool) {
	n := 2
	if e.only == noSocket {
		n = 1
	}
	e.fds[0].Revents, e.fds[1].Revents = 0, 0
	got, errno := e.sys.ppoll(&e.fds[0], n, e.timespec(d), held)
	if errno != 0 {
		got = 0
	}
	if got > 0 && e.fds[0].Revents != 0 {
		e.drainWake()
	}
	e.idle = errno == 0 && e.fds[1].Revents == 0
}

func (e *Engine) timespec(d mono.Duration) *unix.Timespec {
	if d < 0 {
		return nil
	}
	e.timeout = unix.NsecToTimespec(int64(d))
	return &e.timeout
}

func (e *Engine) waitMany(d mono.Duration, held bool) {
	events, n := unsafe.SliceData(e.events), len(e.events)
	var got int
	var errno unix.Errno
	switch {
	case d == 0:
		got, errno = e.sys.epollPoll(e.epfd, events, n)
	case e.oldKernel:
		got, errno = e.waitOld(d, held)
	default:
		timeout := (*kernelTimespec)(nil)
		if d > 0 {
			e.pollTimeout = kernelTimespec{sec: int64(d / mono.Second), nsec: int64(d % mono.Second)}
			timeout = &e.pollTimeout
		}
		got, errno = e.sys.epollPwait2(e.epfd, events, n, timeout, held)
		if errno == unix.ENOSYS || errno == unix.EPERM {
			// Older than Linux 5.11, or a container's filter that is.
			e.oldKernel = true
			got, errno = e.waitOld(d, held)
		}
	}
	if errno != 0 {
		got = 0
	}
	e.noteEvents(got)
	e.idle = errno == 0 && e.ready.len() == 0 && !e.moreEvents
}

// waitOld sleeps on the epoll descriptor itself, for epoll_pwait knows
// milliseconds only.
func (e *Engine) waitOld(d mono.Duration, held bool) (int, unix.Errno) {
	if _, errno := e.sys.ppoll(&e.epollFD[0], 1, e.timespec(d), held); errno != 0 {
		return 0, errno
	}
	return e.sys.epollPoll(e.epfd, unsafe.SliceData(e.events), len(e.events))
}

// noteEvents queues the sockets that epoll reported in the first n events.
func (e *Engine) noteEvents(n int) {
	e.moreEvents = n == len(e.events)
	for i := range max(n, 0) {
		v := e.events[i].Fd
		if v == eventfdMark {
			// Edge-triggered: the next write reports it again, unread.
			e.wakePending.Store(false)
			continue
		}
		if s := &e.socks[v]; s.fd >= 0 && !s.queued {
			s.queued = true
			e.ready.push(uint32(v))
		}
	}
}

// drainWake makes the eventfd unreadable again. The flag falls afterwards: a
// Wake that comes between is already answered, since Wait returns.
func (e *Engine) drainWake() {
	_, _ = unix.Read(e.eventfd, e.wakeCount[:])
	e.wakePending.Store(false)
}

// wakeCount is the number 1, as eventfd(2) wants it: a client's eventfd is never
// read, so its 64-bit counter must grow by no more.
var wakeCount = func() (b [8]byte) {
	binary.NativeEndian.PutUint64(b[:], 1)
	return b
}()

// Wake makes the current Wait, or else the next one, return at once. Any
// goroutine may call it. What was written before Wake is seen after Wait.
func (e *Engine) Wake() {
	if e.wakePending.Swap(true) {
		return // one is under way already
	}
	e.wakeMu.Lock()
	defer e.wakeMu.Unlock()
	if e.closed {
		return
	}
	e.wakes.Add(1)
	_, _ = unix.Write(e.eventfd, wakeCount[:])
}
