package shard

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestThreadDelayGrowsWhileOthersRun(t *testing.T) {
	if !threadDelay().known {
		t.Skip("the kernel does not count for how long threads wait for a CPU")
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

func TestSecondNumber(t *testing.T) {
	for in, want := range map[string]int64{"12 345 6\n": 345, "0 0 0\n": 0, "1 2": -1, "": -1, "1 2 3 4": -1} {
		if n, ok := secondNumber([]byte(in)); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", in, n, ok)
		}
	}
}
