package shard

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

// sleeper is a socket that nothing comes from. Its Wait takes the processor along, as a system call does until the runtime notices.
type sleeper struct {
	wake   chan struct{}
	asleep func()
}

func (s *sleeper) Read(*udp.ReadBatch) int             { return 0 }
func (s *sleeper) Write(b *udp.WriteBatch) (int, bool) { return len(b.Outs), false }
func (s *sleeper) Connect(udp.Addr) (uint32, error)    { return 0, nil }
func (s *sleeper) CloseSocket(uint32)                  {}
func (s *sleeper) LocalAddr() udp.Addr                 { return udp.Addr{} }
func (s *sleeper) Stats() udp.Stats                    { return udp.Stats{} }
func (s *sleeper) Close() error                        { return nil }
func (s *sleeper) Wait(mono.Time, mono.Duration) {
	s.asleep()
	<-s.wake
}

func (s *sleeper) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// TestWhoWasWokenRunsBeforeTheShardSleeps: with one processor, a goroutine that a cycle has started or woken would wait for as long as the
// shard's thread sleeps, or until the runtime notices that it does.
func TestWhoWasWokenRunsBeforeTheShardSleeps(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var started, ran, late atomic.Int64
	socket := &sleeper{wake: make(chan struct{}, 1)}
	socket.asleep = func() {
		if ran.Load() != started.Load() {
			late.Add(1)
		}
	}
	s := newWorld(t, 1, func(cfg *Config) { cfg.Socket = socket }).server
	done := make(chan struct{})
	go func() {
		s.Run()
		close(done)
	}()
	const rounds = 100
	for range rounds {
		s.Do(func(mono.Time) {
			started.Add(1)
			go ran.Add(1)
		})
		time.Sleep(100 * time.Microsecond)
	}
	s.Stop()
	<-done
	if started.Load() != rounds {
		t.Fatalf("%d of %d functions ran", started.Load(), rounds)
	}
	if n := late.Load(); n > rounds/10 { // the runtime may let the shard go on first, now and then
		t.Errorf("the shard went to sleep %d times of %d before a goroutine that it had started", n, rounds)
	}
}
