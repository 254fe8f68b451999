package netem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/mono"
)

const ms = time.Millisecond

// socket opens a UDP socket on loopback with a buffer for a test's worth of datagrams.
func socket(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadBuffer(4 << 20) // a smaller one does for most
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// proxyTo opens a proxy to a socket, and checks at the end that every datagram is accounted for.
func proxyTo(t testing.TB, server *net.UDPConn, cfg Config) *Proxy {
	t.Helper()
	cfg.Target = addrOf(server).String()
	p, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		balance(t, p.Stats())
	})
	return p
}

func balance(t testing.TB, s Stats) {
	t.Helper()
	for name, l := range map[string]LinkStats{"up": s.Up, "down": s.Down} {
		if l.Received+l.Duplicated != l.sum() {
			t.Errorf("%s: %d received and %d duplicated make %d: %+v", name, l.Received, l.Duplicated, l.sum(), l)
		}
	}
}

func send(t testing.TB, from *net.UDPConn, to netip.AddrPort, data []byte) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort(data, to); err != nil {
		t.Fatal(err)
	}
}

// numbered is a datagram of some bytes that begins with a number.
func numbered(n, size int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(n)), make([]byte, size-4)...)
}

type received struct {
	n    int
	data string
	at   time.Time
	from netip.AddrPort
}

// drain reads until nothing has come for a while, or most are there.
func drain(t testing.TB, c *net.UDPConn, most int, quiet time.Duration) (got []received) {
	t.Helper()
	buf := make([]byte, 1<<16)
	for len(got) < most {
		if err := c.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			t.Fatal(err)
		}
		n, from, err := c.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return got
		case err != nil:
			t.Fatal(err)
		}
		r := received{n: -1, data: string(buf[:n]), at: time.Now(), from: from}
		if n >= 4 {
			r.n = int(binary.BigEndian.Uint32(buf))
		}
		got = append(got, r)
	}
	return got
}

func numbers(got []received) (ns []int) {
	for _, r := range got {
		ns = append(ns, r.n)
	}
	return ns
}

// predict gives the numbers that a link loses of n datagrams.
func predict(l Link, seed uint64, direction byte, n, size int) (kept []int) {
	link := impair.New(impair.Params(l).Config(), seedOf(seed, direction))
	for i := range n {
		if len(link.Send(mono.Time(mono.Second).Add(mono.Duration(i)), size, nil)) > 0 {
			kept = append(kept, i)
		}
	}
	return kept
}

func TestDatagramsPassBothWays(t *testing.T) {
	server, a, b := socket(t), socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	send(t, a, p.Addr(), []byte("from a"))
	fromA := drain(t, server, 1, time.Second)
	send(t, b, p.Addr(), []byte("from b"))
	fromB := drain(t, server, 1, time.Second)
	if len(fromA) != 1 || len(fromB) != 1 || fromA[0].data != "from a" || fromB[0].data != "from b" || fromA[0].from == fromB[0].from {
		t.Fatalf("the server received %v, %v", fromA, fromB)
	}
	send(t, server, fromB[0].from, []byte("to b"))
	send(t, server, fromA[0].from, []byte("to a"))
	for c, want := range map[*net.UDPConn]string{a: "to a", b: "to b"} {
		if got := drain(t, c, 1, time.Second); len(got) != 1 || got[0].data != want || got[0].from != p.Addr() {
			t.Errorf("received %v, want %q from %v", got, want, p.Addr())
		}
	}
	s := p.Stats()
	if s.Flows != 2 || s.FlowsOpened != 2 || s.Up.Received != 2 || s.Up.Forwarded != 2 || s.Down.ForwardedBytes != 8 || s.KernelDrops != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDelayAndJitterTakeTheirTime(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{Up: Link{Delay: 20 * ms, Jitter: 10 * ms}, Down: Link{Delay: 5 * ms}, Seed: 1})
	const n = 300
	sent, all := make([]time.Time, n), make(chan struct{})
	go func() {
		defer close(all)
		for i := range n {
			sent[i] = time.Now()
			_, _ = client.WriteToUDPAddrPort(numbered(i, 64), p.Addr())
			time.Sleep(2 * ms)
		}
	}()
	got := drain(t, server, n, time.Second)
	if len(got) != n {
		t.Fatalf("%d of %d arrived", len(got), n)
	}
	<-all
	delays := make([]time.Duration, n)
	for i, r := range got {
		if r.n != i {
			t.Fatalf("datagram %d is the %dth: jitter changes no order", r.n, i)
		}
		delays[i] = r.at.Sub(sent[i])
	}
	slices.Sort(delays)
	// The time of a test's own goroutines counts too, so the upper bounds are wide; the figures of the proxy say what is its own.
	if least, median := delays[0], delays[n/2]; least < 20*ms || median < 24*ms || median > 32*ms {
		t.Errorf("delays from %v, median %v, to %v", least, median, delays[n-1])
	}
	began := time.Now()
	send(t, server, got[0].from, []byte("back"))
	if back := drain(t, client, 1, time.Second); len(back) != 1 || back[0].at.Sub(began) < 5*ms {
		t.Errorf("the way back took no 5 ms: %v", back)
	}
	s := p.Stats().Up
	t.Logf("lateness: mean %v, max %v, %d of %d over a millisecond", s.MeanLateness, s.MaxLateness, s.Late, s.Forwarded)
	if s.Late > s.Forwarded/2 {
		t.Errorf("most were late: %+v", s)
	}
}

