package shard

import (
	"syscall"

	"godwit.example/godwit/internal/mono"
)

// threadUsage asks the kernel about the calling thread.
func threadUsage() usage {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_THREAD, &r) != nil {
		return usage{}
	}
	return usage{
		thread: syscall.Gettid(), cpu: mono.Duration(r.Utime.Nano() + r.Stime.Nano()), waits: int64(r.Nvcsw), known: true,
	}
}
