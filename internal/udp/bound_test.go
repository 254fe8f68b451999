package udp

import (
	"errors"
	"net/netip"
	"testing"

	"godwit.example/godwit/internal/mono"
)

// proxyEngine is what a proxy calls of an engine.
type proxyEngine interface {
	Connect(remote Addr) (uint32, error)
	CloseSocket(n uint32)
	Read(b *ReadBatch) int
	Write(b *WriteBatch) (sent int, blocked bool)
	Wait(now mono.Time, d mono.Duration)
	SocketAddr(n uint32) Addr
	Close() error
}

// TestABoundSocketBesideConnectedOnes passes datagrams on through an engine as a proxy does, to the server and back.
func TestABoundSocketBesideConnectedOnes(t *testing.T) {
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	for name, opened := range map[string]func(Config) (proxyEngine, error){
		"best":     func(c Config) (proxyEngine, error) { return Open(c) },
		"portable": func(c Config) (proxyEngine, error) { return OpenPortable(c) },
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := opened(Config{Client: true, Bound: loopback})
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			server := testPortable(t, Config{Addr: loopback})
			client := testPortable(t, Config{Client: true})
			if _, err := client.Connect(proxy.SocketAddr(0)); err != nil {
				t.Fatal(err)
			}
			var in, atServer, atClient ReadBatch
			defer in.Free()
			next := func() Datagram {
				t.Helper()
				for range 1000 {
					if proxy.Read(&in); in.N > 0 {
						return in.Datagrams[0]
					}
					proxy.Wait(mono.Now(), 10*mono.Millisecond)
				}
				t.Fatal("nothing came")
				return Datagram{}
			}
			client.Write(&WriteBatch{Outs: []Out{{Data: []byte("there")}}})
			d := next()
			if d.Socket != 0 || string(d.Data) != "there" || d.Remote != client.SocketAddr(0) {
				t.Fatalf("socket %d received %q from %v", d.Socket, d.Data, d.Remote)
			}
			from := d.Remote
			n, err := proxy.Connect(server.LocalAddr())
			if err != nil || n == 0 {
				t.Fatalf("socket %d: %v", n, err)
			}
			proxy.Write(&WriteBatch{Outs: []Out{{Data: d.Data, Socket: n}}})
			got := collect(t, server, &atServer, 1)[0]
			if string(got.Data) != "there" || got.Remote != proxy.SocketAddr(n) {
				t.Fatalf("the server received %q from %v", got.Data, got.Remote)
			}
			server.Write(&WriteBatch{Outs: []Out{{Data: []byte("back"), Remote: got.Remote}}})
			if d = next(); d.Socket != n || string(d.Data) != "back" {
				t.Fatalf("socket %d received %q", d.Socket, d.Data)
			}
			proxy.Write(&WriteBatch{Outs: []Out{{Data: d.Data, Remote: from}}})
			if got := collect(t, client, &atClient, 1)[0]; string(got.Data) != "back" {
				t.Fatalf("the client received %q", got.Data)
			}
			proxy.CloseSocket(n)
			if proxy.SocketAddr(n) != (Addr{}) {
				t.Error("a closed socket has an address")
			}
		})
	}
}

func TestOnlyClientsWithConnectedSocketsHaveABoundOne(t *testing.T) {
	for _, cfg := range []Config{{}, {Client: true, Shared: true}} {
		cfg.Bound = netip.MustParseAddrPort("127.0.0.1:0")
		if _, err := Open(cfg); !errors.Is(err, errBound) {
			t.Errorf("%+v: %v", cfg, err)
		}
		if _, err := OpenPortable(cfg); !errors.Is(err, errBound) {
			t.Errorf("portable, %+v: %v", cfg, err)
		}
	}
}