func TestTheSameSeedLosesTheSameDatagrams(t *testing.T) {
	for _, link := range []Link{{Loss: 0.05}, {Burst: 0.1, BurstLength: 4}, {Loss: 0.05, Delay: 3 * ms, Jitter: 2 * ms}} {
		server, client := socket(t), socket(t)
		p := proxyTo(t, server, Config{Up: link, Down: Link{Loss: 0.2}, Seed: 7})
		const n, size = 4000, 100
		var got []received
		for i := range n {
			send(t, client, p.Addr(), numbered(i, size))
			if i%200 == 199 { // in portions that every socket's buffer holds
				got = append(got, drain(t, server, n, 50*ms)...)
			}
		}
		want := predict(link, 7, 0, n, size)
		if !slices.Equal(numbers(got), want) {
			t.Fatalf("%+v: %d arrived, want %d, or others", link, len(got), len(want))
		}
		share := float64(n-len(got)) / n
		p0 := link.Loss + link.Burst
		// Five standard deviations; bursts of four have at most four times the variance of single losses, and a half more from their lengths.
		if bound := 5 * math.Sqrt(6*p0*(1-p0)/n); math.Abs(share-p0) > bound {
			t.Errorf("%+v: %.3f lost", link, share)
		}
		if s := p.Stats().Up; s.Lost+s.BurstLost != uint64(n-len(want)) || s.Received != n || s.Forwarded != uint64(len(want)) {
			t.Errorf("%+v", s)
		}
	}
}

func TestReorderedDatagramsAreOvertaken(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{Up: Link{Delay: ms, Reorder: 0.1, ReorderDelay: 20 * ms}, Seed: 2})
	const n = 500
	for i := range n {
		send(t, client, p.Addr(), numbered(i, 32))
		time.Sleep(100 * time.Microsecond)
	}
	got := numbers(drain(t, server, n, 200*ms))
	overtaken := 0
	for i := range got[1:] {
		if got[i+1] < got[i] {
			overtaken++
		}
	}
	sorted := slices.Sorted(slices.Values(got))
	if len(slices.Compact(sorted)) != n || overtaken < n/50 {
		t.Errorf("%d of %d arrived, %d out of order", len(got), n, overtaken)
	}
	if s := p.Stats().Up; s.Reordered < n/20 || s.Reordered > n/5 {
		t.Errorf("%d reordered", s.Reordered)
	}
}

func TestDuplicatesAndFlippedBits(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{Up: Link{Duplicate: 0.2, Corrupt: 0.1}, Seed: 3})
	const n = 500
	var got []received
	for i := range n {
		send(t, client, p.Addr(), numbered(i, 64))
		got = append(got, drain(t, server, 1, time.Second)...)
	}
	got = append(got, drain(t, server, n, 100*ms)...)
	flipped := 0
	for _, r := range got {
		bits := 0
		for _, b := range []byte(r.data)[4:] {
			for ; b != 0; b &= b - 1 {
				bits++
			}
		}
		if bits > 1 || len(r.data) != 64 {
			t.Fatalf("%d bytes, %d bits flipped", len(r.data), bits)
		}
		flipped += bits
	}
	s := p.Stats().Up
	if uint64(len(got)) != n+s.Duplicated || s.Duplicated < n/10 || s.Duplicated > 3*n/10 {
		t.Errorf("%d arrived of %d with %d duplicates", len(got), n, s.Duplicated)
	}
	if s.Corrupted < n/20 || flipped > int(s.Corrupted) || flipped < int(s.Corrupted)*7/10 { // a sixteenth hits the number
		t.Errorf("%d bits flipped, %d counted", flipped, s.Corrupted)
	}
}

