package handshake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/internal/wire"
)

// run does a handshake between two configurations.
func run(t testing.TB, clientCfg, serverCfg *tls.Config) (client, server *end) {
	t.Helper()
	client, server = newEnds(t, clientCfg, serverCfg)
	flow(t, client, server, 0, nil)
	return client, server
}

func serverConfig(t testing.TB, o ServerOptions) *tls.Config {
	t.Helper()
	cfg, err := ServerConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func clientConfig(t testing.TB, o ClientOptions) *tls.Config {
	t.Helper()
	cfg, err := ClientConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// failsWith checks that an end failed in the given way and says what to do.
func failsWith(t *testing.T, e *end, kind Kind, alert int) {
	t.Helper()
	var err *Error
	if !errors.As(e.out.Err, &err) {
		t.Fatalf("error %v", e.out.Err)
	}
	if err.Kind != kind || e.out.Alert != alert || e.out.Complete {
		t.Errorf("%v: kind %d, want %d; alert %d, want %d; complete %v", err, err.Kind, kind, e.out.Alert, alert, e.out.Complete)
	}
	if err.Hint() == "" || !strings.Contains(err.Error(), err.Hint()) {
		t.Errorf("no hint in %q", err)
	}
}

func TestServerIsVerifiedByAuthorityAndName(t *testing.T) {
	ca, stranger := newAuthority(t, "ours"), newAuthority(t, "another")
	serve := func(l leaf) *tls.Config {
		return serverConfig(t, ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{ca.sign(t, l)}}})
	}
	dial := func(a *authority, name string) *tls.Config {
		return clientConfig(t, ClientOptions{TLS: &tls.Config{RootCAs: a.pool}, ServerName: name})
	}
	good := serve(leaf{name: "game.example"})
	client, server := run(t, dial(ca, "game.example"), good)
	checkCompleteWithoutTicket(t, client, server)

	client, _ = run(t, dial(stranger, "game.example"), good)
	failsWith(t, client, KindUnknownAuthority, 42)
	client, _ = run(t, dial(ca, "chat.example"), good)
	failsWith(t, client, KindHostname, 42)
	client, _ = run(t, dial(ca, "game.example"), serve(leaf{name: "game.example", expired: true}))
	failsWith(t, client, KindExpired, 42)
}

// checkCompleteWithoutTicket is checkComplete for a client that keeps no
// sessions.
func checkCompleteWithoutTicket(t *testing.T, client, server *end) {
	t.Helper()
	if client.out.Err != nil || server.out.Err != nil || !client.out.Complete || !server.out.Complete {
		t.Fatalf("client %v, server %v", client.out.Err, server.out.Err)
	}
}

func TestServerIsVerifiedByPin(t *testing.T) {
	id, next := testIdentity(t), testIdentity(t)
	serve := serverConfig(t, ServerOptions{Identity: id})
	dial := func(pins ...Pin) *tls.Config { return clientConfig(t, ClientOptions{Pins: pins}) }

	client, server := run(t, dial(next.Pin(), id.Pin()), serve)
	checkCompleteWithoutTicket(t, client, server)
	certs, ok := client.out.PeerCerts.([]*x509.Certificate)
	if !ok || len(certs) != 1 || PinOf(certs[0]) != id.Pin() {
		t.Errorf("peer certificates %v", client.out.PeerCerts)
	}

	client, _ = run(t, dial(next.Pin()), serve)
	failsWith(t, client, KindPin, 42)
	if !strings.Contains(client.out.Err.Error(), id.Pin().String()) {
		t.Errorf("%q does not show the pin found", client.out.Err)
	}

	ca := newAuthority(t, "ours")
	cert := ca.sign(t, leaf{name: "game.example", expired: true})
	client, _ = run(t, dial(PinOf(cert.Leaf)), serverConfig(t, ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}))
	failsWith(t, client, KindExpired, 42)
}

func TestPinsDoNotReplaceTheUsersOwnVerification(t *testing.T) {
	id := testIdentity(t)
	refusal := errors.New("not on a Sunday")
	cfg := &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return refusal }}
	client, _ := run(t, clientConfig(t, ClientOptions{TLS: cfg, Pins: []Pin{id.Pin()}}), serverConfig(t, ServerOptions{Identity: id}))
	if !errors.Is(client.out.Err, refusal) {
		t.Errorf("error %v", client.out.Err)
	}
}

