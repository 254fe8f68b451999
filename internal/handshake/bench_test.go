package handshake

import (
	"testing"
	"time"

	"godwit.example/godwit/internal/wire"
)

// BenchmarkServerHandshake measures full handshakes in memory, X25519MLKEM768
// and ECDSA P-256, and reports the server's share of the time.
func BenchmarkServerHandshake(b *testing.B) {
	for _, resumed := range []bool{false, true} {
		b.Run(map[bool]string{false: "full", true: "resumed"}[resumed], func(b *testing.B) {
			clientCfg, serverCfg := tlsPair(b)
			if !resumed {
				clientCfg.ClientSessionCache = nil
			} else {
				handshakeOnce(b, NewClient(clientCfg, clientParams), NewServer(serverCfg, serverParams))
			}
			b.ReportAllocs()
			var server time.Duration
			for b.Loop() {
				server += handshakeOnce(b, NewClient(clientCfg, clientParams), NewServer(serverCfg, serverParams))
			}
			b.ReportMetric(float64(server.Microseconds())/float64(b.N), "server-µs/op")
		})
	}
}

// BenchmarkFakeHandshake is what a simulated connection pays.
func BenchmarkFakeHandshake(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		handshakeOnce(b, NewFakeClient(1, clientParams, FakeOptions{}), NewFakeServer(2, serverParams, FakeOptions{}))
	}
}

// handshakeOnce runs a handshake and returns the time spent in the server's
// methods.
func handshakeOnce(b *testing.B, client, server session) (spent time.Duration) {
	var up, down wire.HandshakeOutput
	timed := func(f func()) {
		start := time.Now()
		f()
		spent += time.Since(start)
	}
	client.Start(&up)
	timed(func() { server.Start(&down) })
	for range 4 {
		for level := range up.Crypto {
			if data := up.Crypto[level]; len(data) > 0 {
				up.Crypto[level] = nil
				timed(func() { server.Handle(wire.Level(level), data, &down) })
			}
		}
		for level := range down.Crypto {
			if data := down.Crypto[level]; len(data) > 0 {
				down.Crypto[level] = nil
				client.Handle(wire.Level(level), data, &up)
			}
		}
	}
	client.Close()
	timed(server.Close)
	if !up.Complete || !down.Complete {
		b.Fatal(up.Err, down.Err)
	}
	return spent
}