func TestTheBottleneckHasItsRateAndItsQueue(t *testing.T) {
	for _, link := range []Link{{Rate: 1_000_000, Queue: 200_000}, {Rate: 1_000_000, QueueDatagrams: 200}} {
		server, client := socket(t), socket(t)
		p := proxyTo(t, server, Config{Up: link})
		const n, size = 400, 1000
		began := time.Now()
		for i := range n {
			send(t, client, p.Addr(), numbered(i, size))
		}
		got := drain(t, server, n, 500*ms)
		s := p.Stats().Up
		// 200 fit, and one more for each millisecond that sending took.
		if len(got) < 200 || len(got) > 300 || s.QueueDropped != uint64(n-len(got)) || s.QueueMost < 195_000 || s.QueueMost > 201_000 {
			t.Errorf("%+v: %d arrived, %+v", link, len(got), s)
		}
		// From the beginning: this test may be held up before it sees the first one.
		if took, want := got[len(got)-1].at.Sub(began), time.Duration(len(got)-1)*ms; took < want*9/10 || took > want*2 {
			t.Errorf("%+v: %d datagrams took %v, want about %v", link, len(got), took, want)
		}
	}
}

func TestRebindChangesThePort(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	send(t, client, p.Addr(), []byte("one"))
	before := drain(t, server, 1, time.Second)
	for range 3 {
		if n, err := p.Rebind(); n != 1 || err != nil {
			t.Fatalf("%d clients, %v", n, err)
		}
		send(t, client, p.Addr(), []byte("two"))
		after := drain(t, server, 1, time.Second)
		if len(before) != 1 || len(after) != 1 || before[0].from == after[0].from {
			t.Fatalf("before %v, after %v", before, after)
		}
		send(t, server, before[0].from, []byte("old"))
		send(t, server, after[0].from, []byte("new"))
		if got := drain(t, client, 2, 50*ms); len(got) != 1 || got[0].data != "new" || got[0].from != p.Addr() {
			t.Errorf("the client received %v", got)
		}
		before = after
	}
	if s := p.Stats(); s.Rebinds != 3 || s.Flows != 1 || s.FlowsOpened != 1 {
		t.Errorf("%+v", s)
	}
}

func TestBlackoutEndsByItselfOrEarlier(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	passes := func() bool {
		t.Helper()
		send(t, client, p.Addr(), []byte("x"))
		return len(drain(t, server, 1, 20*ms)) == 1
	}
	set := func(d time.Duration) {
		t.Helper()
		if err := p.Blackout(d); err != nil {
			t.Fatal(err)
		}
	}
	if !passes() {
		t.Fatal("nothing passes")
	}
	set(time.Hour)
	if passes() {
		t.Error("a datagram passed")
	}
	if err := p.SetLinks(Link{}, Link{}); err != nil || passes() {
		t.Errorf("SetLinks has ended the blackout: %v", err)
	}
	set(0)
	if !passes() {
		t.Error("the blackout is not over")
	}
	set(50 * ms)
	if passes() {
		t.Error("a datagram passed")
	}
	time.Sleep(50 * ms)
	if !passes() {
		t.Error("the blackout is not over")
	}
	if s := p.Stats().Up; s.BlackedOut != 3 {
		t.Errorf("%+v", s)
	}
}

func TestNewLinksHoldFromTheNextDatagramOn(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{Up: Link{Delay: 100 * ms}})
	send(t, client, p.Addr(), numbered(0, 10))
	for p.Stats().Up.UnderWay == 0 {
		time.Sleep(ms)
	}
	if err := p.SetLinks(Link{MTU: 5}, Link{}); err != nil {
		t.Fatal(err)
	}
	send(t, client, p.Addr(), numbered(1, 10))
	send(t, client, p.Addr(), numbered(2, 5))
	if got := numbers(drain(t, server, 3, 300*ms)); !slices.Equal(got, []int{0, 2}) {
		t.Errorf("received %v", got)
	}
	if s := p.Stats().Up; s.TooLarge != 1 {
		t.Errorf("%+v", s)
	}
	if err := p.SetLinks(Link{}, Link{Loss: 2}); err == nil || err.Error() != "netem: Config.Down.Loss is 2, it must be a probability, 0 to 1" {
		t.Errorf("%v", err)
	}
}

