package handshake

import (
	"bytes"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"testing"

	"godwit.example/godwit/internal/wire"
)

// session is what the engine calls: both Session and Fake have it.
type session interface {
	Start(out *wire.HandshakeOutput)
	Handle(level wire.Level, data []byte, out *wire.HandshakeOutput)
	Close()
	Done() bool
}

var (
	_ session = (*Session)(nil)
	_ session = (*Fake)(nil)
)

var (
	clientParams = []byte("the client's transport parameters")
	serverParams = []byte("the server's transport parameters")
)

// end is one side of a handshake under test.
type end struct {
	session
	out  wire.HandshakeOutput
	sent [wire.NumLevels]int
}

// flow carries the bytes of both ends to each other, cut into pieces of up to
// piece bytes, until nothing is left or one end failed.
func flow(t testing.TB, client, server *end, piece int, r *rand.Rand) {
	t.Helper()
	client.Start(&client.out)
	server.Start(&server.out)
	for range 10000 {
		moved := deliver(client, server, piece, r)
		moved = deliver(server, client, piece, r) || moved
		if !moved || client.out.Err != nil || server.out.Err != nil {
			return
		}
	}
	t.Fatal("the handshake does not end")
}

func deliver(from, to *end, piece int, r *rand.Rand) (moved bool) {
	for level := range from.out.Crypto {
		data := from.out.Crypto[level]
		from.out.Crypto[level] = nil
		from.sent[level] += len(data)
		for len(data) > 0 && to.out.Err == nil {
			n := len(data)
			if piece > 0 {
				n = min(n, 1+r.IntN(piece))
			}
			to.Handle(wire.Level(level), data[:n], &to.out)
			data = data[n:]
			moved = true
		}
	}
	return moved
}

func testIdentity(t testing.TB) *Identity {
	t.Helper()
	id, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// tlsPair returns both configurations of a server that the client knows by its
// pin.
func tlsPair(t testing.TB) (clientCfg, serverCfg *tls.Config) {
	t.Helper()
	id := testIdentity(t)
	serverCfg, err := ServerConfig(ServerOptions{Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	clientCfg, err = ClientConfig(ClientOptions{ServerName: "localhost", Pins: []Pin{id.Pin()}, Sessions: NewSessionCache(8)})
	if err != nil {
		t.Fatal(err)
	}
	return clientCfg, serverCfg
}

func newEnds(t testing.TB, clientCfg, serverCfg *tls.Config) (client, server *end) {
	t.Helper()
	client = &end{session: NewClient(clientCfg, clientParams)}
	server = &end{session: NewServer(serverCfg, serverParams)}
	t.Cleanup(client.Close)
	t.Cleanup(server.Close)
	return client, server
}

// checkComplete checks everything that a completed handshake hands out.
func checkComplete(t *testing.T, client, server *end) {
	t.Helper()
	for _, e := range []*end{client, server} {
		if e.out.Err != nil || e.out.Alert != NoAlert || !e.out.Complete || e.out.ALPN != wire.ALPN {
			t.Fatalf("not complete: %v, alert %d, complete %v, ALPN %q", e.out.Err, e.out.Alert, e.out.Complete, e.out.ALPN)
		}
		if !e.Done() {
			t.Error("an end still waits for something")
		}
	}
	if !bytes.Equal(client.out.PeerParams, serverParams) || !bytes.Equal(server.out.PeerParams, clientParams) {
		t.Error("the transport parameters did not arrive")
	}
	if client.out.ChecksumSeed != server.out.ChecksumSeed || client.out.ChecksumSeed == 0 {
		t.Errorf("checksum seeds %x and %x", client.out.ChecksumSeed, server.out.ChecksumSeed)
	}
	for _, level := range []wire.Level{wire.LevelHandshake, wire.LevelOneRTT} {
		up, down := secret(t, client, level, true), secret(t, client, level, false)
		if up != secret(t, server, level, false) || down != secret(t, server, level, true) {
			t.Errorf("%v: the secrets differ", level)
		}
		if up == down {
			t.Errorf("%v: both directions have one secret", level)
		}
	}
}

func secret(t *testing.T, e *end, level wire.Level, write bool) wire.Secret {
	t.Helper()
	for _, in := range e.out.Secrets {
		if in.Level == level && in.Write == write {
			return in.Secret
		}
	}
	t.Fatalf("no secret of %v, write %v", level, write)
	return wire.Secret{}
}

func TestHandshakeCompletesHoweverItsBytesAreCut(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		client, server := newEnds(t, clientCfg, serverCfg)
		flow(t, client, server, []int{0, 1, 7, 100, 1200}[seed%5], r)
		checkComplete(t, client, server)
	}
}

func TestBytesBehindFinishedEndTheHandshakeAtOnce(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	client, server := newEnds(t, clientCfg, serverCfg)
	client.Start(&client.out)
	server.Start(&server.out)
	deliver(client, server, 0, nil)
	deliver(server, client, 0, nil)
	flight := append(client.out.Crypto[wire.LevelHandshake], 20, 0, 0, 1, 0)
	server.Handle(wire.LevelHandshake, flight, &server.out)
	var e *Error
	if !errors.As(server.out.Err, &e) || server.out.Alert != alertUnexpectedMessage {
		t.Fatalf("err %v, alert %d", server.out.Err, server.out.Alert)
	}
}
