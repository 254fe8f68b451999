package shard

import (
	"syscall"
	"unsafe"

	"godwit.example/godwit/internal/mono"
)

// threadUsage asks the kernel about the calling thread. The times of getrusage may be those of the last timer tick, milliseconds ago;
// the thread's clock is exact.
func threadUsage() usage {
	const clockThreadCPUTime = 3 // CLOCK_THREAD_CPUTIME_ID
	var r syscall.Rusage
	var ts syscall.Timespec
	if syscall.Getrusage(syscall.RUSAGE_THREAD, &r) != nil {
		return usage{}
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return usage{}
	}
	return usage{thread: syscall.Gettid(), cpu: mono.Duration(ts.Nano()), waits: int64(r.Nvcsw), known: true}
}
