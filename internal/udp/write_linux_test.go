package udp

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/sys/unix"
)

// headers are the ones that a faked sendmmsg was given.
func headers(hdrs *mmsghdr, n int) []mmsghdr { return unsafe.Slice(hdrs, n) }

// hasSegments reports whether a header asks for segmentation offload.
func hasSegments(h *mmsghdr) bool {
	if h.hdr.Control == nil {
		return false
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(h.hdr.Control))
	return c.Level == unix.SOL_UDP && c.Type == unix.UDP_SEGMENT
}

// failing makes sendmmsg fail at the first header that bad names, as the kernel
// does: what comes before is sent, the error comes with the next call.
func failing(errno unix.Errno, bad func(h *mmsghdr) bool) func(*system) {
	return func(s *system) {
		s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
			good := slices.IndexFunc(headers(hdrs, n), func(h mmsghdr) bool { return bad(&h) })
			switch good {
			case -1:
				return sysSendmmsg(fd, hdrs, n)
			case 0:
				return -1, errno
			}
			return sysSendmmsg(fd, hdrs, good)
		}
	}
}

func length(h *mmsghdr) int { return int(h.hdr.Iov.Len) }

func TestBrokenOffloadIsDemoted(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.EINVAL, unix.ENOPROTOOPT} {
		t.Run(errno.Error(), func(t *testing.T) {
			server := testServer(t, "127.0.0.1:0")
			client := testClient(t, at(server, "127.0.0.1"), failing(errno, hasSegments))
			var in ReadBatch
			defer in.Free()
			send(t, client,
				Out{Data: []byte("before")},
				Out{Data: pattern(5, 100, 30), Segment: 100},
				Out{Data: pattern(130, 10, 10), Segment: 10},
				Out{Data: []byte("behind")})
			got := receive(t, server, &in, 1+5+130+1)
			if got[0].data != "before" || got[136].data != "behind" {
				t.Fatal("the order was not kept")
			}
			checkPattern(t, got[1:6], 100, 30)
			checkPattern(t, got[6:136], 10, 10)
			s := client.Stats()
			if s.GSO || s.Demotions != 1 || s.WriteSegments != 137 || s.WriteRefused != 0 {
				t.Fatalf("%+v", s)
			}
			send(t, client, Out{Data: pattern(5, 100, 30), Segment: 100})
			checkPattern(t, receive(t, server, &in, 5), 100, 30)
			if calls := client.Stats().WriteCalls - s.WriteCalls; calls != 1 {
				t.Errorf("after the demotion a train cost %d calls", calls)
			}
		})
	}
}

func TestPeerCannotDemote(t *testing.T) {
	// Where single datagrams fail as well, segmentation is not at fault.
	server := testServer(t, "127.0.0.1:0")
	long := func(h *mmsghdr) bool { return length(h) >= 100 }
	client := testClient(t, at(server, "127.0.0.1"), failing(unix.EINVAL, long))
	var in ReadBatch
	defer in.Free()
	send(t, client, Out{Data: pattern(70, 100, 30), Segment: 100}, Out{Data: []byte("next")})
	receive(t, server, &in, 1)
	if s := client.Stats(); !s.GSO || s.Demotions != 0 || s.WriteRefused != 70 || s.WriteCalls > 4 {
		t.Fatalf("%+v", s)
	}
	// Port 0, from which anyone may claim to write, never reaches the kernel.
	before := server.Stats().WriteCalls
	send(t, server, Out{Data: pattern(3, 100, 30), Segment: 100, Remote: Addr{10: 0xff, 11: 0xff, 12: 127, 15: 1}})
	if s := server.Stats(); !s.GSO || s.WriteRefused != 3 || s.WriteCalls != before {
		t.Fatalf("%+v", s)
	}
}

