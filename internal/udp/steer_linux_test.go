package udp

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"godwit.example/godwit/internal/mono"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

func testGroup(t *testing.T, addr string, n int) []*Engine {
	t.Helper()
	if err := allowsSteering(); err != nil {
		t.Skip("this host forbids any BPF program that steers between sockets; what is done without is tested elsewhere: ", err)
	}
	group, err := OpenGroup(Config{Addr: netip.MustParseAddrPort(addr)}, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, e := range group {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return group
}

// allowsSteering asks the host without our program: whether it takes one that always chooses the first socket.
func allowsSteering() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	first := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: 1, Filter: &first})
}

func TestDatagramsReachTheShardThatTheyName(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		for _, shards := range []int{2, 3, 4} {
			group := testGroup(t, addr, shards)
			var clients []*Engine
			for range 4 {
				clients = append(clients, testClient(t, at(group[0], "127.0.0.1")))
			}
			want := make([]int, shards)
			for virtual := range 32 {
				datagram := []byte{0x40 | byte(virtual), 0x80 | byte(virtual), 1, 2, 3}
				shard, ok := ShardOf(datagram, shards)
				if !ok {
					t.Fatalf("%x names no shard", datagram)
				}
				for _, c := range clients { // whatever the 4-tuple
					send(t, c, Out{Data: datagram})
					want[shard]++
				}
			}
			for i, e := range group {
				var in ReadBatch
				for _, s := range receive(t, e, &in, want[i]) {
					if shard, _ := ShardOf([]byte(s.data), shards); shard != i {
						t.Fatalf("%d shards: shard %d received %x", shards, i, s.data)
					}
				}
				if e.Read(&in) != 0 {
					t.Fatalf("%d shards: shard %d received more", shards, i)
				}
				in.Free()
			}
		}
	}
}

func TestLongHeadersStayWithTheirFourTuple(t *testing.T) {
	group := testGroup(t, "127.0.0.1:0", 4)
	used := 0
	for range 16 {
		client := testClient(t, at(group[0], "127.0.0.1"))
		for i := range 8 {
			send(t, client, Out{Data: []byte{0xc0, byte(i), byte(7 * i)}})
		}
		heard := 0
		for i, e := range group {
			var in ReadBatch
			e.Wait(mono.Now(), mono.Millisecond)
			if e.Read(&in) > 0 {
				heard++
				used |= 1 << i
				receive(t, client, &in, 0)
			}
			in.Free()
		}
		if heard != 1 {
			t.Fatalf("%d shards heard one client's long headers", heard)
		}
	}
	if used&(used-1) == 0 {
		t.Error("all clients were hashed to one shard")
	}
}

func TestSteeringProgramEqualsShardOf(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for shards := 1; shards <= 32; shards++ {
		raw, err := steerProgram(shards)
		if err != nil {
			t.Fatal(err)
		}
		program, all := bpf.Disassemble(raw)
		if !all {
			t.Fatal("the program does not disassemble")
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			datagram := make([]byte, 2+rng.IntN(3))
			for i := range datagram {
				datagram[i] = byte(rng.Uint32())
			}
			got, err := vm.Run(datagram)
			if err != nil {
				t.Fatal(err)
			}
			shard, ok := ShardOf(datagram, shards)
			if ok && got != shard || !ok && uint32(got) != steerToHash {
				t.Fatalf("%x of %d shards: program %d, ShardOf %d %v", datagram, shards, got, shard, ok)
			}
		}
	}
}

func TestRefusedSteeringIsReported(t *testing.T) {
	for name, change := range map[string]func(*system){
		"SO_REUSEPORT": func(s *system) {
			s.setsockoptInt = func(fd, level, option, value int) error {
				if level == unix.SOL_SOCKET && option == unix.SO_REUSEPORT {
					return unix.ENOPROTOOPT
				}
				return unix.SetsockoptInt(fd, level, option, value)
			}
		},
		"program": func(s *system) {
			s.attachFilter = func(int, *unix.SockFprog) error { return unix.EPERM }
		},
	} {
		sys := kernel
		change(&sys)
		cfg := Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")}
		if _, err := openGroup(cfg, 2, sys); !errors.Is(err, ErrSteering) {
			t.Errorf("%s refused: %v", name, err)
		}
		group, err := openGroup(cfg, 1, sys)
		if err != nil || len(group) != 1 {
			t.Errorf("%s refused, one engine: %v", name, err)
			continue
		}
		if err := group[0].Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestGroupDoesNotJoinAnotherServer(t *testing.T) {
	group := testGroup(t, "127.0.0.1:0", 2)
	if _, err := OpenGroup(Config{Addr: group[0].LocalAddr().AddrPort()}, 2); !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("a second group on the same port: %v", err)
	}
}
