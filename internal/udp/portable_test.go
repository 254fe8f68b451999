package udp

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
	"godwit.example/godwit/internal/mono"
)

func testPortable(t *testing.T, cfg Config) *Portable {
	t.Helper()
	e, err := OpenPortable(cfg)
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

// collect reads until count datagrams have come, and takes apart those that came together.
func collect(t *testing.T, e *Portable, b *ReadBatch, count int) []Datagram {
	t.Helper()
	var got []Datagram
	for deadline := time.Now().Add(5 * time.Second); len(got) < count; {
		e.Wait(mono.Now(), 10*mono.Millisecond)
		e.Read(b)
		for _, d := range b.Datagrams[:b.N] {
			data := append([]byte(nil), d.Data...)
			for step := cmp.Or(d.Segment, len(data)); len(data) > 0; data = data[len(d.Data):] {
				d.Data, d.Segment = data[:min(step, len(data))], 0
				got = append(got, d)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d datagrams came", len(got), count)
		}
	}
	return got
}

func TestPortableEngineEchoes(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		server := testPortable(t, Config{Addr: netip.MustParseAddrPort(addr)})
		remote := AddrFrom(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.LocalAddr().Port()))
		client := testPortable(t, Config{Client: true})
		var in, back ReadBatch
		for i := range 5 {
			n, err := client.Connect(remote)
			if err != nil || n != uint32(i) {
				t.Fatalf("socket %d: %v", n, err)
			}
			client.Write(&WriteBatch{Outs: []Out{{Data: []byte("aabbc"), Segment: 2, Socket: n}}})
			var out WriteBatch
			for _, d := range collect(t, server, &in, 3) {
				if d.Remote != client.SocketAddr(n) {
					t.Fatalf("from %v, want %v", d.Remote, client.SocketAddr(n))
				}
				out.Outs = append(out.Outs, Out{Data: d.Data, Remote: d.Remote, Local: d.Local})
			}
			server.Write(&out)
			var all string
			for _, d := range collect(t, client, &back, 3) {
				all += string(d.Data)
				if d.Socket != n || d.Remote != remote {
					t.Fatalf("%+v", d)
				}
			}
			if all != "aabbc" {
				t.Fatalf("received %q", all)
			}
		}
		client.CloseSocket(2)
		if n, err := client.Connect(remote); err != nil || n != 2 {
			t.Fatalf("socket %d: %v", n, err)
		}
		if s := client.Stats(); s.Sockets != 5 || s.WriteSegments != 15 || s.ReadSegments != 15 {
			t.Errorf("%+v", s)
		}
		in.Free()
		back.Free()
	}
}

func TestPortableEntriesOfManySegments(t *testing.T) {
	entry := make([]byte, 70*1000+10) // more than one call takes
	for i := range entry {
		entry[i] = byte(i / 1000)
	}
	for _, off := range []bool{false, true} {
		server := testPortable(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), DisableGSO: off, DisableGRO: off})
		client := testPortable(t, Config{Client: true, DisableGSO: off})
		if _, err := client.Connect(server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		var in, back ReadBatch
		client.Write(&WriteBatch{Outs: []Out{{Data: entry, Segment: 1000}}})
		var out WriteBatch
		for i, d := range collect(t, server, &in, 71) {
			if want := entry[i*1000 : min(i*1000+1000, len(entry))]; !bytes.Equal(d.Data, want) {
				t.Fatalf("datagram %d has %d bytes, of %d", i, len(d.Data), d.Data[0])
			}
			out.Outs = append(out.Outs, Out{Data: d.Data, Remote: d.Remote, Local: d.Local})
		}
		sent, got := client.Stats(), server.Stats()
		if sent.WriteSegments != 71 || sent.WriteBytes != uint64(len(entry)) || sent.Demotions != 0 || got.ReadSegments != 71 {
			t.Errorf("sent %+v, received %+v", sent, got)
		}
		gso, gro := probeOffloads()
		switch together := !off && gso && gro; {
		case sent.GSO != (gso && !off) || got.GRO != (gro && !off):
			t.Errorf("off %v: sent together %v, received together %v", off, sent.GSO, got.GRO)
		case together && (sent.WriteCalls != 2 || got.ReadCalls > 4): // 65,507 bytes are the most
			t.Errorf("%d calls to send, %d to receive", sent.WriteCalls, got.ReadCalls)
		case off && (sent.WriteCalls != 71 || got.ReadCalls != 71):
			t.Errorf("off: %d calls to send, %d to receive", sent.WriteCalls, got.ReadCalls)
		}
		server.Write(&out)
		collect(t, client, &back, 71)
		in.Free()
		back.Free()
	}
}

