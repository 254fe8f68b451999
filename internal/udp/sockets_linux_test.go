package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// echo answers what the server has received.
func echo(t testing.TB, server *Engine, in *ReadBatch) {
	t.Helper()
	for server.Read(in); in.N > 0; server.Read(in) {
		var out WriteBatch
		for _, d := range in.Datagrams[:in.N] {
			out.Outs = append(out.Outs, Out{Data: d.Data, Segment: d.Segment, Remote: d.Remote, Local: d.Local, ECN: d.ECN})
		}
		if n, blocked := server.Write(&out); n != len(out.Outs) || blocked {
			t.Fatalf("echoed %d of %d", n, len(out.Outs))
		}
	}
}

func TestManySocketsAreServedInTurn(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	client := testEngine(t, Config{Client: true})
	const sockets, each = 100, 20
	var out WriteBatch
	for i := range sockets {
		n, err := client.Connect(at(server, "127.0.0.1"))
		if err != nil || n != uint32(i) {
			t.Fatalf("socket %d: %v", n, err)
		}
	}
	// Interleaved, so that Write has to bring each socket's together.
	for k := range each {
		for i := range sockets {
			out.Outs = append(out.Outs, Out{Data: fmt.Appendf(nil, "%d/%d", i, k), Socket: uint32(i)})
		}
	}
	if n, blocked := client.Write(&out); n != sockets*each || blocked {
		t.Fatalf("wrote %d, blocked %v", n, blocked)
	}
	if s := client.Stats(); s.WriteCalls != sockets || s.Sockets != sockets {
		t.Errorf("%d calls for %d sockets", s.WriteCalls, sockets)
	}
	var in, back ReadBatch
	defer in.Free()
	defer back.Free()
	echo(t, server, &in)
	next := make([]int, sockets)
	for _, s := range receive(t, client, &back, sockets*each) {
		if want := fmt.Sprintf("%d/%d", s.socket, next[s.socket]); s.data != want {
			t.Fatalf("received %s, want %s", s.data, want)
		}
		next[s.socket]++
	}
	client.Wait(mono.Now(), 0)
	if n := client.Read(&back); n != 0 || back.More {
		t.Errorf("%d more, %v", n, back.More)
	}
}

