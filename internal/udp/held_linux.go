package udp

import (
	"os"
	"runtime"
	"syscall"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// A sleep that the Go scheduler knows of makes it take the goroutine's processor
// away after 20 µs, if no other is free, and give it to another thread, which
// finds nothing to do. So an engine that waits more than 5,000 times a second
// keeps the processor in its sleeps, like a loop that computes; see
// docs/adr/0011-held-waits.md. What else wants to run has its turn before each
// sleep. The runtime's signals end a sleep when the collector stops the world,
// and where they are off (asyncpreemptoff) maxHeld does.
const (
	briskBelow = 200 * mono.Microsecond // between waits, on average over judgeEvery
	judgeEvery = 25 * mono.Millisecond
	// maxHeld is above the kernel's tick: an earlier timer has to be programmed for
	// each sleep, which costs a guest of a hypervisor as much as serving the datagram.
	maxHeld = 8 * mono.Millisecond
	// turnEvery is how often the scheduler looks at the process's other sockets,
	// which it does by itself only when nothing is ready to run.
	turnEvery = mono.Millisecond
)

// holding decides which waits keep their processor.
type holding struct {
	brisk  bool
	waits  int64     // since judged
	judged mono.Time // when brisk was found out
	turned mono.Time // when the scheduler last looked at other sockets
	gate   *gate
}

// begin reports whether the wait that begins is to be held. If so, other goroutines have had their turn.
func (h *holding) begin(now mono.Time) bool {
	h.judge(now)
	return h.brisk && h.turn(now)
}

// turn lets other goroutines run, and lets the scheduler look at the process's other sockets now and then. It reports false if that is
// not possible.
func (h *holding) turn(now mono.Time) bool {
	if now.Sub(h.turned) < turnEvery {
		runtime.Gosched()
		return h.gate != nil
	}
	h.turned = now
	if h.gate == nil {
		h.gate = newGate()
	}
	return h.gate != nil && h.gate.pass()
}

func (h *holding) judge(now mono.Time) {
	h.waits++
	past := now.Sub(h.judged)
	if past < judgeEvery {
		return
	}
	h.brisk = past < mono.Duration(h.waits)*briskBelow
	h.judged, h.waits = now, 0
}

func (h *holding) close() error {
	if h.gate == nil {
		return nil
	}
	return h.gate.file.Close()
}

// gate is an eventfd that the runtime's poller watches. Who passes it parks until
// the poller has seen it: the scheduler asks the poller when nothing is ready.
type gate struct {
	file    *os.File
	conn    syscall.RawConn
	step    func(fd uintptr) (passed bool)
	entered bool
}

func newGate() *gate {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil // no descriptors are left: waits are as ever
	}
	g := &gate{file: os.NewFile(uintptr(fd), "godwit")}
	if g.conn, err = g.file.SyscallConn(); err != nil {
		_ = g.file.Close()
		return nil
	}
	g.step = func(fd uintptr) bool {
		if g.entered = !g.entered; !g.entered {
			return true
		}
		_, err := unix.Write(int(fd), wakeCount[:])
		return err != nil
	}
	return g
}

// pass reports false if that is not possible.
func (g *gate) pass() bool {
	g.entered = false
	return g.conn.Read(g.step) == nil
}
