package udp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// patience bounds how long a test waits for a datagram that must come.
const patience = 5 * time.Second

func testEngine(t testing.TB, cfg Config, change ...func(*system)) *Engine {
	t.Helper()
	sys := kernel
	for _, f := range change {
		f(&sys)
	}
	e, err := open(cfg, sys)
	if err != nil {
		t.Fatalf("open %+v: %v", cfg, err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func testServer(t testing.TB, addr string, change ...func(*system)) *Engine {
	t.Helper()
	return testEngine(t, Config{Addr: netip.MustParseAddrPort(addr)}, change...)
}

func testClient(t testing.TB, remote Addr, change ...func(*system)) *Engine {
	t.Helper()
	e := testEngine(t, Config{Client: true}, change...)
	if _, err := e.Connect(remote); err != nil {
		t.Fatalf("connect: %v", err)
	}
	return e
}

// at gives the server's port at another IP.
func at(e *Engine, ip string) Addr {
	return AddrFrom(netip.AddrPortFrom(netip.MustParseAddr(ip), e.LocalAddr().Port()))
}

// segment is a received segment with its entry's fields.
type segment struct {
	data   string
	remote Addr
	local  Addr
	ecn    uint8
	socket uint32
}

// receive reads until count segments have come.
func receive(t testing.TB, e *Engine, b *ReadBatch, count int) []segment {
	t.Helper()
	var got []segment
	for deadline := time.Now().Add(patience); len(got) < count; {
		e.Read(b)
		for _, d := range b.Datagrams[:b.N] {
			got = append(got, split(d)...)
		}
		if len(got) < count {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d segments came", len(got), count)
			}
			if b.N == 0 {
				e.Wait(mono.Now(), 10*mono.Millisecond)
			}
		}
	}
	if len(got) != count {
		t.Fatalf("%d segments came, want %d", len(got), count)
	}
	return got
}

func split(d Datagram) []segment {
	var got []segment
	for data := d.Data; ; {
		n := len(data)
		if d.Segment > 0 {
			n = min(n, d.Segment)
		}
		got = append(got, segment{string(data[:n]), d.Remote, d.Local, d.ECN, d.Socket})
		if data = data[n:]; len(data) == 0 {
			return got
		}
	}
}

func send(t testing.TB, e *Engine, outs ...Out) {
	t.Helper()
	b := WriteBatch{Outs: outs}
	if n, blocked := e.Write(&b); n != len(outs) || blocked {
		t.Fatalf("wrote %d of %d, blocked %v", n, len(outs), blocked)
	}
}

func checkPattern(t testing.TB, got []segment, size, last int) {
	t.Helper()
	for i, s := range got {
		want := size
		if i == len(got)-1 {
			want = last
		}
		if len(s.data) != want || bytes.Count([]byte(s.data), []byte{byte(i + 1)}) != want {
			t.Fatalf("segment %d is %d bytes of %d, want %d of %d", i, len(s.data), s.data[0], want, i+1)
		}
	}
}

func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}) == nil
}

func skipWithoutIPv6(t testing.TB, ips ...string) {
	t.Helper()
	for _, ip := range ips {
		if netip.MustParseAddr(ip).Is6() && !hasIPv6() {
			t.Skip("this host has no IPv6, so it cannot be tested")
		}
	}
}

// families are the ways in which a client may reach a server.
var families = []struct{ name, server, client string }{
	{"IPv4", "127.0.0.1:0", "127.0.0.1"},
	{"IPv4 any", "0.0.0.0:0", "127.0.0.1"},
	{"IPv6", "[::1]:0", "::1"},
	{"IPv6 over dual stack", "[::]:0", "::1"},
	{"IPv4 over dual stack", "[::]:0", "127.0.0.1"},
}

func TestServerAnswersOverEachFamily(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			skipWithoutIPv6(t, f.client)
			server := testServer(t, f.server)
			client := testClient(t, at(server, f.client))
			var in, back ReadBatch
			defer in.Free()
			defer back.Free()
			send(t, client, Out{Data: []byte("question")})
			q := receive(t, server, &in, 1)[0]
			if q.data != "question" || q.remote != client.LocalAddr() {
				t.Fatalf("received %q from %v, want it from %v", q.data, q.remote, client.LocalAddr())
			}
			if ip := q.remote.AddrPort().Addr(); ip != netip.MustParseAddr(f.client) {
				t.Fatalf("the client's address is %v", ip)
			}
			if ip := q.local.AddrPort().Addr(); ip != netip.MustParseAddr(f.client) || q.local.Port() != 0 {
				t.Fatalf("the datagram's destination is %v", q.local)
			}
			send(t, server, Out{Data: []byte("answer"), Remote: q.remote, Local: q.local})
			a := receive(t, client, &back, 1)[0]
			if a.data != "answer" || a.remote != at(server, f.client) {
				t.Fatalf("received %q from %v", a.data, a.remote)
			}
		})
	}
}

