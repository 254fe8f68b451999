package load

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/mono"
)

// clients is the library itself as a transport. All connections share one shard,
// whose goroutine runs the generator: nothing is handed from one goroutine to
// another on the way of a message.
type clients struct {
	cfg   *Config
	lib   godwit.Config
	conns []godwit.Conn

	// l is set when the load begins and unset when it is over.
	l     atomic.Pointer[Load]
	ended chan struct{}
	err   error // why, if it is not because the generator has finished
	shard atomic.Pointer[godwit.Shard]

	due mono.Time // when the generator wants its next turn; owned by the shard
}

const (
	dialsAtOnce  = 32
	longestTick  = 10 * time.Millisecond
	shortestTick = 10 * time.Microsecond
)

func newClients(c *Config) (*clients, error) {
	t := &clients{cfg: c, ended: make(chan struct{})}
	if c.Client != nil {
		t.lib = *c.Client
	}
	t.lib.Handler = godwit.Handler{
		Open:     func(godwit.Conn) error { return nil },
		Message:  t.message,
		Writable: func(godwit.Conn) { t.turn(mono.Now()) },
		Tick:     t.tick,
		Close:    t.closed,
	}
	t.lib.TickInterval = tickInterval(c.Rate)
	t.lib.Tuning.Spin = c.spin()
	return t, nil
}

// tickInterval divides the time between two messages, so that the ticks fall on
// the times at which messages are due.
func tickInterval(rate float64) time.Duration {
	if rate == 0 {
		return longestTick
	}
	period := time.Duration(float64(time.Second) / rate)
	parts := (period + longestTick - 1) / longestTick
	return max(period/max(parts, 1), shortestTick)
}

func orderOf(m godwit.Mode) order {
	switch m {
	case godwit.Ordered:
		return inOrder
	case godwit.Latest, godwit.Sequenced:
		return newerOnly
	default:
		return anyOrder
	}
}

// Connect dials from several goroutines, because a handshake is a few round trips
// and some computing on both sides.
func (t *clients) Connect(ctx context.Context, connections int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.conns = make([]godwit.Conn, connections)
	var next atomic.Int64
	var dialing sync.WaitGroup
	for range min(dialsAtOnce, len(t.conns)) {
		dialing.Go(func() {
			for ctx.Err() == nil {
				k := int(next.Add(1)) - 1
				if k >= len(t.conns) {
					return
				}
				c, err := godwit.Dial(ctx, t.cfg.Addr, &t.lib)
				if err != nil {
					cancel(errConnection(k, err))
					return
				}
				c.SetTag(uint64(k))
				t.conns[k] = c
			}
		})
	}
	dialing.Wait()
	return context.Cause(ctx)
}

func (t *clients) Drive(ctx context.Context, l *Load) error {
	t.l.Store(l)
	select {
	case <-t.ended:
		return t.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Send is called by the generator, on the shard.
func (t *clients) Send(k int, p []byte) bool {
	err := t.conns[k].Send(t.cfg.Channel, p)
	if err == nil {
		return true
	}
	if !errors.Is(err, godwit.ErrWouldBlock) {
		t.end(errConnection(k, err))
	}
	return false
}

// tick is called by the shard of the connections. They have equal configuration, so
// there is one; if there were two, both would run the generator.
func (t *clients) tick(s *godwit.Shard, _ time.Time) {
	if !t.shard.CompareAndSwap(nil, s) && t.shard.Load() != s {
		t.end(errors.New("load: the connections do not share one shard"))
		return
	}
	t.turn(mono.Now())
}

// turn gives the generator its turn. It runs on the shard.
func (t *clients) turn(now mono.Time) {
	l := t.l.Load()
	if l == nil {
		return
	}
	next, done := l.turn(now)
	t.due = next
	if done {
		t.end(nil)
	}
}

func (t *clients) message(c godwit.Conn, m godwit.Message) {
	l := t.l.Load()
	if l == nil {
		return
	}
	now := mono.Now()
	l.g.message(int(c.Tag()), m.Payload, now)
	if now >= t.due {
		t.turn(now)
	}
}

func (t *clients) closed(c godwit.Conn, err error) {
	if t.l.Load() != nil {
		t.end(errConnection(int(c.Tag()), err))
	}
}

// end takes the generator out of use, once. It runs on the shard.
func (t *clients) end(err error) {
	if t.l.Swap(nil) != nil {
		t.err = err
		close(t.ended)
	}
}

// packets reads the figures of the engine that all connections share.
func (t *clients) packets() (packetCounts, bool) {
	st := t.conns[0].Endpoint().Stats()
	return packetCounts{
		Packets: st.PacketsSent, Lost: st.PacketsLost, Messages: st.MessagesSent, Repeated: st.MessagesRetransmitted,
	}, true
}

func (t *clients) remote() netip.Addr { return t.conns[0].RemoteAddr().Addr() }

func (t *clients) Close() {
	t.l.Store(nil)
	for _, c := range t.conns {
		_ = c.Close()
	}
	limit := time.NewTimer(closeTime)
	defer limit.Stop()
	for _, c := range t.conns {
		select {
		case <-c.Done():
		case <-limit.C:
			return
		}
	}
}

// closeTime bounds the wait for connections to end in good order.
const closeTime = 2 * time.Second