func TestOnlyGodwitIsSpoken(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	for _, protocols := range [][]string{{"h3"}, nil} {
		other := clientCfg.Clone()
		other.NextProtos = protocols
		_, server := run(t, other, serverCfg)
		failsWith(t, server, KindALPN, alertNoApplicationProtocol)
		other = serverCfg.Clone()
		other.NextProtos = protocols
		client, server := run(t, clientCfg, other)
		if client.out.Err == nil && server.out.Err == nil {
			t.Errorf("a server that speaks %q is accepted", protocols)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	ca, stranger := newAuthority(t, "ours"), newAuthority(t, "another")
	id := testIdentity(t)
	serve := serverConfig(t, ServerOptions{Identity: id, TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}})
	dial := func(certs ...tls.Certificate) *tls.Config {
		return clientConfig(t, ClientOptions{Pins: []Pin{id.Pin()}, TLS: &tls.Config{Certificates: certs}})
	}
	client, server := run(t, dial(ca.sign(t, leaf{name: "alice"})), serve)
	checkCompleteWithoutTicket(t, client, server)
	if certs := server.out.PeerCerts.([]*x509.Certificate); len(certs) != 1 || certs[0].Subject.CommonName != "alice" {
		t.Errorf("peer certificates %v", certs)
	}
	_, server = run(t, dial(), serve)
	failsWith(t, server, KindNoCertificate, 116)
	_, server = run(t, dial(ca.sign(t, leaf{name: "alice", expired: true})), serve)
	failsWith(t, server, KindExpired, 45)
	_, server = run(t, dial(stranger.sign(t, leaf{name: "mallory"})), serve)
	if server.out.Err == nil || server.out.Complete {
		t.Error("a client of another authority is let in")
	}
}

func TestRSAIsRefusedUnlessAllowed(t *testing.T) {
	ca := newAuthority(t, "ours")
	cert := ca.sign(t, leaf{name: "game.example", useRSA: true})
	base := &tls.Config{Certificates: []tls.Certificate{cert}}
	var e *Error
	if _, err := ServerConfig(ServerOptions{TLS: base}); !errors.As(err, &e) || e.Kind != KindRSA {
		t.Errorf("error %v", err)
	}
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	dial := clientConfig(t, ClientOptions{Pins: []Pin{PinOf(cert.Leaf)}})
	_, server := run(t, dial, serverConfig(t, ServerOptions{TLS: &tls.Config{GetCertificate: get}}))
	failsWith(t, server, KindRSA, alertInternalError)
	client, server := run(t, dial, serverConfig(t, ServerOptions{TLS: base, AllowRSA: true}))
	checkCompleteWithoutTicket(t, client, server)
}

func TestHintAboutRSAHelps(t *testing.T) {
	hint := hints[KindRSA]
	if strings.Contains(hint, "allow") {
		t.Errorf("nobody who reads this can allow RSA keys: %s", hint)
	}
	_, command, ok := strings.Cut(hint, "openssl ")
	if !ok {
		t.Fatalf("no command in %q", hint)
	}
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed, and it is its command that is checked")
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if out, err := exec.CommandContext(t.Context(), program, strings.Fields(strings.Replace(command, "FILE", file, 1))...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", command, err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no PEM: %s", text)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if _, ok := key.(*ecdsa.PrivateKey); !ok || err != nil {
		t.Errorf("the command made a %T, %v", key, err)
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	var e *Error
	if _, err := ServerConfig(ServerOptions{}); !errors.As(err, &e) || e.Kind != KindIdentity {
		t.Errorf("server without certificate: %v", err)
	}
	if _, err := ClientConfig(ClientOptions{}); !errors.As(err, &e) || e.Kind != KindHostname {
		t.Errorf("client without name and pins: %v", err)
	}
}

func TestConfigPerClientSpeaksGodwitToo(t *testing.T) {
	id := testIdentity(t)
	chosen := 0
	serve := serverConfig(t, ServerOptions{TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		chosen++
		return &tls.Config{GetCertificate: id.GetCertificate}, nil
	}}})
	dial := clientConfig(t, ClientOptions{ServerName: "localhost", Pins: []Pin{id.Pin()}, Sessions: NewSessionCache(8)})
	for round := range 2 {
		client, server := run(t, dial, serve)
		checkComplete(t, client, server)
		if chosen != round+1 || client.out.Resumed != (round == 1) {
			t.Errorf("round %d: chosen %d times, resumed %v", round, chosen, client.out.Resumed)
		}
	}
}

