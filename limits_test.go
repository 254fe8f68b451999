package godwit_test

import (
	"context"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

func TestBadLimitsAreNamed(t *testing.T) {
	for name, cfg := range map[string]godwit.Config{
		"MaxSendRate": {MaxSendRate: 1}, "MaxTotalSendRate": {MaxTotalSendRate: -1}, "DSCP": {DSCP: 64},
	} {
		if _, err := godwit.Listen("127.0.0.1:0", &cfg); err == nil {
			t.Errorf("a bad %s was taken", name)
		}
	}
}

// throughput has every client of a server be sent as much as it takes for a while and returns bytes a second on the wire.
func throughput(t testing.TB, n *godwittest.Net, cfg godwit.Config, clients int) float64 {
	received := 0
	cfg.Handler.Open = func(c godwit.Conn) error { return nil }
	cfg.Handler.Writable = func(c godwit.Conn) { fill(c) }
	cfg.Handler.Message = func(c godwit.Conn, _ godwit.Message) { fill(c) }
	server := n.Listen(&cfg)
	for range clients {
		c := n.Dial(server, &godwit.Config{Handler: godwit.Handler{Message: func(_ godwit.Conn, m godwit.Message) { received += len(m.Payload) }}})
		_ = c.Send(0, []byte("begin"))
	}
	n.Sleep(2 * time.Second)
	received = 0
	n.Sleep(5 * time.Second)
	return float64(received) / 5
}

func fill(c godwit.Conn) {
	for c.Send(godwit.OrderedChannel, make([]byte, 1000)) == nil {
	}
}

func TestMaxSendRateBoundsAConnectionAndTheTotalAllOfThem(t *testing.T) {
	for _, tc := range []struct {
		name        string
		cfg         godwit.Config
		clients     int
		least, most float64
	}{
		{"each", godwit.Config{MaxSendRate: 200_000}, 3, 3 * 175_000, 3 * 200_000},
		{"together", godwit.Config{MaxTotalSendRate: 400_000}, 4, 350_000, 400_000},
		{"together on two shards", godwit.Config{MaxTotalSendRate: 400_000, Shards: 2}, 4, 350_000, 400_000},
		{"none", godwit.Config{}, 2, 2_000_000, 1e12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			godwittest.Run(t, 1, godwittest.Link{Delay: 10 * time.Millisecond, Rate: 5_000_000, Queue: 500_000}, func(t testing.TB, n *godwittest.Net) {
				if got := throughput(t, n, tc.cfg, tc.clients); got < tc.least || got > tc.most {
					t.Errorf("%.0f bytes a second, want %.0f to %.0f", got, tc.least, tc.most)
				}
			})
		})
	}
}

func TestMaxTotalSendRateOfADialIsItsConnections(t *testing.T) {
	godwittest.Run(t, 1, godwittest.Link{Delay: 10 * time.Millisecond}, func(t testing.TB, n *godwittest.Net) {
		received := 0
		server := n.Listen(&godwit.Config{Handler: godwit.Handler{Message: func(_ godwit.Conn, m godwit.Message) { received += len(m.Payload) }}})
		c := n.Dial(server, &godwit.Config{MaxSendRate: 500_000, MaxTotalSendRate: 100_000, SendBuffer: 4 << 20, Tuning: godwit.Tuning{MailboxBytes: 64 << 20}})
		for range 3000 {
			if err := c.Send(0, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		n.Sleep(5 * time.Second)
		if received < 400_000 || received > 560_000 {
			t.Errorf("%d bytes in five seconds", received)
		}
	})
}

func TestSuggestedRateFollowsThePath(t *testing.T) {
	godwittest.Run(t, 1, godwittest.Link{Delay: 20 * time.Millisecond, Rate: 1_000_000, Queue: 100_000}, func(t testing.TB, n *godwittest.Net) {
		var suggested int64
		server := n.Listen(&godwit.Config{Handler: godwit.Handler{
			Message:  func(c godwit.Conn, _ godwit.Message) { fill(c) },
			Writable: func(c godwit.Conn) { fill(c); suggested = c.SuggestedRate() },
		}})
		c := n.Dial(server, nil)
		_ = c.Send(0, nil)
		for range 1000 {
			if _, err := c.Receive(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
		}
		n.Sleep(100 * time.Millisecond)
		for range 9000 {
			if _, err := c.Receive(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if suggested < 500_000 || suggested > 2_000_000 {
			t.Errorf("%d bytes a second on a path of 1,000,000", suggested)
		}
		var none godwit.Conn
		none.Flush()
		if none.SuggestedRate() != 0 {
			t.Error("a rate without a connection")
		}
	})
}

// Handlers of two shards that ask about each other's connections get an error, and no deadlock.
func TestStatsOfAnotherShardsConnectionInAHandler(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	far := dial(t, e, godwit.Config{})
	got := make(chan error, 1)
	other := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{Message: func(c godwit.Conn, _ godwit.Message) {
		_, err := far.Stats()
		if _, own := c.Stats(); own != nil {
			err = own
		}
		got <- err
	}}})
	_ = dial(t, other, godwit.Config{}).Send(0, nil)
	select {
	case err := <-got:
		if err == nil {
			t.Error("a handler waited for another shard")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a handler waits for ever")
	}
	if _, err := far.Stats(); err != nil {
		t.Errorf("outside of handlers: %v", err)
	}
}

func TestFlushWakesTheShard(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{})
	exchange(t, c, "hello")
	time.Sleep(300 * time.Millisecond)
	before := c.Endpoint().Stats().Waits
	for range 1000 {
		c.Flush()
	}
	exchange(t, c, "again")
	time.Sleep(200 * time.Millisecond)
	if c.Endpoint().Stats().Waits <= before {
		t.Error("the shard has not looked")
	}
}
