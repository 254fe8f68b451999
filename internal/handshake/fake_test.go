package handshake

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"godwit.example/godwit/internal/wire"
)

func fakeEnds(seed uint64, o FakeOptions) (client, server *end) {
	return &end{session: NewFakeClient(seed, clientParams, o)}, &end{session: NewFakeServer(seed+1, serverParams, o)}
}

func TestFakeHandshakeCompletesHoweverItsBytesAreCut(t *testing.T) {
	for seed := range uint64(50) {
		client, server := fakeEnds(seed, FakeOptions{})
		flow(t, client, server, []int{0, 1, 7, 100, 1200}[seed%5], rand.New(rand.NewPCG(seed, 1)))
		checkComplete(t, client, server)
		for _, c := range []struct{ n, low, high int }{
			{client.sent[wire.LevelInitial], 300, 2000},
			{client.sent[wire.LevelHandshake], 36, 36},
			{client.sent[wire.LevelOneRTT], 0, 0},
			{server.sent[wire.LevelInitial], 90, 1200},
			{server.sent[wire.LevelHandshake], 500, 3100},
			{server.sent[wire.LevelOneRTT], 200, 210},
		} {
			if c.n < c.low || c.n > c.high {
				t.Errorf("seed %d: a flight of %d bytes, want %d to %d", seed, c.n, c.low, c.high)
			}
		}
	}
}

// TestFakeHasTheShapeOfTLS compares levels, directions and order of secrets.
func TestFakeHasTheShapeOfTLS(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	real, realServer := run(t, clientCfg, serverCfg)
	fake, fakeServer := fakeEnds(1, FakeOptions{})
	flow(t, fake, fakeServer, 0, nil)
	shape := func(e *end) (s []wire.SecretInstall) {
		for _, in := range e.out.Secrets {
			s = append(s, wire.SecretInstall{Level: in.Level, Write: in.Write})
		}
		return s
	}
	if a, b := shape(real), shape(fake); !reflect.DeepEqual(a, b) {
		t.Errorf("client: TLS %v, fake %v", a, b)
	}
	if a, b := shape(realServer), shape(fakeServer); !reflect.DeepEqual(a, b) {
		t.Errorf("server: TLS %v, fake %v", a, b)
	}
	for level := range real.sent {
		if (real.sent[level] > 0) != (fake.sent[level] > 0) || (realServer.sent[level] > 0) != (fakeServer.sent[level] > 0) {
			t.Errorf("level %d: TLS sends %d and %d bytes, the fake %d and %d", level,
				real.sent[level], realServer.sent[level], fake.sent[level], fakeServer.sent[level])
		}
	}
}

func TestFakeHandshakeFollowsFromItsSeed(t *testing.T) {
	record := func(seed uint64) (secrets []wire.SecretInstall, hello []byte) {
		client, _ := fakeEnds(seed, FakeOptions{})
		client.Start(&client.out)
		hello = bytes.Clone(client.out.Crypto[wire.LevelInitial])
		client, server := fakeEnds(seed, FakeOptions{})
		flow(t, client, server, 0, nil)
		return append(client.out.Secrets, server.out.Secrets...), hello
	}
	a, helloA := record(5)
	b, helloB := record(5)
	c, helloC := record(6)
	if !reflect.DeepEqual(a, b) || !bytes.Equal(helloA, helloB) {
		t.Error("one seed, two handshakes")
	}
	if reflect.DeepEqual(a, c) || bytes.Equal(helloA, helloC) {
		t.Error("two seeds, one handshake")
	}
}

func TestFakeHandshakeSizesCanBeSet(t *testing.T) {
	client, server := fakeEnds(3, FakeOptions{ClientHello: 5000, ServerHello: 100, Certificate: 9000, NoTicket: true})
	flow(t, client, server, 0, nil)
	checkComplete(t, client, server)
	if client.sent[wire.LevelInitial] != 5000 || server.sent[wire.LevelInitial] != 100 || server.sent[wire.LevelOneRTT] != 0 {
		t.Errorf("client %v, server %v", client.sent, server.sent)
	}
}

func TestTamperedFakeHandshakesFail(t *testing.T) {
	o := FakeOptions{ClientHello: 320, ServerHello: 90, Certificate: 500}
	probe, peer := fakeEnds(1, o)
	flow(t, probe, peer, 0, nil)
	for _, c := range []struct {
		fromClient bool
		level      wire.Level
		n          int
	}{
		{true, wire.LevelInitial, probe.sent[wire.LevelInitial]},
		{true, wire.LevelHandshake, probe.sent[wire.LevelHandshake]},
		{false, wire.LevelInitial, peer.sent[wire.LevelInitial]},
		{false, wire.LevelHandshake, peer.sent[wire.LevelHandshake]},
	} {
		for i := range c.n {
			client, server := fakeEnds(1, o)
			from := server
			if c.fromClient {
				from = client
			}
			client.Start(&client.out)
			tampered := false
			for turn := range 8 {
				if out := from.out.Crypto[c.level]; !tampered && len(out) > 0 {
					out[i] ^= 1
					tampered = true
				}
				if turn%2 == 0 {
					deliver(client, server, 0, nil)
				} else {
					deliver(server, client, 0, nil)
				}
			}
			if !tampered {
				t.Fatal("the flight never came")
			}
			if client.out.Complete && server.out.Complete {
				t.Fatalf("byte %d of client %v's flight at %v went unnoticed", i, c.fromClient, c.level)
			}
		}
	}
}