func TestKeyLogOnlyOnRequest(t *testing.T) {
	id := testIdentity(t)
	var log bytes.Buffer
	serve := serverConfig(t, ServerOptions{Identity: id, TLS: &tls.Config{KeyLogWriter: &log}})
	client, server := run(t, clientConfig(t, ClientOptions{Pins: []Pin{id.Pin()}}), serve)
	checkCompleteWithoutTicket(t, client, server)
	for _, label := range []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} {
		if !strings.Contains(log.String(), label) {
			t.Errorf("no %s in the key log", label)
		}
	}
	if clientConfig(t, ClientOptions{Pins: []Pin{id.Pin()}}).KeyLogWriter != nil {
		t.Error("a key log nobody asked for")
	}
}

func TestHandshakeUsesThePostQuantumHybrid(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	client, server := run(t, clientCfg, serverCfg)
	checkComplete(t, client, server)
	if got := client.session.(*Session).conn.ConnectionState().CurveID; got != tls.X25519MLKEM768 {
		t.Errorf("key exchange %v", got)
	}
	if n := client.sent[wire.LevelInitial]; n < 1200 || n > 2400 {
		t.Errorf("the ClientHello has %d bytes, not two datagrams", n)
	}
}

func TestFlightEstimateIsNearTheTruth(t *testing.T) {
	ca := newAuthority(t, "ours")
	for _, l := range []leaf{{name: "a.example"}, {name: "a.example", filler: 2500}, {name: "a.example", useRSA: true}} {
		cert := ca.sign(t, l)
		serve := serverConfig(t, ServerOptions{AllowRSA: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
		client, server := run(t, clientConfig(t, ClientOptions{ServerName: "a.example", TLS: &tls.Config{RootCAs: ca.pool}}), serve)
		checkCompleteWithoutTicket(t, client, server)
		got, estimate := server.sent[wire.LevelInitial]+server.sent[wire.LevelHandshake], FlightSize(&cert)
		if estimate < got || estimate > got+700 {
			t.Errorf("%+v: %d bytes of CRYPTO, estimate %d", l, got, estimate)
		}
		if (estimate > MaxFlight) != (l.filler > 0) {
			t.Errorf("%+v: warning for %d bytes", l, estimate)
		}
	}
}

// TestTamperedHandshakesFail changes one byte of the handshake at a time: never may
// both ends complete with secrets that differ, nor the end complete that got
// the changed byte in its last flight.
func TestTamperedHandshakesFail(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	clientCfg.ClientSessionCache = nil
	probe, peer := run(t, clientCfg, serverCfg)
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
		for i := 0; i < c.n; i += 1 + c.n/150 {
			client, server := newEnds(t, clientCfg, serverCfg)
			from := server
			if c.fromClient {
				from = client
			}
			client.Start(&client.out)
			server.Start(&server.out)
			tampered := false
			for turn := range 8 {
				if out := from.out.Crypto[c.level]; !tampered && len(out) > i {
					out[i] ^= 0x10
					tampered = true
				}
				if turn%2 == 0 {
					deliver(client, server, 0, nil)
				} else {
					deliver(server, client, 0, nil)
				}
			}
			// Signatures differ in length, so a run's flight may be shorter.
			if tampered && client.out.Complete && server.out.Complete {
				t.Errorf("byte %d of client %v's flight at %v: both ends completed", i, c.fromClient, c.level)
			}
			client.Close()
			server.Close()
		}
	}
}

func TestHandshakeBytesAtTheWrongLevelAreRefused(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	client, server := newEnds(t, clientCfg, serverCfg)
	client.Start(&client.out)
	server.Start(&server.out)
	server.Handle(wire.LevelHandshake, client.out.Crypto[wire.LevelInitial], &server.out)
	failsWith(t, server, KindProtocol, alertUnexpectedMessage)
	client.Handle(wire.LevelInitial, []byte{2, 0xff, 0xff, 0xff}, &client.out)
	failsWith(t, client, KindProtocol, alertDecodeError)
	server.Handle(wire.LevelInitial, []byte{1, 2, 3}, &server.out) // ignored by now
}

func TestServerRefusesBytesAfterTheHandshake(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	client, server := run(t, clientCfg, serverCfg)
	checkComplete(t, client, server)
	server.Close()
	server.Handle(wire.LevelOneRTT, []byte{24, 0, 0, 1, 0}, &server.out)
	if server.out.Err == nil || server.out.Alert != alertUnexpectedMessage {
		t.Errorf("error %v, alert %d", server.out.Err, server.out.Alert)
	}
}

func TestPeersAlertsAreExplained(t *testing.T) {
	for alert, want := range map[uint8]Kind{120: KindALPN, 45: KindExpired, 48: KindUnknownAuthority, 116: KindNoCertificate, 80: KindProtocol, 51: KindProtocol, 42: KindCertificate} {
		err := PeerAlert(alert, true)
		if err.Kind != want || err.Hint() == "" || err.Alert != NoAlert {
			t.Errorf("alert %d: %+v", alert, err)
		}
	}
}

func TestClosingAnUnfinishedSessionStopsIt(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	client, server := newEnds(t, clientCfg, serverCfg)
	client.Close() // never started
	client.Start(&client.out)
	client, _ = newEnds(t, clientCfg, serverCfg)
	client.Start(&client.out)
	server.Start(&server.out)
	server.Handle(wire.LevelInitial, client.out.Crypto[wire.LevelInitial][:100], &server.out)
	server.Close()
	server.Close()
	if !server.Done() || server.out.Err != nil {
		t.Errorf("done %v, error %v", server.Done(), server.out.Err)
	}
}

// FuzzHandle feeds garbage to both kinds of session on both sides, cut at will
// and, from some point on, mixed into a real handshake.
func FuzzHandle(f *testing.F) {
	id := testIdentity(f)
	serverCfg := serverConfig(f, ServerOptions{Identity: id})
	clientCfg := clientConfig(f, ClientOptions{Pins: []Pin{id.Pin()}})
	f.Add([]byte{1, 0, 0, 0}, byte(0), byte(0))
	f.Add([]byte{20, 0, 0, 1, 0}, byte(1), byte(2))
	f.Add([]byte{0xf1, 0, 0, 34}, byte(0), byte(4))
	f.Add(bytes.Repeat([]byte{4, 0, 0, 4, 0, 0, 0, 0}, 20), byte(2), byte(3))
	f.Fuzz(func(t *testing.T, data []byte, level, when byte) {
		level %= wire.NumLevels + 1
		var client, server *end
		if when&4 == 0 {
			client, server = newEnds(t, clientCfg, serverCfg)
		} else {
			client = &end{session: NewFakeClient(uint64(when), clientParams, FakeOptions{})}
			server = &end{session: NewFakeServer(uint64(when), serverParams, FakeOptions{})}
		}
		client.Start(&client.out)
		server.Start(&server.out)
		for range when & 3 {
			deliver(client, server, 0, nil)
			deliver(server, client, 0, nil)
		}
		r := rand.New(rand.NewPCG(1, uint64(when)))
		for _, e := range []*end{client, server} {
			rest := data
			for len(rest) > 0 {
				n := 1 + r.IntN(len(rest))
				e.Handle(wire.Level(level), rest[:n], &e.out)
				rest = rest[n:]
			}
			e.Close()
		}
	})
}

func TestExpiryIsJudgedByTheGivenClock(t *testing.T) {
	id := testIdentity(t)
	cfg := &tls.Config{Time: func() time.Time { return time.Now().Add(-1000 * time.Hour) }}
	client, _ := run(t, clientConfig(t, ClientOptions{Pins: []Pin{id.Pin()}, TLS: cfg}), serverConfig(t, ServerOptions{Identity: id}))
	failsWith(t, client, KindExpired, 42)
}

// The name is checked before the signature, but of a certificate that signed itself the pin is what is missing.
func TestSelfSignedForAnotherNameAsksForThePin(t *testing.T) {
	ours := newAuthority(t, "ours")
	other, err := LoadDevelopment(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client, _ := run(t, clientConfig(t, ClientOptions{TLS: &tls.Config{RootCAs: ours.pool}, ServerName: "192.0.2.2"}), serverConfig(t, ServerOptions{Identity: other}))
	failsWith(t, client, KindUnknownAuthority, 42)
	if text := client.out.Err.Error(); !strings.Contains(text, "(set the server's pin") {
		t.Errorf("%s", text)
	}
}