func TestSegmentsCrossWhole(t *testing.T) {
	for _, f := range families {
		for _, off := range []Config{{}, {DisableGSO: true}, {DisableGRO: true}, {DisableGSO: true, DisableGRO: true}} {
			t.Run(fmt.Sprintf("%s GSO %v GRO %v", f.name, !off.DisableGSO, !off.DisableGRO), func(t *testing.T) {
				skipWithoutIPv6(t, f.client)
				cfg := off
				cfg.Addr = netip.MustParseAddrPort(f.server)
				server := testEngine(t, cfg)
				cfg.Addr, cfg.Client = netip.AddrPort{}, true
				client := testEngine(t, cfg)
				if _, err := client.Connect(at(server, f.client)); err != nil {
					t.Fatal(err)
				}
				var in ReadBatch
				defer in.Free()
				send(t, client, Out{Data: pattern(11, 1200, 700), Segment: 1200})
				checkPattern(t, receive(t, server, &in, 11), 1200, 700)
				// More than the kernel takes at once: by count, then by bytes.
				send(t, client, Out{Data: pattern(200, 50, 50), Segment: 50})
				checkPattern(t, receive(t, server, &in, 200), 50, 50)
				send(t, client, Out{Data: pattern(100, 1400, 1), Segment: 1400})
				checkPattern(t, receive(t, server, &in, 100), 1400, 1)
				if s := client.Stats(); s.GSO != !off.DisableGSO || s.Demotions != 0 || s.WriteSegments != 311 {
					t.Errorf("client: %+v", s)
				}
				s := server.Stats()
				if s.ReadSegments != 311 || s.GRO != !off.DisableGRO {
					t.Errorf("server: %+v", s)
				}
				if s.GRO && !off.DisableGSO && s.ReadEntries > 10 {
					t.Errorf("%d entries were received although both ends have offloads", s.ReadEntries)
				}
			})
		}
	}
}

func TestECNCrosses(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			skipWithoutIPv6(t, f.client)
			server := testServer(t, f.server)
			client := testClient(t, at(server, f.client))
			var in, back ReadBatch
			defer in.Free()
			defer back.Free()
			for ecn := range uint8(4) {
				train := Out{Data: pattern(3, 100, 50), Segment: 100, ECN: ecn}
				send(t, client, train)
				for _, q := range receive(t, server, &in, 3) {
					if q.ecn != ecn {
						t.Fatalf("sent %d, the server received %d", ecn, q.ecn)
					}
					train.Remote, train.Local = q.remote, q.local
				}
				send(t, server, train)
				for _, a := range receive(t, client, &back, 3) {
					if a.ecn != ecn {
						t.Fatalf("sent %d, the client received %d", ecn, a.ecn)
					}
				}
			}
		})
	}
}

func TestSocketTakesTheUsualECNBits(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			skipWithoutIPv6(t, f.client)
			server := testServer(t, f.server)
			client := testClient(t, at(server, f.client))
			var in, back ReadBatch
			defer in.Free()
			defer back.Free()
			// Runs long enough for a change, and in the same batch other bits.
			for i, usual := range []uint8{2, 0, 1, 2} {
				for range 3 {
					var there, here WriteBatch
					for k := range 20 {
						ecn := usual
						if k%7 == 6 {
							ecn = uint8(k+i) & 3
						}
						there.Outs = append(there.Outs, Out{Data: []byte{ecn}, ECN: ecn})
					}
					send(t, client, there.Outs...)
					for _, q := range receive(t, server, &in, 20) {
						if q.data[0] != q.ecn {
							t.Fatalf("sent %d, the server received %d", q.data[0], q.ecn)
						}
						here.Outs = append(here.Outs, Out{Data: []byte(q.data), ECN: q.ecn, Remote: q.remote, Local: q.local})
					}
					send(t, server, here.Outs...)
					for _, a := range receive(t, client, &back, 20) {
						if a.data[0] != a.ecn {
							t.Fatalf("sent %d, the client received %d", a.data[0], a.ecn)
						}
					}
				}
				// The last run of a round is not long enough to change again.
				for range ecnChange + 1 {
					send(t, client, Out{Data: []byte{usual}, ECN: usual})
				}
				receive(t, server, &in, ecnChange+1)
				if client.socks[0].ecn != usual {
					t.Fatalf("the socket still sends %d, not %d", client.socks[0].ecn, usual)
				}
			}
		})
	}
}