func TestClientsAreBounded(t *testing.T) {
	server := socket(t)
	p := proxyTo(t, server, Config{MaxFlows: 2, IdleTimeout: 100 * ms})
	clients := []*net.UDPConn{socket(t), socket(t), socket(t)}
	for i, c := range clients {
		send(t, c, p.Addr(), numbered(i, 8))
	}
	if got := numbers(drain(t, server, 3, 20*ms)); !slices.Equal(got, []int{0, 1}) {
		t.Fatalf("received %v", got)
	}
	if s := p.Stats(); s.Flows != 2 || s.Up.NoFlow != 1 {
		t.Errorf("%+v", s)
	}
	for deadline := time.Now().Add(5 * time.Second); p.Stats().Flows > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * ms)
	}
	send(t, clients[2], p.Addr(), numbered(2, 8))
	got := drain(t, server, 1, time.Second)
	if len(got) != 1 || got[0].n != 2 {
		t.Fatalf("received %v after the others were forgotten", got)
	}
	send(t, server, got[0].from, []byte("answer"))
	if back := drain(t, clients[2], 1, time.Second); len(back) != 1 {
		t.Error("no answer came")
	}
	if s := p.Stats(); s.FlowsExpired != 2 || s.FlowsOpened != 3 {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsUnderWayIsBounded(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{Buffer: 1 << 20, Up: Link{Delay: time.Second}})
	const n, size = 300, 10_000
	for i := range n {
		send(t, client, p.Addr(), numbered(i, size))
		time.Sleep(100 * time.Microsecond)
	}
	got := drain(t, server, n, 1200*ms)
	// Four chunks of 26 datagrams.
	if s := p.Stats().Up; len(got) != 104 || s.Overflowed != n-104 {
		t.Errorf("%d arrived, %+v", len(got), s)
	}
	for i := range n {
		send(t, client, p.Addr(), numbered(i, 8))
	}
	if got := drain(t, server, n, 1200*ms); len(got) != n {
		t.Errorf("%d arrived when there was room again", len(got))
	}
}

func TestDatagramsOfAllSizesPass(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	for _, size := range []int{1, 4, 1200, 1452, 9000, 40_000, maxDatagram} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * 7)
		}
		send(t, client, p.Addr(), data)
		if got := drain(t, server, 1, time.Second); len(got) != 1 || got[0].data != string(data) {
			t.Errorf("%d bytes did not pass", size)
		}
	}
	send(t, client, p.Addr(), nil)
	send(t, client, p.Addr(), []byte("x"))
	if got := drain(t, server, 2, 50*ms); len(got) != 1 || p.Stats().Up.Unsent != 1 {
		t.Errorf("received %v, %+v", got, p.Stats().Up)
	}
}

func TestATargetWithoutAServerIsSaid(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	server.Close()
	for range 3 {
		send(t, client, p.Addr(), []byte("x"))
		time.Sleep(5 * ms)
	}
	if s := p.Stats(); s.Unreachable == 0 {
		if runtime.GOOS != "linux" {
			t.Skip("only Linux is known to tell a connected socket of an ICMP error that came between two calls")
		}
		t.Errorf("three datagrams went to a closed port and nothing is said: %+v", s)
	}
}

func TestAClosedProxySaysSo(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	send(t, client, p.Addr(), []byte("x"))
	drain(t, server, 1, time.Second)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, rebind := p.Rebind()
	for _, err := range []error{rebind, p.Blackout(time.Second), p.SetLinks(Link{}, Link{})} {
		if !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	}
	if s := p.Stats(); s.Up.Forwarded != 1 || s.Uptime == 0 {
		t.Errorf("the last figures are lost: %+v", s)
	}
}

func TestErrorsNameTheField(t *testing.T) {
	const server = "127.0.0.1:9"
	for want, cfg := range map[string]Config{
		"netem: Config.Target is empty, it must be the address of a server":                          {},
		"netem: Config.Target is 127.0.0.1:0, it must be the address and port of a server":           {Target: "127.0.0.1:0"},
		"netem: Config.Target: address nowhere: missing port in address":                             {Target: "nowhere"},
		"netem: Config.Listen: address 127.0.0.1: missing port in address":                           {Target: server, Listen: "127.0.0.1"},
		"netem: Config.MaxFlows is 65537, it must be 1 to 65536, or 0 for 1024":                      {Target: server, MaxFlows: 65537},
		"netem: Config.Buffer is 5, it must be 1048576 to 68719476736 bytes, or 0 for 67108864":      {Target: server, Buffer: 5},
		"netem: Config.Up.Delay is 11s, it must be 0 to 10s":                                         {Target: server, Up: Link{Delay: 11 * time.Second}},
		"netem: Config.Down.QueueDatagrams is -1, it must be 0 to 1048576 datagrams, 0 for no limit": {Target: server, Down: Link{QueueDatagrams: -1}},
		"netem: udp: bind 192.0.2.1:0: cannot assign requested address":                              {Target: server, Listen: "192.0.2.1:0"},
	} {
		p, err := Listen(cfg)
		if err == nil {
			p.Close()
		}
		if fmt.Sprint(err) != want {
			t.Errorf("%+v: %v, want %s", cfg, err, want)
		}
	}
}
