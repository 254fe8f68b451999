package udp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
)

func memAddr(s string) Addr { return AddrFrom(netip.MustParseAddrPort(s)) }

func memListen(t testing.TB, n *MemNet, cfg MemConfig) *MemEndpoint {
	t.Helper()
	e, err := n.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// pattern is a train of recognisable segments.
func pattern(segments, size, last int) []byte {
	var b []byte
	for i := range segments {
		n := size
		if i == segments-1 {
			n = last
		}
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, n)...)
	}
	return b
}

// delayed lets everything through after a fixed time.
func delayed(d mono.Duration) PathFunc {
	return func(now mono.Time, _, _ Addr, ecn uint8, _ []byte, arrivals []Arrival) []Arrival {
		return append(arrivals, Arrival{At: now.Add(d), ECN: ecn})
	}
}

func write(t testing.TB, e *MemEndpoint, outs ...Out) {
	t.Helper()
	b := WriteBatch{Outs: outs}
	if n, blocked := e.Write(&b); n != len(outs) || blocked {
		t.Fatalf("wrote %d of %d, blocked %v", n, len(outs), blocked)
	}
}

// drain closes everything and checks that no buffer is missing.
func drain(t *testing.T, n *MemNet, batches []*ReadBatch, endpoints ...*MemEndpoint) {
	t.Helper()
	for _, b := range batches {
		b.Free()
	}
	for _, e := range endpoints {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	n.Advance(mono.Never)
	if s := n.Stats(); s.Buffers != 0 {
		t.Errorf("%d buffers are missing", s.Buffers)
	}
}

func TestMemNetDeliversInItsOwnTime(t *testing.T) {
	net := NewMemNet(delayed(10 * mono.Millisecond))
	server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:4242")})
	client := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.2:0"), Client: true})
	n, err := client.Connect(server.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	var in, back ReadBatch
	if net.Next() != mono.Never {
		t.Error("something is in flight")
	}
	write(t, client, Out{Data: []byte("aabbc"), Segment: 2, ECN: 1, Socket: n})
	at := mono.Time(10 * mono.Millisecond)
	if net.Next() != at {
		t.Fatalf("next is %v", net.Next())
	}
	net.Advance(at - 1)
	if server.Read(&in) != 0 || server.Pending() {
		t.Fatal("it came too early")
	}
	net.Advance(at)
	net.Advance(0)
	if net.Now() != at {
		t.Fatal("the clock ran backwards")
	}
	if server.Read(&in) != 3 || in.More {
		t.Fatalf("%d datagrams", in.N)
	}
	d := in.Datagrams[0]
	if string(d.Data) != "aa" || d.ECN != 1 || d.Remote != client.LocalAddr() || d.Local != memAddr("192.0.2.1:0") {
		t.Fatalf("%+v", d)
	}
	write(t, server, Out{Data: []byte("back"), Remote: d.Remote, Local: d.Local})
	net.Advance(net.Next())
	if client.Read(&back) != 1 || back.Datagrams[0].Socket != n || back.Datagrams[0].Remote != server.LocalAddr() {
		t.Fatalf("%+v", back.Datagrams[0])
	}
	if s := net.Stats(); s.Sent != 4 || s.Delivered != 4 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	drain(t, net, []*ReadBatch{&in, &back}, server, client)
}

func TestMemNetDoesWhatThePathSays(t *testing.T) {
	nat := memAddr("203.0.113.9:7777")
	inside := memAddr("10.0.0.1:5000")
	net := NewMemNet(func(now mono.Time, from, to Addr, ecn uint8, data []byte, arrivals []Arrival) []Arrival {
		a := Arrival{At: now, ECN: ecn}
		if from == inside {
			a.From = nat
		}
		if to == nat {
			a.To = inside
		}
		switch string(data) {
		case "lose":
			return arrivals
		case "twice":
			return append(arrivals, a, Arrival{At: now.Add(5), ECN: 0, Data: []byte("bent"), From: a.From, To: a.To})
		case "past":
			a.At = -5
		}
		return append(arrivals, a)
	})
	server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:4242")})
	client := memListen(t, net, MemConfig{Addr: inside, Client: true, Shared: true})
	var in, back ReadBatch
	net.Advance(100)
	for _, s := range []string{"lose", "twice", "past"} {
		write(t, client, Out{Data: []byte(s), Remote: server.LocalAddr(), ECN: 2})
	}
	write(t, client, Out{Data: []byte("x"), Remote: memAddr("192.0.2.99:1")})
	net.Advance(200)
	server.Read(&in)
	var got []string
	for _, d := range in.Datagrams[:in.N] {
		got = append(got, fmt.Sprintf("%s %d %v", d.Data, d.ECN, d.Remote))
	}
	want := "twice 2 203.0.113.9:7777, past 2 203.0.113.9:7777, bent 0 203.0.113.9:7777"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("received %s", s)
	}
	write(t, server, Out{Data: []byte("reply"), Remote: nat})
	net.Advance(300)
	if client.Read(&back) != 1 {
		t.Error("the reply did not pass the NAT")
	}
	if s := net.Stats(); s.Sent != 5 || s.Lost != 1 || s.Unreachable != 1 || s.Delivered != 4 {
		t.Errorf("%+v", s)
	}
	drain(t, net, []*ReadBatch{&in, &back}, server, client)
}

func TestMemNetIsDeterministic(t *testing.T) {
	run := func() string {
		rng := rand.New(rand.NewPCG(1, 2))
		net := NewMemNet(func(now mono.Time, _, _ Addr, ecn uint8, _ []byte, arrivals []Arrival) []Arrival {
			for range rng.IntN(3) {
				arrivals = append(arrivals, Arrival{At: now.Add(mono.Duration(rng.IntN(20))), ECN: ecn})
			}
			return arrivals
		})
		server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:4242"), GRO: true})
		client := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.2:1"), Client: true, Shared: true})
		var in ReadBatch
		var trace strings.Builder
		last := mono.Time(0)
		for i := range 500 {
			write(t, client, Out{Data: fmt.Appendf(nil, "%04d", i), Remote: server.LocalAddr()})
			if next := net.Next(); next < last {
				t.Fatal("time ran backwards")
			}
			last = min(net.Next(), last+7)
			net.Advance(last)
			for server.Read(&in); in.N > 0; server.Read(&in) {
				for _, d := range in.Datagrams[:in.N] {
					fmt.Fprintf(&trace, "%d:%s/%d ", net.Now(), d.Data, d.Segment)
				}
			}
		}
		drain(t, net, []*ReadBatch{&in}, server, client)
		return trace.String()
	}
	if first, second := run(), run(); first != second || len(first) < 1000 {
		t.Fatal("two runs differ")
	}
}

func TestMemEndpointMergesTrains(t *testing.T) {
	net := NewMemNet(nil)
	server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:1"), GRO: true})
	client := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.2:1"), Client: true, Shared: true})
	to := server.LocalAddr()
	write(t, client,
		Out{Data: pattern(3, 100, 30), Segment: 100, Remote: to}, // the short one ends the train
		Out{Data: pattern(2, 100, 100), Segment: 100, Remote: to},
		Out{Data: pattern(1, 100, 100), Remote: to, ECN: 1},     // other ECN bits
		Out{Data: pattern(1, 101, 101), Remote: to, ECN: 1},     // longer
		Out{Data: pattern(70, 10, 10), Segment: 10, Remote: to}) // longer than 64
	net.Advance(0)
	var in ReadBatch
	server.Read(&in)
	var got []string
	for _, d := range in.Datagrams[:in.N] {
		got = append(got, fmt.Sprintf("%d/%d", len(d.Data), d.Segment))
	}
	if s := strings.Join(got, " "); s != "230/100 200/100 100/0 101/0 640/10 60/10" {
		t.Errorf("received %s", s)
	}
	if s := server.Stats(); s.ReadSegments != 77 || s.ReadEntries != 6 {
		t.Errorf("%+v", s)
	}
	drain(t, net, []*ReadBatch{&in}, server, client)
}

func TestMemEndpointFaults(t *testing.T) {
	net := NewMemNet(nil)
	server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:1"), ReceiveBuffer: 8})
	faults := []Fault{FaultNone, FaultLost, FaultTooLarge, FaultRefused, FaultNone, FaultBlocked}
	client := memListen(t, net, MemConfig{
		Addr: memAddr("192.0.2.2:1"), Client: true, Shared: true,
		Fault: func(*Out, []byte) Fault {
			if len(faults) == 0 {
				return FaultNone
			}
			f := faults[0]
			faults = faults[1:]
			return f
		},
	})
	b := WriteBatch{Outs: []Out{
		{Data: []byte("a"), Remote: server.LocalAddr()},
		{Data: []byte("bbccddeeff"), Segment: 2, Remote: server.LocalAddr()},
		{Data: []byte("g"), Remote: server.LocalAddr()},
	}}
	n, blocked := client.Write(&b)
	if n != 1 || !blocked || string(b.Outs[1].Data) != "ff" {
		t.Fatalf("sent %d, blocked %v, left %q", n, blocked, b.Outs[1].Data)
	}
	b.Outs = b.Outs[n:]
	if n, blocked := client.Write(&b); n != 2 || blocked {
		t.Fatalf("sent %d, blocked %v", n, blocked)
	}
	write(t, client, Out{Data: []byte("too much"), Remote: server.LocalAddr()}, Out{Data: []byte("x"), Socket: 5})
	net.Advance(1)
	var in ReadBatch
	if server.Read(&in); in.N != 4 {
		t.Fatalf("%d datagrams", in.N)
	}
	if s := client.Stats(); s.WriteLost != 1 || s.WriteTooLarge != 1 || s.WriteRefused != 2 || s.WriteBlocked != 1 {
		t.Errorf("%+v", s)
	}
	if s := server.Stats(); s.KernelDrops != 1 || net.Stats().Overflowed != 1 {
		t.Errorf("%+v", s)
	}
	drain(t, net, []*ReadBatch{&in}, server, client)
}

func TestMemEndpointAddresses(t *testing.T) {
	net := NewMemNet(nil)
	server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:4242"), Others: []Addr{memAddr("192.0.2.100:0")}})
	client := memListen(t, net, MemConfig{Addr: memAddr("10.0.0.1:0"), Client: true})
	n, err := client.Connect(memAddr("192.0.2.100:4242"))
	if err != nil {
		t.Fatal(err)
	}
	var in, back ReadBatch
	write(t, client, Out{Data: []byte("x"), Socket: n})
	net.Advance(1)
	server.Read(&in)
	d := in.Datagrams[0]
	// From its first address the reply would not be heard by a connected socket.
	write(t, server, Out{Data: []byte("deaf"), Remote: d.Remote}, Out{Data: []byte("y"), Remote: d.Remote, Local: d.Local})
	net.Advance(2)
	if client.Read(&back) != 1 || string(back.Datagrams[0].Data) != "y" {
		t.Fatalf("received %d", back.N)
	}
	// The client moves: what is sent to the old address is lost.
	old := client.SocketAddr(n)
	if err := client.Rebind(n, memAddr("10.9.9.9:0")); err != nil {
		t.Fatal(err)
	}
	write(t, server, Out{Data: []byte("z"), Remote: old, Local: d.Local})
	write(t, client, Out{Data: []byte("moved"), Socket: n})
	net.Advance(3)
	if server.Read(&in) != 1 || in.Datagrams[0].Remote != client.SocketAddr(n) || client.Pending() {
		t.Error("the move failed")
	}
	if _, err := net.Listen(MemConfig{Addr: server.LocalAddr()}); err == nil {
		t.Error("an address was given twice")
	}
	// A closed socket's datagrams vanish, its number comes back.
	write(t, server, Out{Data: []byte("late"), Remote: client.SocketAddr(n), Local: d.Local})
	net.Advance(4)
	client.CloseSocket(n)
	if client.Read(&back) != 0 {
		t.Error("read from a closed socket")
	}
	if again, err := client.Connect(server.LocalAddr()); err != nil || again != n || client.Stats().Sockets != 1 {
		t.Errorf("socket %d: %v", again, err)
	}
	drain(t, net, []*ReadBatch{&in, &back}, server, client)
}

func TestMemNetSteers(t *testing.T) {
	net := NewMemNet(nil)
	var group []*MemEndpoint
	for i := range 3 {
		group = append(group, memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:1"), Shards: 3, ShardIndex: i}))
	}
	client := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.2:1"), Client: true, Shared: true})
	for i := range 30 {
		write(t, client, Out{Data: []byte{0x40, byte(i)}, Remote: group[0].LocalAddr()})
		write(t, client, Out{Data: []byte{0xc0, byte(i)}, Remote: group[0].LocalAddr()})
	}
	net.Advance(1)
	long := 0
	var in ReadBatch
	for i, e := range group {
		e.Read(&in)
		for _, d := range in.Datagrams[:in.N] {
			if shard, ok := ShardOf(d.Data, 3); !ok {
				long |= 1 << i
			} else if shard != i {
				t.Errorf("shard %d received %x", i, d.Data)
			}
		}
	}
	if long&(long-1) != 0 {
		t.Error("one client's long headers reached several shards")
	}
	drain(t, net, []*ReadBatch{&in}, append(group, client)...)
}

func TestMemEndpointWakes(t *testing.T) {
	e := memListen(t, NewMemNet(nil), MemConfig{Addr: memAddr("192.0.2.1:1")})
	e.Wake()
	e.Wake()
	if !e.Woken() || e.Stats().Wakes != 1 {
		t.Error("not woken once")
	}
	if e.Wait(mono.Now(), -1); e.Woken() {
		t.Error("still woken")
	}
}

func TestMemNetAllocatesNothing(t *testing.T) {
	net := NewMemNet(delayed(5))
	server := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.1:1"), GRO: true})
	client := memListen(t, net, MemConfig{Addr: memAddr("192.0.2.2:1"), Client: true, Shared: true})
	var in ReadBatch
	train := pattern(10, 1200, 50)
	outs := make([]Out, 1)
	b := WriteBatch{}
	step := func() {
		outs[0] = Out{Data: train, Segment: 1200, Remote: server.LocalAddr()}
		b.Outs = outs
		client.Write(&b)
		net.Advance(net.Next())
		server.Read(&in)
	}
	step()
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
	drain(t, net, []*ReadBatch{&in}, server, client)
}
