package godwit_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/handshake"
)

// The benchmark's server is a process of its own, whose CPU time is then its alone. It speaks the same protocol on godwit streams and on TCP
// connections at the same port: a request is a letter and a count.
const (
	askUp   = 'u' // count bytes follow; the answer is a byte
	askDown = 'd' // the answer is count bytes
	askCPU  = 'c' // the answer is the CPU time of the process in nanoseconds

	// A TCP connection begins with one of these.
	beginPlain = 'P'
	beginTLS   = 'T'

	benchPiece   = 64 << 10 // of one Write
	benchRequest = 9
)

// beBenchServer serves until it is killed.
func beBenchServer(addr string, cfg *godwit.Config) error {
	e, err := godwit.Listen(addr, cfg)
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	identity, err := handshake.LoadDevelopment(cfg.Identity) // Listen has made it
	if err != nil {
		return err
	}
	go acceptEach(e.NetListener(), serveBench)
	go acceptEach(tcp, func(c net.Conn) {
		var begin [1]byte
		if _, err := io.ReadFull(c, begin[:]); err != nil {
			return
		}
		if begin[0] == beginTLS {
			c = tls.Server(c, &tls.Config{GetCertificate: identity.GetCertificate, MinVersion: tls.VersionTLS13})
		}
		serveBench(c)
	})
	return nil
}

func acceptEach(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go serve(c)
	}
}

// serveBench answers requests until the connection ends.
func serveBench(c net.Conn) {
	defer c.Close()
	var request [benchRequest]byte
	piece := make([]byte, benchPiece)
	for {
		if _, err := io.ReadFull(c, request[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint64(request[1:])
		var err error
		switch request[0] {
		case askCPU:
			_, err = c.Write(binary.BigEndian.AppendUint64(nil, uint64(processCPU())))
		case askUp:
			for ; n > 0 && err == nil; n -= uint64(min(n, benchPiece)) {
				_, err = io.ReadFull(c, piece[:min(n, benchPiece)])
			}
			if err == nil {
				_, err = c.Write([]byte{1})
			}
		case askDown:
			for ; n > 0 && err == nil; n -= uint64(min(n, benchPiece)) {
				_, err = c.Write(piece[:min(n, benchPiece)])
			}
		}
		if err != nil {
			return
		}
	}
}

// BenchmarkStream moves bytes in one direction on one connection. ns/op is of 64 KiB; the metric server-ns/B is the CPU time of the server's process.
// TLS is what a stream stands beside, which is encrypted too.
func BenchmarkStream(b *testing.B) {
	addr := freePort(b)
	identity := b.TempDir()
	start(b, "bench", addr, identity)
	for _, direction := range []struct {
		name string
		ask  byte
	}{{"Up", askUp}, {"Down", askDown}} {
		for _, transport := range []struct {
			name string
			dial func(b *testing.B, addr, identity string) net.Conn
		}{{"TCP", dialBenchTCP}, {"TLS", dialBenchTLS}, {"Godwit", dialBenchStream}} {
			b.Run(direction.name+"/"+transport.name, func(b *testing.B) {
				c := transport.dial(b, addr, identity)
				defer c.Close()
				moveBytes(b, c, direction.ask, benchPiece) // warm, and its windows open
				before := serverCPU(b, c)
				b.SetBytes(benchPiece)
				b.ResetTimer()
				moveBytes(b, c, direction.ask, benchPiece*uint64(b.N))
				b.StopTimer()
				used := serverCPU(b, c) - before
				b.ReportMetric(float64(used)/float64(benchPiece*b.N), "server-ns/B")
			})
		}
	}
}

func askBench(b *testing.B, c net.Conn, what byte, n uint64) {
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{what}, n)); err != nil {
		b.Fatal(err)
	}
}

func moveBytes(b *testing.B, c net.Conn, direction byte, n uint64) {
	askBench(b, c, direction, n)
	piece := make([]byte, benchPiece)
	for ; n > 0; n -= min(n, benchPiece) {
		var err error
		if direction == askUp {
			_, err = c.Write(piece[:min(n, benchPiece)])
		} else {
			_, err = io.ReadFull(c, piece[:min(n, benchPiece)])
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if direction == askUp {
		if _, err := io.ReadFull(c, piece[:1]); err != nil {
			b.Fatal(err)
		}
	}
}

func serverCPU(b *testing.B, c net.Conn) time.Duration {
	askBench(b, c, askCPU, 0)
	var answer [8]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		b.Fatal(err)
	}
	return time.Duration(binary.BigEndian.Uint64(answer[:]))
}

func dialBenchTCP(b *testing.B, addr, _ string) net.Conn { return beginBench(b, addr, beginPlain) }

func dialBenchTLS(b *testing.B, addr, _ string) net.Conn {
	return tls.Client(beginBench(b, addr, beginTLS), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
}

func beginBench(b *testing.B, addr string, how byte) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.Write([]byte{how}); err != nil {
		b.Fatal(err)
	}
	return c
}

func dialBenchStream(b *testing.B, addr, identity string) net.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := godwit.Dial(ctx, addr, &godwit.Config{Identity: identity})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.CloseWithError(0, "") })
	c, err := conn.Stream(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return c
}