func TestPortableWaitAndWake(t *testing.T) {
	e := testPortable(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	start := time.Now()
	e.Wait(mono.Now(), 2*mono.Millisecond)
	e.Wait(mono.Now(), mono.Millisecond)
	if took := time.Since(start); took < 3*time.Millisecond {
		t.Errorf("the waits took %v", took)
	}
	e.Wake()
	e.Wait(mono.Now(), -1)
	for range 20 {
		go e.Wake()
		e.Wait(mono.Now(), -1)
	}
	e.Wake()
	e.Wait(mono.Now(), 0)
	start = time.Now()
	e.Wait(mono.Now(), 2*mono.Millisecond)
	if took := time.Since(start); took < 2*time.Millisecond {
		t.Error("a wake-up outlived its wait")
	}
}

func TestPortableSharedSocket(t *testing.T) {
	server := testPortable(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), MaxDatagram: 100})
	client := testPortable(t, Config{Client: true, Shared: true, ReceiveBuffer: 1 << 16, SendBuffer: 1 << 16})
	var in ReadBatch
	defer in.Free()
	if n, err := client.Connect(server.LocalAddr()); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	client.Write(&WriteBatch{Outs: []Out{
		{Data: make([]byte, 101), Remote: server.LocalAddr()},
		{Data: make([]byte, 100), Remote: server.LocalAddr()},
		{Data: []byte("x"), Socket: 9},
	}})
	if d := collect(t, server, &in, 1)[0]; len(d.Data) != 100 || d.Local.Port() != 0 || !d.Local.Is4() {
		t.Errorf("%+v", d)
	}
	if s := server.Stats(); s.Truncated != 1 {
		t.Errorf("%+v", s)
	}
	if s := client.Stats(); s.WriteRefused != 1 || s.Sockets != 1 {
		t.Errorf("%+v", s)
	}
}

// readers counts the goroutines that read sockets, those of all engines.
func readers() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("udp.(*Portable).read("))
}

func TestPortableSharedSocketsAreFew(t *testing.T) {
	client := testPortable(t, Config{Client: true, Shared: true})
	used := map[uint32]int{}
	for range 100 * portableShared {
		n, err := client.Connect(AddrFrom(netip.MustParseAddrPort("127.0.0.1:9")))
		if err != nil {
			t.Fatal(err)
		}
		used[n]++
		client.CloseSocket(n) // the end of one connection is not that of the others
	}
	if len(used) != portableShared || client.Stats().Sockets != portableShared {
		t.Errorf("%d sockets of %d are used", len(used), client.Stats().Sockets)
	}
	for n, times := range used {
		if times != 100 {
			t.Errorf("socket %d serves %d connections of %d", n, times, 100*portableShared)
		}
	}
	// Readers of the tests before may be about to end: only the other way is an error at once.
	deadline := time.Now().Add(5 * time.Second)
	for readers() != portableShared && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := readers(); n != portableShared {
		t.Errorf("%d goroutines read", n)
	}
	if n, err := client.Connect(AddrFrom(netip.MustParseAddrPort("[::1]:9"))); err == nil && used[n] != 0 {
		t.Errorf("both families share socket %d", n)
	}
}

func TestPortableEngineLeavesNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	server, err := OpenPortable(Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	// More than the queue holds, so that the reader waits for room.
	for range 2 * portableQueue {
		server.Write(&WriteBatch{Outs: []Out{{Data: []byte("x"), Remote: server.LocalAddr()}}})
	}
	time.Sleep(10 * time.Millisecond)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	server.Wait(mono.Now(), -1)
	if _, err := server.Connect(Addr{}); !errors.Is(err, errClosed) {
		t.Errorf("connect: %v", err)
	}
}

func TestPortableEngineCannotSteer(t *testing.T) {
	if _, err := OpenPortable(Config{Shards: 2}); !errors.Is(err, ErrSteering) {
		t.Fatal(err)
	}
}