func TestSocketNumbersComeBack(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	client := testEngine(t, Config{Client: true})
	connect := func() uint32 {
		n, err := client.Connect(at(server, "127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var in, back ReadBatch
	defer in.Free()
	defer back.Free()
	for range 20 {
		a, b, c := connect(), connect(), connect()
		send(t, client, Out{Data: []byte("a"), Socket: a}, Out{Data: []byte("b"), Socket: b}, Out{Data: []byte("c"), Socket: c})
		echo(t, server, &in)
		client.Wait(mono.Now(), patience)
		// b is closed while its datagram waits and its number is given anew.
		client.CloseSocket(b)
		client.CloseSocket(b)
		d := connect()
		if d != b {
			t.Fatalf("number %d, want %d again", d, b)
		}
		var got []string
		for _, s := range receive(t, client, &back, 2) {
			got = append(got, s.data)
		}
		if slices.Sort(got); !slices.Equal(got, []string{"a", "c"}) {
			t.Fatalf("received %v", got)
		}
		send(t, client, Out{Data: []byte("d"), Socket: d})
		echo(t, server, &in)
		if s := receive(t, client, &back, 1)[0]; s.data != "d" || s.socket != d || s.remote != at(server, "127.0.0.1") {
			t.Fatalf("%+v", s)
		}
		if client.SocketAddr(d).Port() == 0 {
			t.Error("a socket has no port")
		}
		client.CloseSocket(a)
		client.CloseSocket(c)
		client.CloseSocket(d)
		send(t, client, Out{Data: []byte("closed"), Socket: a})
		if client.SocketAddr(d) != (Addr{}) {
			t.Error("a closed socket has an address")
		}
	}
	if s := client.Stats(); s.WriteRefused != 20 || s.Sockets != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOneSocketNeedsNoEpoll(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	client := testEngine(t, Config{Client: true})
	var in, back ReadBatch
	defer in.Free()
	defer back.Free()
	if client.Read(&back) != 0 || client.LocalAddr() != (Addr{}) {
		t.Fatal("no socket, but something to read")
	}
	client.Wait(mono.Now(), mono.Microsecond)
	for range 3 {
		n, err := client.Connect(at(server, "127.0.0.1"))
		if err != nil || n != 0 || client.epfd >= 0 {
			t.Fatalf("socket %d, epoll %d: %v", n, client.epfd, err)
		}
		send(t, client, Out{Data: []byte("x")})
		echo(t, server, &in)
		receive(t, client, &back, 1)
		client.CloseSocket(n)
		client.Wait(mono.Now(), mono.Microsecond)
		if client.Read(&back) != 0 {
			t.Fatal("read from a closed socket")
		}
	}
	// What the first socket had waiting is seen when a second one comes.
	for range 2 {
		if _, err := client.Connect(at(server, "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		send(t, client, Out{Data: []byte("first")})
		echo(t, server, &in)
	}
	receive(t, client, &back, 2)
}

func TestBlockedSocketDoesNotBlockOthers(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	blockedFD := -1
	client := testEngine(t, Config{Client: true}, func(s *system) {
		s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
			if fd == blockedFD {
				return -1, unix.EAGAIN
			}
			return sysSendmmsg(fd, hdrs, n)
		}
	})
	for range 4 {
		if _, err := client.Connect(at(server, "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	blockedFD = int(client.socks[1].fd)
	var b WriteBatch
	for i := range 40 {
		b.Outs = append(b.Outs, Out{Data: []byte{byte(i)}, Socket: uint32(i % 4)})
	}
	n, blocked := client.Write(&b)
	if n != 30 || !blocked {
		t.Fatalf("sent %d, blocked %v", n, blocked)
	}
	b.Outs = b.Outs[n:]
	for i, o := range b.Outs {
		if o.Socket != 1 || o.Data[0] != byte(4*i+1) {
			t.Fatalf("entry %d left is %d on socket %d", i, o.Data[0], o.Socket)
		}
	}
	blockedFD = -1
	if n, blocked := client.Write(&b); n != 10 || blocked {
		t.Fatalf("sent %d, blocked %v", n, blocked)
	}
	var in ReadBatch
	defer in.Free()
	receive(t, server, &in, 40)
}

func TestBusySocketDoesNotStarveOthers(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	client := testEngine(t, Config{Client: true, DisableGRO: true, ReadEntries: 16})
	for range 3 {
		if _, err := client.Connect(at(server, "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		send(t, server, Out{Data: []byte("busy"), Remote: client.SocketAddr(0)})
	}
	send(t, server, Out{Data: []byte("1"), Remote: client.SocketAddr(1)}, Out{Data: []byte("2"), Remote: client.SocketAddr(2)})
	var back ReadBatch
	defer back.Free()
	seen := map[uint32]bool{}
	for range 3 {
		client.Read(&back)
		for _, d := range back.Datagrams[:back.N] {
			seen[d.Socket] = true
		}
	}
	if len(seen) != 3 || !back.More {
		t.Fatalf("after three reads sockets %v were heard, more %v", seen, back.More)
	}
	receive(t, client, &back, 100-16*2-14)
}

func TestClientBindsWhereItIsTold(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	var in ReadBatch
	defer in.Free()
	for _, addr := range []string{"127.0.0.3:0", "[::]:0"} {
		client := testEngine(t, Config{Client: true, Addr: netip.MustParseAddrPort(addr)})
		if _, err := client.Connect(at(server, "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		send(t, client, Out{Data: []byte("x")})
		want := "127.0.0.3"
		if addr == "[::]:0" {
			want = "127.0.0.1"
		}
		if got := receive(t, server, &in, 1)[0].remote.AddrPort().Addr().String(); got != want {
			t.Errorf("bound to %s, but it came from %s", addr, got)
		}
	}
	client := testEngine(t, Config{Client: true, Addr: netip.MustParseAddrPort("192.0.2.1:0")})
	if _, err := client.Connect(at(server, "127.0.0.1")); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("bound to an address of another host: %v", err)
	}
	if s := client.Stats(); s.Sockets != 0 {
		t.Errorf("%d sockets after a failure", s.Sockets)
	}
}

func TestBusyPollIsAskedFor(t *testing.T) {
	asked := map[int]int{}
	e := testEngine(t, Config{BusyPoll: 50 * mono.Microsecond}, func(s *system) {
		s.setsockoptInt = func(fd, level, option, value int) error {
			if level == unix.SOL_SOCKET && (option == unix.SO_BUSY_POLL || option == unix.SO_PREFER_BUSY_POLL) {
				asked[option] = value
				return nil
			}
			return unix.SetsockoptInt(fd, level, option, value)
		}
	})
	if asked[unix.SO_BUSY_POLL] != 50 || asked[unix.SO_PREFER_BUSY_POLL] != 1 || !e.Stats().BusyPoll {
		t.Errorf("asked for %v", asked)
	}
}

func TestQueueOfSocketsKeepsItsOrder(t *testing.T) {
	var q fifo
	var model []uint32
	next := uint32(0)
	for sockets := 1; sockets <= 300; sockets++ {
		q.grow(sockets)
		for q.len() < sockets { // fill, then take out some, so that it wraps
			q.push(next)
			model = append(model, next)
			next++
		}
		for range sockets / 3 {
			if v := q.pop(); v != model[0] {
				t.Fatalf("%d sockets: got %d, want %d", sockets, v, model[0])
			}
			model = model[1:]
		}
	}
}
