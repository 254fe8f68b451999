package shard

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
)

func TestThreadDelayGrowsWhileOthersRun(t *testing.T) {
	if text, err := os.ReadFile("/proc/thread-self/schedstat"); err != nil || string(text) == "0 0 0\n" {
		t.Skip("this kernel does not count for how long threads wait for a CPU, or does not tell, and shards sleep then: ", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stop atomic.Bool
	defer stop.Store(true)
	for range runtime.NumCPU() { // more threads than CPUs
		go func() {
			for !stop.Load() { // it computes
			}
		}()
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2 * runtime.NumCPU()))
	was := threadDelay()
	if !was.known {
		t.Fatal("the kernel tells for how long the thread has waited, and it was not read")
	}
	for end := time.Now().Add(10 * time.Second); ; {
		d := threadDelay()
		if d.thread != was.thread {
			t.Fatal("a locked goroutine changed its thread")
		}
		if d.waited > was.waited {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it never waited")
		}
	}
}

func TestDelayIsTheSecondNumber(t *testing.T) {
	for in, want := range map[string]mono.Duration{
		"12 345 6\n": 345, "12 0 6\n": 0, "0 0 1\n": 0,
		"0 0 0\n": -1, // of a kernel that does not count
		"1 2":     -1, "": -1, "1 2 3 4": -1,
	} {
		if d, known := parseDelay([]byte(in)); known != (want >= 0) || known && d != want {
			t.Errorf("%q: %d, %v", in, d, known)
		}
	}
}
