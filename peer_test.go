package godwit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{pool: x509.NewCertPool()}
	c := a.issue(t, "authority")
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: a.key == nil, BasicConstraintsValid: true,
	}
	parent, signer := a.cert, a.key
	if a.key == nil {
		parent, signer = template, key
		template.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestAuthorizeDecidesByTheClientsCertificate(t *testing.T) {
	ca := newAuthority(t)
	opened := make(chan godwit.Peer, 10)
	e := listen(t, godwit.Config{
		Shards: 1, TLS: &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool},
		Authorize: func(ctx context.Context, p godwit.Peer) error {
			if _, limited := ctx.Deadline(); !limited || !p.Addr.IsValid() {
				t.Error("no deadline, or no address")
			}
			if len(p.VerifiedChains) == 0 {
				return errors.New("nobody knows you")
			}
			if name := p.Certificates[0].Subject.CommonName; name != "alice" {
				return fmt.Errorf("%s may not come in", name)
			}
			time.Sleep(20 * time.Millisecond) // what the client sends meanwhile is not lost
			return nil
		},
		Handler: godwit.Handler{
			Open:    func(c godwit.Conn) error { opened <- c.Identity(); return nil },
			Message: func(c godwit.Conn, m godwit.Message) { _ = c.Send(m.Channel, m.Payload) },
		},
	})
	for _, round := range []string{"first", "again"} {
		alice := dial(t, e, godwit.Config{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "alice")}}})
		exchange(t, alice, "hello "+round)
		p := <-opened
		if len(p.VerifiedChains) != 1 || p.Certificates[0].Subject.CommonName != "alice" || p.Pin == (godwit.Pin{}) || p.Addr != alice.Endpoint().Addr() && !p.Addr.IsValid() {
			t.Errorf("%+v", p)
		}
		if server := alice.Identity(); server.Pin != e.Identity() || len(server.Certificates) == 0 {
			t.Errorf("the server is %v, not %v", server.Pin, e.Identity())
		}
	}
	for name, cfg := range map[string]*tls.Config{
		"mallory may not come in": {Certificates: []tls.Certificate{ca.issue(t, "mallory")}},
		"nobody knows you":        nil,
	} {
		c, err := godwit.Dial(deadline(t, 10*time.Second), e.Addr().String(), &godwit.Config{TLS: cfg})
		if err == nil {
			<-c.Done()
			err = c.Err()
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
	if len(opened) != 0 {
		t.Error("a client that was denied has been opened")
	}
}

func TestAuthorizeHoldsUpNobodyElse(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int64
	e := listen(t, godwit.Config{
		Shards: 1, Handler: echo, Tuning: godwit.Tuning{Workers: 1},
		Authorize: func(ctx context.Context, _ godwit.Peer) error {
			if asked.Add(1) > 5 {
				return nil
			}
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	var waiting []godwit.Conn
	for range 5 {
		waiting = append(waiting, dial(t, e, godwit.Config{}))
	}
	for asked.Load() < 5 {
		time.Sleep(time.Millisecond)
	}
	exchange(t, dial(t, e, godwit.Config{}), "hello")
	close(release)
	for _, c := range waiting {
		exchange(t, c, "at last")
	}
}

func TestAuthorizeEndsWithItsEndpointAndItsTime(t *testing.T) {
	ended := make(chan error, 2)
	cfg := godwit.Config{Shards: 1, HandshakeTimeout: 300 * time.Millisecond, Authorize: func(ctx context.Context, _ godwit.Peer) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	late := listen(t, cfg)
	c := dial(t, late, godwit.Config{})
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-c.Done()
	var told *godwit.CloseError
	if !errors.As(c.Err(), &told) || !told.Remote || !told.Transport {
		t.Errorf("the client was not told: %v", c.Err())
	}
	if n := late.Stats().PacketsReceived; n > 50 {
		t.Errorf("%d packets while the application thought", n)
	}
	cfg.HandshakeTimeout = 0
	e := listen(t, cfg)
	dial(t, e, godwit.Config{})
	time.Sleep(50 * time.Millisecond)
	e.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRefusalsHaveTransportCodes(t *testing.T) {
	policy := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{Open: func(godwit.Conn) error { return errors.New("not today") }}})
	chosen := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{Open: func(godwit.Conn) error { return &godwit.CloseError{Code: 7, Reason: "seven"} }}})
	async := listen(t, godwit.Config{Shards: 1, Handler: godwit.Async(godwit.Handler{Open: func(godwit.Conn) error { return errors.New("not today") }}, 1)})
	full := listen(t, godwit.Config{Shards: 1, Tuning: godwit.Tuning{AcceptBacklog: 1}})
	dial(t, full, godwit.Config{})
	for _, tc := range []struct {
		name string
		e    *godwit.Endpoint
		want godwit.CloseError
	}{
		{"policy", policy, godwit.CloseError{Code: 0x6708, Reason: "not today", Remote: true, Transport: true}},
		{"policy, async", async, godwit.CloseError{Code: 0x6708, Reason: "not today", Remote: true, Transport: true}},
		{"chosen", chosen, godwit.CloseError{Code: 7, Reason: "seven", Remote: true}},
		{"accept queue", full, godwit.CloseError{Code: 0x6706, Remote: true, Transport: true}},
	} {
		c := dial(t, tc.e, godwit.Config{})
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it stays open", tc.name)
		}
		var got *godwit.CloseError
		if !errors.As(c.Err(), &got) || *got != tc.want {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}

func TestClosingADialedEndpointLeavesOtherDialsAlone(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	one, two, three := dial(t, e, godwit.Config{}), dial(t, e, godwit.Config{}), dial(t, e, godwit.Config{})
	if err := one.Endpoint().Close(); err != nil {
		t.Fatal(err)
	}
	if err := two.Endpoint().Shutdown(deadline(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	exchange(t, three, "still here")
	for _, c := range []godwit.Conn{one, two} {
		if err := c.Send(0, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after its endpoint was closed: %v", err)
		}
		if err := c.Endpoint().Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
	}
	if _, err := three.Endpoint().Dial(deadline(t, time.Second), e.Addr().String(), nil); err == nil {
		t.Error("the endpoint of a dialed connection dialed another")
	}
}

func TestIdleTimeoutErrorSaysHowLongThePeerWasSilent(t *testing.T) {
	for _, sending := range []bool{false, true} {
		godwittest.Run(t, 1, godwittest.Link{Delay: 10 * time.Millisecond}, func(t testing.TB, n *godwittest.Net) {
			server := n.Listen(&godwit.Config{Handler: echo})
			c := n.Dial(server, &godwit.Config{IdleTimeout: 20 * time.Second, KeepAlive: -1})
			n.Sleep(time.Second)
			n.Blackout(time.Hour)
			if sending {
				_ = c.Send(0, []byte("is anybody there"))
			}
			n.Until(func() bool { return c.State() == godwit.StateGone || c.State() == godwit.StateClosed })
			var idle *godwit.IdleTimeoutError
			least, most := 20*time.Second, 22*time.Second
			if sending {
				least, most = 10*time.Second, 15*time.Second
			}
			if !errors.As(c.Err(), &idle) || idle.After < least || idle.After > most {
				t.Errorf("sending %v: %v", sending, c.Err())
			}
		})
	}
}
