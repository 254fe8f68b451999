package handshake

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"

	"godwit.example/godwit/internal/wire"
)

// resumes runs a handshake and checks whether it took up an earlier session.
func resumes(t *testing.T, clientCfg, serverCfg *tls.Config, want bool) (client, server *end) {
	t.Helper()
	client, server = run(t, clientCfg, serverCfg)
	if client.out.Err != nil || server.out.Err != nil {
		t.Fatalf("client %v, server %v", client.out.Err, server.out.Err)
	}
	if client.out.Resumed != want || server.out.Resumed != want {
		t.Errorf("resumed: client %v, server %v, want %v", client.out.Resumed, server.out.Resumed, want)
	}
	return client, server
}

func TestSecondConnectionResumes(t *testing.T) {
	clientCfg, serverCfg := tlsPair(t)
	first, firstServer := resumes(t, clientCfg, serverCfg, false)
	second, server := resumes(t, clientCfg, serverCfg, true)
	checkComplete(t, second, server)
	if second.out.ChecksumSeed == first.out.ChecksumSeed {
		t.Error("both connections have one checksum seed")
	}
	if server.sent[wire.LevelHandshake] >= firstServer.sent[wire.LevelHandshake] {
		t.Error("resumption saves the server nothing")
	}
	resumes(t, clientCfg, serverCfg, true)
}

func TestPinIsCheckedOnResumptionToo(t *testing.T) {
	id := testIdentity(t)
	serverCfg := serverConfig(t, ServerOptions{Identity: id})
	cache := NewSessionCache(8)
	trusting := clientConfig(t, ClientOptions{ServerName: "localhost", Pins: []Pin{id.Pin()}, Sessions: cache})
	resumes(t, trusting, serverCfg, false)
	resumes(t, trusting, serverCfg, true)

	other := Pin(sha256.Sum256([]byte("another key")))
	wary := clientConfig(t, ClientOptions{ServerName: "localhost", Pins: []Pin{other}, Sessions: cache})
	client, _ := run(t, wary, serverCfg)
	failsWith(t, client, KindPin, 42)
	// Even if the cache gave it the session, the pin would be looked at.
	wary.ClientSessionCache = trusting.ClientSessionCache
	client, _ = run(t, wary, serverCfg)
	failsWith(t, client, KindPin, 42)
}

func TestVerificationThatResumptionWouldSkipPreventsIt(t *testing.T) {
	id := testIdentity(t)
	serverCfg := serverConfig(t, ServerOptions{Identity: id})
	calls := 0
	cfg := &tls.Config{VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { calls++; return nil }}
	clientCfg := clientConfig(t, ClientOptions{ServerName: "localhost", Pins: []Pin{id.Pin()}, Sessions: NewSessionCache(8), TLS: cfg})
	for range 3 {
		resumes(t, clientCfg, serverCfg, false)
	}
	if calls != 3 {
		t.Errorf("verified %d times", calls)
	}
}

func TestTicketsAreBoundToNameAndClient(t *testing.T) {
	ca := newAuthority(t, "ours")
	id := testIdentity(t)
	serverCfg := serverConfig(t, ServerOptions{Identity: id, TLS: &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool}})
	cache := NewSessionCache(8)
	dial := func(name string, certs ...tls.Certificate) *tls.Config {
		return clientConfig(t, ClientOptions{ServerName: name, Pins: []Pin{id.Pin()}, Sessions: cache, TLS: &tls.Config{Certificates: certs}})
	}
	alice := ca.sign(t, leaf{name: "alice"})
	one := dial("one.example")
	resumes(t, one, serverCfg, false)
	resumes(t, one, serverCfg, true)
	resumes(t, dial("two.example"), serverCfg, false)        // another name
	resumes(t, dial("one.example", alice), serverCfg, false) // another client
	resumes(t, dial("one.example", alice), serverCfg, true)

	// A client that presents the session of one name to another server name of
	// the same server gets a full handshake.
	stolen := dial("three.example")
	stolen.ClientSessionCache = otherKey{one.ClientSessionCache, "one.example"}
	resumes(t, stolen, serverCfg, false)
}

// otherKey finds the session of a fixed name, whatever is asked for.
type otherKey struct {
	tls.ClientSessionCache
	name string
}

func (o otherKey) Get(string) (*tls.ClientSessionState, bool) {
	return o.ClientSessionCache.Get(o.name)
}

func TestLongTicketsStayOnTheServer(t *testing.T) {
	ca := newAuthority(t, "ours")
	id := testIdentity(t)
	store := NewTicketStore(2)
	serverCfg := serverConfig(t, ServerOptions{Identity: id, Tickets: store, TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}})
	dial := func(name string, filler int) *tls.Config {
		cert := ca.sign(t, leaf{name: name, filler: filler})
		return clientConfig(t, ClientOptions{ServerName: "localhost", Pins: []Pin{id.Pin()}, Sessions: NewSessionCache(8), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	}
	alice := dial("alice", 1000)
	first, _ := resumes(t, alice, serverCfg, false)
	if store.Len() != 1 {
		t.Fatalf("%d sessions kept", store.Len())
	}
	second, _ := resumes(t, alice, serverCfg, true)
	if grown := second.sent[wire.LevelInitial] - first.sent[wire.LevelInitial]; grown > 120 {
		t.Errorf("the ticket makes the ClientHello %d bytes longer", grown)
	}
	for i := range 5 {
		resumes(t, dial(fmt.Sprint("client ", i), 1000), serverCfg, false)
	}
	if store.Len() != 2 {
		t.Errorf("%d sessions kept, limit 2", store.Len())
	}
	resumes(t, alice, serverCfg, false) // its session had to go

	huge := dial("huge", maxStored)
	resumes(t, huge, serverCfg, false)
	resumes(t, huge, serverCfg, false)
}

func TestServerWithoutTicketsDoesNotResume(t *testing.T) {
	id := testIdentity(t)
	serverCfg := serverConfig(t, ServerOptions{Identity: id, TLS: &tls.Config{SessionTicketsDisabled: true}})
	clientCfg := clientConfig(t, ClientOptions{ServerName: "localhost", Pins: []Pin{id.Pin()}, Sessions: NewSessionCache(8)})
	resumes(t, clientCfg, serverCfg, false)
	client, server := resumes(t, clientCfg, serverCfg, false)
	if client.Done() || !server.Done() {
		t.Error("the client waits for a ticket until its transport stops it; the server does not")
	}
}

func TestClientKeepsFewSessions(t *testing.T) {
	id := testIdentity(t)
	serverCfg := serverConfig(t, ServerOptions{Identity: id})
	cache := NewSessionCache(2)
	dial := func(n int) *tls.Config {
		return clientConfig(t, ClientOptions{ServerName: fmt.Sprintf("host%d.example", n), Pins: []Pin{id.Pin()}, Sessions: cache})
	}
	for n := range 3 {
		resumes(t, dial(n), serverCfg, false)
	}
	resumes(t, dial(2), serverCfg, true)
	resumes(t, dial(0), serverCfg, false)
}
