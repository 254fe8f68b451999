package godwit_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
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

// mostAllocations is the limit of heap objects, of both ends together, for each datagram's worth of a message. What is left is not made for
// messages: now and then a queue or a set of buffers grows because more was under way at once than ever before, which losses make likelier, and
// the runtime makes a few objects of its own, such as those of a goroutine that parks. An object a message would be far above it.
const (
	mostAllocations = 0.01
	mostUnderLoss   = 0.05
)

// pieces is how many datagrams a message fills, at least.
func pieces(size int) int { return 1 + size/1400 }

func TestEchoedMessagesDoNotAllocate(t *testing.T) {
	lossy := &godwit.Impair{Send: godwit.Link{Loss: 0.01}, Receive: godwit.Link{Loss: 0.01}, Seed: 1}
	for _, c := range []struct {
		name    string
		channel godwit.Channel
		size    int
		burst   int
		impair  *godwit.Impair
		plain   bool
	}{
		{"ordered", godwit.OrderedChannel, 64, 64, nil, false},
		{"ordered, plain", godwit.OrderedChannel, 64, 64, nil, true},
		{"unordered", godwit.UnorderedChannel, 64, 64, nil, false},
		{"latest", godwit.LatestChannel, 64, 64, nil, false},
		{"sequenced", godwit.SequencedChannel, 64, 64, nil, false},
		{"unreliable", godwit.UnreliableChannel, 64, 64, nil, false},
		{"ordered fragments", godwit.OrderedChannel, 20_000, 4, nil, false},
		{"unordered fragments", godwit.UnorderedChannel, 5000, 8, nil, false},
		{"latest fragments", godwit.LatestChannel, 5000, 8, nil, false},
		{"sequenced fragments", godwit.SequencedChannel, 5000, 8, nil, false},
		{"unreliable fragments", godwit.UnreliableChannel, 5000, 8, nil, false},
		{"ordered, 1 % lost", godwit.OrderedChannel, 64, 64, lossy, false},
		{"unordered, 1 % lost", godwit.UnorderedChannel, 64, 64, lossy, false},
		{"latest, 1 % lost", godwit.LatestChannel, 64, 64, lossy, false},
		{"sequenced, 1 % lost", godwit.SequencedChannel, 64, 64, lossy, false},
		{"unreliable, 1 % lost", godwit.UnreliableChannel, 64, 64, lossy, false},
		{"ordered fragments, 1 % lost", godwit.OrderedChannel, 20_000, 4, lossy, false},
		{"unordered fragments, 1 % lost", godwit.UnorderedChannel, 5000, 8, lossy, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRounds(t, c.channel, c.size, c.burst, godwit.Config{Plain: c.plain, Impair: c.impair})
			for range 200 {
				r.round() // queues and buffers grow to what is needed
			}
			echoed := r.echoed.Load()
			limit := mostAllocations
			if c.impair != nil {
				limit = mostUnderLoss
			}
			if got := allocations(200, c.burst*pieces(c.size), r.round); got > limit {
				t.Errorf("%.4f allocations a datagram, more than %g", got, limit)
			}
			if n := r.echoed.Load() - echoed; int(n) < 200*c.burst/2 {
				t.Errorf("only %d messages of %d came back", n, 200*c.burst)
			}
		})
	}
}

// rounds sends bursts to an echo, and with each a message that is repeated until it is back.
type rounds struct {
	t       *testing.T
	conn    godwit.Conn
	channel godwit.Channel
	payload []byte
	burst   int
	last    chan struct{}
	echoed  atomic.Uint64
}

// lastChannel is one that no test of a mode uses, ordered by default.
const lastChannel godwit.Channel = 9

func newRounds(t *testing.T, ch godwit.Channel, size, burst int, cfg godwit.Config) *rounds {
	r := &rounds{t: t, channel: ch, payload: make([]byte, size), burst: burst, last: make(chan struct{}, 1)}
	e := listen(t, godwit.Config{Shards: 1, Plain: cfg.Plain, Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		_ = c.SendMessage(godwit.Message{Channel: m.Channel, Key: m.Key, Payload: m.Payload}) // unreliable ones may find no room
	}}})
	cfg.Handler.Message = func(_ godwit.Conn, m godwit.Message) {
		if m.Channel == lastChannel {
			r.last <- struct{}{}
			return
		}
		r.echoed.Add(1)
	}
	cfg.Handler.Close = func(_ godwit.Conn, err error) { close(r.last) }
	r.conn = dial(t, e, cfg)
	return r
}

// round needs no timer of its own, which would be an allocation: a connection that is stuck ends, and with it the wait.
func (r *rounds) round() {
	for i := range r.burst {
		m := godwit.Message{Channel: r.channel, Payload: r.payload}
		if r.channel == godwit.LatestChannel {
			m.Key = uint64(i)
		}
		err := r.conn.SendMessage(m)
		for errors.Is(err, godwit.ErrWouldBlock) { // what was lost is still on its way
			time.Sleep(time.Millisecond)
			err = r.conn.SendMessage(m)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.conn.Send(lastChannel, r.payload[:1]); err != nil {
		r.t.Fatal(err)
	}
	if _, ok := <-r.last; !ok {
		r.t.Fatal(r.conn.Err())
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
	if got := allocations(300, 16, round); got > mostAllocations {
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