func TestBlockedInTheMiddleOfADemotion(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	blocked := true
	client := testClient(t, at(server, "127.0.0.1"), func(s *system) {
		s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
			switch {
			case hasSegments(hdrs):
				return -1, unix.EIO
			case blocked:
				return -1, unix.EAGAIN
			}
			return sysSendmmsg(fd, hdrs, n)
		}
	})
	b := WriteBatch{Outs: []Out{{Data: pattern(5, 100, 30), Segment: 100}}}
	if n, full := client.Write(&b); n != 0 || !full || len(b.Outs[0].Data) != 430 || !client.Stats().GSO {
		t.Fatalf("sent %d, blocked %v, %d bytes left", n, full, len(b.Outs[0].Data))
	}
	blocked = false
	if n, full := client.Write(&b); n != 1 || full || client.Stats().Demotions != 1 {
		t.Fatalf("sent %d, blocked %v", n, full)
	}
	var in ReadBatch
	defer in.Free()
	checkPattern(t, receive(t, server, &in, 5), 100, 30)
}

func TestPartialSendsGoOn(t *testing.T) {
	for limit := 1; limit <= 5; limit++ {
		server := testServer(t, "127.0.0.1:0")
		client := testClient(t, at(server, "127.0.0.1"), func(s *system) {
			s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
				return sysSendmmsg(fd, hdrs, min(n, limit))
			}
		})
		var outs []Out
		for i := range 100 {
			outs = append(outs, Out{Data: []byte{byte(i)}})
		}
		send(t, client, outs...)
		var in ReadBatch
		for i, s := range receive(t, server, &in, 100) {
			if s.data != string([]byte{byte(i)}) {
				t.Fatalf("limit %d: datagram %d is %q", limit, i, s.data)
			}
		}
		in.Free()
	}
}

func TestBlockedWriteKeepsTheRest(t *testing.T) {
	for _, gso := range []bool{true, false} {
		for stop := range 12 {
			t.Run(fmt.Sprintf("GSO %v after %d", gso, stop), func(t *testing.T) {
				server := testServer(t, "127.0.0.1:0")
				room := stop
				client := testEngine(t, Config{Client: true, DisableGSO: !gso}, func(s *system) {
					s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
						if room == 0 {
							return -1, unix.EAGAIN
						}
						n = min(n, room)
						room -= n
						return sysSendmmsg(fd, hdrs, n)
					}
				})
				if _, err := client.Connect(at(server, "127.0.0.1")); err != nil {
					t.Fatal(err)
				}
				b := WriteBatch{Outs: []Out{
					{Data: []byte{1}},
					{Data: pattern(3, 20, 7), Segment: 20},
					{Data: pattern(70, 10, 10), Segment: 10},
					{Data: []byte{2}},
				}}
				for deadline := 0; len(b.Outs) > 0; deadline++ {
					n, blocked := client.Write(&b)
					b.Outs = b.Outs[n:]
					if blocked != (len(b.Outs) > 0) || deadline > 100 {
						t.Fatalf("blocked %v with %d left", blocked, len(b.Outs))
					}
					room = 7
				}
				var in ReadBatch
				defer in.Free()
				got := receive(t, server, &in, 75)
				checkPattern(t, got[1:4], 20, 7)
				checkPattern(t, got[4:74], 10, 10)
				if got[0].data != "\x01" || got[74].data != "\x02" {
					t.Fatal("the order was not kept")
				}
			})
		}
	}
}

func TestFailedDatagramIsPassedOver(t *testing.T) {
	for _, c := range []struct {
		errno unix.Errno
		count func(Stats) uint64
	}{
		{unix.ENOBUFS, func(s Stats) uint64 { return s.WriteLost }},
		{unix.EMSGSIZE, func(s Stats) uint64 { return s.WriteTooLarge }},
		{unix.EPERM, func(s Stats) uint64 { return s.WriteRefused }},
		{unix.ENETUNREACH, func(s Stats) uint64 { return s.WriteRefused }},
		{unix.EINVAL, func(s Stats) uint64 { return s.WriteRefused }},
	} {
		server := testServer(t, "127.0.0.1:0")
		bad := func(h *mmsghdr) bool { return length(h) == 3 }
		client := testClient(t, at(server, "127.0.0.1"), failing(c.errno, bad))
		send(t, client, Out{Data: []byte("1")}, Out{Data: []byte("bad")}, Out{Data: nil}, Out{Data: []byte("2")}, Out{Data: []byte("bad")})
		var in ReadBatch
		got := receive(t, server, &in, 2)
		in.Free()
		if got[0].data != "1" || got[1].data != "2" {
			t.Errorf("%v: received %v", c.errno, got)
		}
		if s := client.Stats(); c.count(s) != 2 || s.WriteSegments != 2 {
			t.Errorf("%v: %+v", c.errno, s)
		}
	}
}