func TestRefusedECNChangeCostsNothing(t *testing.T) {
	refuse := func(s *system) {
		s.setsockoptInt = func(fd, level, option, value int) error {
			if option == unix.IP_TOS && level == unix.IPPROTO_IP {
				return unix.EPERM
			}
			return unix.SetsockoptInt(fd, level, option, value)
		}
	}
	server := testServer(t, "[::]:0", refuse)
	client := testClient(t, at(server, "127.0.0.1"), refuse)
	var in ReadBatch
	defer in.Free()
	for i := range 50 {
		send(t, client, Out{Data: []byte("x"), ECN: 2})
		q := receive(t, server, &in, 1)[0]
		send(t, server, Out{Data: []byte("x"), ECN: 2, Remote: q.remote, Local: q.local})
		if a := receive(t, client, &in, 1)[0]; q.ecn != 2 || a.ecn != 2 {
			t.Fatalf("round %d: received %d and %d", i, q.ecn, a.ecn)
		}
	}
}

func TestReplyLeavesFromTheAddressThatWasAddressed(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			server := testServer(t, addr)
			if !server.Stats().PacketInfo {
				t.Fatal("no packet info")
			}
			// A connected socket hears the address that it speaks to only.
			client := testClient(t, at(server, "127.0.0.2"))
			var in, back ReadBatch
			defer in.Free()
			defer back.Free()
			send(t, client, Out{Data: []byte("to .2")})
			q := receive(t, server, &in, 1)[0]
			if got := q.local.AddrPort().Addr().String(); got != "127.0.0.2" {
				t.Fatalf("the datagram came to %s", got)
			}
			if q.local.Scope() == 0 {
				t.Error("the interface is not known")
			}
			send(t, server, Out{Data: pattern(3, 100, 100), Segment: 100, Remote: q.remote, Local: q.local, ECN: 2})
			for _, a := range receive(t, client, &back, 3) {
				if got := a.remote.AddrPort().Addr().String(); got != "127.0.0.2" {
					t.Fatalf("the reply came from %s", got)
				}
			}
		})
	}
}

func TestSharedClientSpeaksToMany(t *testing.T) {
	one, two := testServer(t, "127.0.0.1:0"), testServer(t, "127.0.0.1:0")
	client := testEngine(t, Config{Client: true, Shared: true})
	var in ReadBatch
	defer in.Free()
	for _, server := range []*Engine{one, two} {
		n, err := client.Connect(at(server, "127.0.0.1"))
		if err != nil || n != 0 {
			t.Fatalf("socket %d: %v", n, err)
		}
		send(t, client, Out{Data: []byte("hello"), Remote: at(server, "127.0.0.1"), Socket: n})
		q := receive(t, server, &in, 1)[0]
		send(t, server, Out{Data: []byte("hello"), Remote: q.remote})
		a := receive(t, client, &in, 1)[0]
		if a.remote != at(server, "127.0.0.1") {
			t.Fatalf("answer from %v", a.remote)
		}
	}
	client.CloseSocket(0)
	if s := client.Stats(); s.Sockets != 1 {
		t.Errorf("the shared socket was closed")
	}
}

func TestDropsOfTheKernelAreCounted(t *testing.T) {
	server := testEngine(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), ExactReceiveBuffer: 8 << 10})
	client := testClient(t, at(server, "127.0.0.1"))
	const flood = 500
	for range flood {
		send(t, client, Out{Data: make([]byte, 100)})
	}
	var in ReadBatch
	defer in.Free()
	got := 0
	for server.Read(&in); in.N > 0; server.Read(&in) {
		for _, d := range in.Datagrams[:in.N] {
			got += len(split(d))
		}
	}
	if got == 0 || got == flood {
		t.Fatalf("%d of %d came through a tiny buffer", got, flood)
	}
	// The count comes with the next datagram.
	send(t, client, Out{Data: []byte("after")})
	receive(t, server, &in, 1)
	if s := server.Stats(); s.KernelDrops != uint64(flood-got) {
		t.Fatalf("%d drops counted, %d happened", s.KernelDrops, flood-got)
	}
}

