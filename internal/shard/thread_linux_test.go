package shard

import (
	"syscall"
	"time"

	"godwit.example/godwit/internal/mono"
)

// threadTime is the processor time of the thread, which others on the machine do not distort as much as they do the clock.
func threadTime() time.Duration {
	var r syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if syscall.Getrusage(thread, &r) != nil {
		return time.Duration(mono.Now())
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
