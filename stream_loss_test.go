package godwit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"godwit.example/godwit"
)

// lossy loses 5 % of the datagrams in each direction.
func lossy() *godwit.Config {
	link := godwit.Link{Loss: 0.05, Delay: time.Millisecond}
	return &godwit.Config{Impair: &godwit.Impair{Send: link, Receive: link, Seed: 5}}
}

func TestAStreamIsANetConnUnderLoss(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) { return streamPipe(t, lossy()) })
}

// streamPipe returns the two ends of a stream, of which the client's may have a bad network.
func streamPipe(t testing.TB, client *godwit.Config) (c1, c2 net.Conn, stop func(), err error) {
	e, dialed, accepted := streamConns(t, nil, client)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if c1, err = dialed.Stream(ctx); err != nil {
		return nil, nil, nil, err
	}
	if c2, err = accepted.AcceptStream(ctx); err != nil {
		return nil, nil, nil, err
	}
	return c1, c2, func() {
		c1.Close()
		c2.Close()
		dialed.CloseWithError(0, "")
		e.Close()
	}, nil
}

// serveHTTP serves a handler on all streams of a new endpoint.
func serveHTTP(t *testing.T, cfg *godwit.Config, h http.Handler) (e *godwit.Endpoint, stop func()) {
	t.Helper()
	e, err := godwit.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	served := make(chan error, 1)
	l := e.NetListener()
	go func() { served <- server.Serve(l) }()
	return e, func() {
		server.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
		e.Close()
	}
}

// echoHTTP answers with the body it got, and the method. It reads all first, as HTTP/1 wants it.
var echoHTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Method", r.Method)
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
})

// httpClient makes requests on streams of a connection.
func httpClient(c godwit.Conn) (*http.Client, *int) {
	dials := new(int)
	var mu sync.Mutex
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 8,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			mu.Lock()
			*dials++
			mu.Unlock()
			return c.Stream(ctx)
		},
	}}, dials
}

func TestHTTPOverStreamsUnderLoss(t *testing.T) {
	e, stop := serveHTTP(t, nil, echoHTTP)
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, err := godwit.Dial(ctx, e.Addr().String(), lossy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, dials := httpClient(conn)
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 25 {
				body := bytes.Repeat([]byte(fmt.Sprint(worker, i, " ")), 1+i*300)
				r, err := client.Post("http://godwit/", "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || !bytes.Equal(got, body) || r.Header.Get("Method") != "POST" {
					t.Errorf("request %d of %d: %d of %d bytes, %v", i, worker, len(got), len(body), err)
					return
				}
			}
		})
	}
	all.Wait()
	if *dials > 8 {
		t.Errorf("100 requests of 4 workers took %d streams: they are not kept alive", *dials)
	}
}

// A handler for messages and streams for HTTP on the same connection, and more connections than anybody accepts.
func TestStreamsBesideAHandler(t *testing.T) {
	for name, cfg := range map[string]*godwit.Config{
		"handler": {Handler: echo}, "async": {Handler: godwit.Async(echo, 2)}, "receive": {Tuning: godwit.Tuning{AcceptBacklog: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			e, stop := serveHTTP(t, cfg, echoHTTP)
			defer stop()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			for range 3 {
				conn, err := godwit.Dial(ctx, e.Addr().String(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				client, _ := httpClient(conn)
				defer client.CloseIdleConnections()
				r, err := client.Get("http://godwit/")
				if err != nil || r.StatusCode != 200 {
					t.Fatalf("%v, %v", r, err)
				}
				r.Body.Close()
				if name == "receive" {
					continue
				}
				if err := conn.Send(0, []byte("hello")); err != nil {
					t.Fatal(err)
				}
				if m, err := conn.Receive(ctx, nil); err != nil || string(m.Payload) != "hello" {
					t.Errorf("%q, %v", m.Payload, err)
				}
			}
		})
	}
}

func TestStreamsNeedNoGoroutines(t *testing.T) {
	e, dialed, accepted := streamConns(t, &godwit.Config{Shards: 1}, nil)
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	open := func(n int) {
		for range n {
			c, err := dialed.Stream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			s, err := accepted.AcceptStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(1)
	few := runtime.NumGoroutine()
	open(90)
	waitFor(t, 5*time.Second, "91 streams need no more goroutines than one", func() bool { return runtime.NumGoroutine() <= few })
}
