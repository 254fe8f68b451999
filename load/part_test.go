package load

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// measured returns the part of a process whose messages all took d.
func measured(t *testing.T, d time.Duration, rate float64) *Part {
	t.Helper()
	n, g := newTest(Config{Connections: 2, Size: 64, Rate: rate})
	n.delay = d
	g.begin(n.now, 0, 100*ms)
	n.run(t, g, 0)
	p := newPart(g)
	p.Handshakes, p.Counted, p.Packets = 10, true, packetCounts{Packets: 100, Lost: 1, Messages: 50, Repeated: 2}
	p.Spent = spent{Elapsed: 100 * ms, Server: 10 * ms, ServerOK: true, Own: 20 * ms, OwnOK: true, All: 200 * ms, Busy: 70 * ms, MachineOK: true, Echoed: g.back}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	p = new(Part)
	if err := json.Unmarshal(text, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPartsAreAddedNotAveraged(t *testing.T) {
	// Nine tenths of the messages take 100 µs in one process, the others 10 ms in another: the mean of the 99th percentiles would be 5 ms.
	quick, slow := measured(t, 100*us, 9000), measured(t, 10*ms, 1000)
	slow.Local, quick.Local = true, true
	r, err := Merge(Config{Addr: "x", Connections: 4, Rate: 10_000, Duration: 100 * ms}, []*Part{quick, slow})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 1000 || r.Received != 1000 || r.Connections != 4 || *r.HandshakesPerSecond != 20 {
		t.Errorf("%+v", r)
	}
	if l := r.Latency; l.P50 < 95 || l.P50 > 105 || l.P99 < 9_800 || l.P99 > 10_200 {
		t.Errorf("latency %+v", l)
	}
	if *r.RetransmissionRate != 0.04 || *r.PacketLossRate != 0.01 {
		t.Errorf("repeated %v, lost %v", *r.RetransmissionRate, *r.PacketLossRate)
	}
	// The server's 10 ms are counted once, for the messages of both.
	if *r.ServerCPU != 10 || *r.ServerPerMessage != 10 {
		t.Errorf("server %v %%, %v µs a message", *r.ServerCPU, *r.ServerPerMessage)
	}
	// 70 ms were used: 20 by each process, 10 by the server, 20 of 200 by others.
	if len(r.Reasons) != 1 {
		t.Errorf("reasons %q", r.Reasons)
	}
}

func TestRatesAreThoseOfTheWorseDirection(t *testing.T) {
	cfg := Config{Addr: "x", Connections: 2, Rate: 1000, Duration: 100 * ms}
	for _, c := range []struct {
		server         packetCounts
		known          bool
		repeated, lost float64
	}{
		{packetCounts{}, false, 0.04, 0.01},
		{packetCounts{Packets: 100, Messages: 50}, true, 0.04, 0.01},
		{packetCounts{Packets: 100, Lost: 5, Messages: 50, Repeated: 1}, true, 0.04, 0.05},
		{packetCounts{Packets: 100, Messages: 50, Repeated: 5}, true, 0.1, 0.01},
	} {
		p := measured(t, us, 1000)
		p.Spent.ServerPackets, p.Spent.ServerCounted = c.server, c.known
		r, err := Merge(cfg, []*Part{p})
		if err != nil {
			t.Fatal(err)
		}
		if *r.RetransmissionRate != c.repeated || *r.PacketLossRate != c.lost {
			t.Errorf("server %+v: repeated %v, lost %v", c.server, *r.RetransmissionRate, *r.PacketLossRate)
		}
		if told := len(r.Notes) == 1 && strings.Contains(r.Notes[0], "from client to server"); told == c.known {
			t.Errorf("the server's counts are known: %v, notes %q", c.known, r.Notes)
		}
	}
}

func TestServerCountsAreThoseOfTheMeasurement(t *testing.T) {
	a := sample{serverOK: true, server: serverFigures{counted: true, packets: packetCounts{Packets: 100, Lost: 50, Messages: 100, Repeated: 50}}}
	b := sample{serverOK: true, server: serverFigures{counted: true, packets: packetCounts{Packets: 200, Lost: 51, Messages: 300, Repeated: 52}}}
	if s := spentBetween(&a, &b); !s.ServerCounted || s.ServerPackets != (packetCounts{Packets: 100, Lost: 1, Messages: 200, Repeated: 2}) {
		t.Errorf("%+v", s)
	}
	b.serverOK = false
	if s := spentBetween(&a, &b); s.ServerCounted || s.ServerPackets != (packetCounts{}) {
		t.Errorf("a server that is out of reach at the end: %+v", s)
	}
}

func TestNoPartsAreNoResult(t *testing.T) {
	if _, err := Merge(Config{Addr: "x"}, nil); err == nil {
		t.Error("a result of nothing")
	}
}

func TestAPartBeginsWhenItIsTold(t *testing.T) {
	addr := serve(t)
	told := false
	cfg := Config{Addr: addr, Connections: 2, Rate: 500, Duration: 100 * ms, Warmup: -1}
	p, err := RunPart(deadline(t), cfg, func() error { told = true; return nil })
	if err != nil || !told || p.Received == 0 || p.Connections != 2 {
		t.Errorf("%v, %+v", err, p)
	}
	gone := errors.New("gone")
	if _, err := RunPart(deadline(t), cfg, func() error { return gone }); !errors.Is(err, gone) {
		t.Error(err)
	}
}
