package godwit_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"godwit.example/godwit"
)

// allocations runs fn and returns the heap objects that the whole process made for each unit of work, shards included.
func allocations(runs int, units int, fn func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		fn()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(runs*units)
}

func TestEchoedMessagesDoNotAllocate(t *testing.T) {
	const burst = 64
	for _, plain := range []bool{false, true} {
		back := make(chan struct{}, 1)
		n := 0
		e := listen(t, godwit.Config{Handler: echo, Shards: 1, Plain: plain})
		c := dial(t, e, godwit.Config{Plain: plain, Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) {
			if n++; n%burst == 0 {
				back <- struct{}{}
			}
		}}})
		payload := make([]byte, 64)
		round := func() {
			for range burst {
				if err := c.Send(godwit.OrderedChannel, payload); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-back:
			case <-time.After(10 * time.Second):
				t.Fatal("no echo")
			}
		}
		for range 300 {
			round() // queues and buffers grow to what is needed
		}
		// time.After and the scheduler's own objects are part of the figure; a single allocation a message would be fifty times the limit.
		if got := allocations(300, burst, round); got > 0.1 {
			t.Errorf("plain %v: %.3f allocations a message", plain, got)
		}
	}
}

func TestReceivingDoesNotAllocate(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{})
	payload, buf := make([]byte, 64), make([]byte, 0, 256)
	ctx := context.Background()
	round := func() {
		for range 16 {
			if err := c.Send(godwit.UnorderedChannel, payload); err != nil {
				t.Fatal(err)
			}
		}
		for range 16 {
			if _, err := c.Receive(ctx, buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 300 {
		round()
	}
	if got := allocations(300, 16, round); got > 0.1 {
		t.Errorf("%.3f allocations a message", got)
	}
}

func TestRefusedSendsDoNotAllocate(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 1, ReceiveBuffer: 64 << 10, MaxMessageSize: 1000})
	c := dial(t, e, godwit.Config{SendBuffer: 32 << 10})
	for c.Send(0, make([]byte, 1000)) == nil {
	}
	time.Sleep(100 * time.Millisecond)
	payload := make([]byte, 1000)
	for c.Send(0, payload) == nil {
		time.Sleep(time.Millisecond)
	}
	if got := testing.AllocsPerRun(1000, func() { _ = c.Send(0, payload) }); got > 0 {
		t.Errorf("%.3f allocations", got)
	}
}
