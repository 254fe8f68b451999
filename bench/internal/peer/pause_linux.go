package peer

import (
	"runtime"
	"syscall"
	"time"
)

const (
	prSetTimerSlack = 29 // PR_SET_TIMERSLACK of linux/prctl.h

	longestPause = 10 * time.Millisecond
)

// pauser takes a thread for itself, whose sleeps end on time: those of Go's timers
// end up to a millisecond later. done gives the thread back.
func pauser() (pause func(time.Duration), done func()) {
	runtime.LockOSThread()
	_, _, _ = syscall.Syscall6(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0, 0, 0, 0)
	return func(d time.Duration) {
		if d <= 0 {
			runtime.Gosched()
			return
		}
		t := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&t, nil)
	}, runtime.UnlockOSThread
}
