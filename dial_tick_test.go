package godwit_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
)

// alone notices functions that run at the same time.
type alone struct {
	busy       atomic.Int32
	overlapped atomic.Bool
}

func (a *alone) run() {
	if a.busy.Add(1) != 1 {
		a.overlapped.Store(true)
	}
	time.Sleep(20 * time.Microsecond) // so that two goroutines would meet here, even on one processor
	a.busy.Add(-1)
}

// TestDialsWithOneTickRunOnOneGoroutine holds the promise that load generators and game clients build on: with one Config, everything
// that the handler is called for comes from one shard, so it needs no lock.
func TestDialsWithOneTickRunOnOneGoroutine(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 2})
	var shards sync.Map
	var one alone
	var back atomic.Uint64
	cfg := godwit.Config{TickInterval: time.Millisecond, Handler: godwit.Handler{
		Tick: func(s *godwit.Shard, _ time.Time) {
			shards.Store(s, true)
			one.run()
		},
		Message: func(godwit.Conn, godwit.Message) {
			one.run()
			back.Add(1)
		},
	}}
	conns := make([]godwit.Conn, 32)
	var dialing sync.WaitGroup
	for i := range conns {
		dialing.Go(func() {
			c, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), &cfg)
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
		})
	}
	dialing.Wait()
	for range 20 {
		for _, c := range conns {
			_ = c.Send(0, []byte("to be counted"))
		}
		time.Sleep(time.Millisecond)
	}
	waitFor(t, 10*time.Second, "every message is back", func() bool { return back.Load() == 20*32 })
	if one.overlapped.Load() {
		t.Error("two functions of one handler ran at the same time")
	}
	if n := count(&shards); n != 1 {
		t.Errorf("one Tick is called by %d shards", n)
	}
	other := cfg
	other.Handler.Tick = func(s *godwit.Shard, _ time.Time) { shards.Store(s, true) }
	conns = append(conns, dial(t, e, other))
	waitFor(t, 5*time.Second, "another Tick has a shard of its own", func() bool { return count(&shards) == 2 })
	for _, c := range conns {
		_ = c.CloseWithError(0, "")
		<-c.Done()
	}
}

func count(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}