func TestDatagramBeyondTheMTUIsPassedOver(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	client := testClient(t, at(server, "127.0.0.1"))
	send(t, client, Out{Data: make([]byte, 65508)}, Out{Data: []byte("fits")})
	var in ReadBatch
	defer in.Free()
	receive(t, server, &in, 1)
	if s := client.Stats(); s.WriteTooLarge != 1 || s.WriteSegments != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestUnreachablePortIsNoError(t *testing.T) {
	const own = "127.0.0.77" // where nobody else takes the port meanwhile
	gone := testServer(t, own+":0")
	remote := at(gone, own)
	client := testClient(t, remote)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	var in ReadBatch
	defer in.Free()
	for range 3 {
		send(t, client, Out{Data: []byte("nobody")}, Out{Data: []byte("hears")})
		client.Wait(mono.Now(), patience) // the ICMP answer makes the socket readable
		if n := client.Read(&in); n != 0 {
			t.Fatalf("%d datagrams from nobody", n)
		}
	}
	s := client.Stats()
	if s.ICMPErrors < 3 || s.ReadErrors != 0 || s.WriteSegments != 6 {
		t.Fatalf("%+v", s)
	}
	server, err := Open(Config{Addr: remote.AddrPort()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	send(t, client, Out{Data: []byte("back")})
	receive(t, server, &in, 1)
}

func TestForgedICMPCostsNothing(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOPROTOOPT, unix.EMSGSIZE, unix.EHOSTUNREACH, unix.ECONNREFUSED} {
		pending := true
		client := func(s *system) {
			s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
				if pending {
					pending = false
					return -1, errno
				}
				return sysSendmmsg(fd, hdrs, n)
			}
			s.recvmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
				if pending {
					pending = false
					return -1, errno
				}
				return sysRecvmmsg(fd, hdrs, n)
			}
		}
		server := testServer(t, "127.0.0.1:0")
		c := testClient(t, at(server, "127.0.0.1"), client)
		var in ReadBatch
		send(t, c, Out{Data: pattern(5, 100, 30), Segment: 100})
		got := receive(t, server, &in, 5)
		checkPattern(t, got, 100, 30)
		pending = true
		send(t, server, Out{Data: []byte("x"), Remote: got[0].remote})
		receive(t, c, &in, 1)
		in.Free()
		if s := c.Stats(); !s.GSO || s.Demotions != 0 || s.ICMPErrors != 2 || s.ReadErrors != 0 {
			t.Errorf("%v: %+v", errno, s)
		}
	}
}

func TestAddressOfTheWrongFamilyIsRefused(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	send(t, server, Out{Data: []byte("x"), Remote: Addr{0: 0x20, 1: 1, 17: 9}}, Out{Data: []byte("x"), Socket: 3})
	if s := server.Stats(); s.WriteRefused != 2 || s.WriteCalls != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestLocalAddressThatIsGoneIsPassedOver(t *testing.T) {
	server := testServer(t, "0.0.0.0:0")
	client := testClient(t, at(server, "127.0.0.1"))
	var in ReadBatch
	defer in.Free()
	notOurs := Addr{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1}
	send(t, server,
		Out{Data: pattern(3, 100, 30), Segment: 100, Remote: client.LocalAddr(), Local: notOurs},
		Out{Data: []byte("x"), Remote: client.LocalAddr(), Local: at(server, "127.0.0.1")})
	receive(t, client, &in, 1)
	if s := server.Stats(); !s.GSO || s.WriteRefused != 3 {
		t.Fatalf("%+v", s)
	}
}