func TestReceiveBufferIsReported(t *testing.T) {
	e := testEngine(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), ExactReceiveBuffer: 212992})
	if s := e.Stats(); s.ReceiveBuffer != 212992 || s.Hint != "" {
		t.Errorf("asked for 212992: %d, %q", s.ReceiveBuffer, s.Hint)
	}
	unprivileged := func(s *system) {
		s.setsockoptInt = func(fd, level, option, value int) error {
			switch {
			case level == unix.SOL_SOCKET && option == unix.SO_RCVBUFFORCE:
				return unix.EPERM
			case level == unix.SOL_SOCKET && option == unix.SO_RCVBUF:
				value = min(value, 212992)
			}
			return unix.SetsockoptInt(fd, level, option, value)
		}
	}
	e = testEngine(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")}, unprivileged)
	want := "receive buffer is 212992 of 4194304 bytes; run: sysctl -w net.core.rmem_max=4194304"
	if s := e.Stats(); s.ReceiveBuffer != 212992 || s.Hint != want {
		t.Errorf("unprivileged: %d, %q", s.ReceiveBuffer, s.Hint)
	}
	e = testEngine(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), ReceiveBuffer: -1}, unprivileged)
	if s := e.Stats(); s.ReceiveBuffer == 0 || s.Hint != "" {
		t.Errorf("left alone: %d, %q", s.ReceiveBuffer, s.Hint)
	}
}

func TestLongDatagramIsDroppedWithoutGRO(t *testing.T) {
	server := testEngine(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), DisableGRO: true})
	client := testClient(t, at(server, "127.0.0.1"))
	var in ReadBatch
	defer in.Free()
	send(t, client, Out{Data: make([]byte, 2049)}, Out{Data: []byte("short")})
	if got := receive(t, server, &in, 1)[0]; got.data != "short" {
		t.Fatalf("received %d bytes", len(got.data))
	}
	if s := server.Stats(); s.Truncated != 1 || s.ReadEntries != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLimitBoundsARead(t *testing.T) {
	server := testEngine(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), DisableGRO: true})
	client := testClient(t, at(server, "127.0.0.1"))
	for i := range 5 {
		send(t, client, Out{Data: []byte{byte(i)}})
	}
	in := ReadBatch{Limit: 2}
	for _, want := range []struct {
		n    int
		more bool
	}{{2, true}, {2, true}, {1, false}, {0, false}} {
		if n := server.Read(&in); n != want.n || in.N != n || in.More != want.more {
			t.Fatalf("read %d, more %v; want %+v", n, in.More, want)
		}
	}
	in.Trim()
	send(t, client, Out{Data: []byte("trimmed")})
	receive(t, server, &in, 1)
	in.Free()
	if in.Limit != 2 {
		t.Error("Free forgot the limit")
	}
	send(t, client, Out{Data: []byte("mapped again")})
	receive(t, server, &in, 1)
	in.Free()
}

func TestClosedEngineDoesNothing(t *testing.T) {
	e := testServer(t, "127.0.0.1:0")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var in ReadBatch
	n, blocked := e.Write(&WriteBatch{Outs: []Out{{Data: []byte("x")}}})
	if e.Read(&in) != 0 || n != 1 || blocked || e.Stats().WriteRefused != 1 {
		t.Error("a closed engine did something")
	}
	e.Wait(mono.Now(), -1)
	e.Wake()
	if _, err := e.Connect(Addr{}); !errors.Is(err, errClosed) {
		t.Errorf("connect: %v", err)
	}
	if e.LocalAddr() != (Addr{}) || e.Stats().Sockets != 0 {
		t.Error("a closed engine has a socket")
	}
}

func TestOpenReportsAnAddressInUse(t *testing.T) {
	e := testServer(t, "127.0.0.1:0")
	_, err := Open(Config{Addr: e.LocalAddr().AddrPort()})
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("second server: %v", err)
	}
	if _, err := e.Connect(e.LocalAddr()); !errors.Is(err, errNotClient) {
		t.Fatalf("connect on a server: %v", err)
	}
}
