package godwit_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
)

// serveHTTP serves a handler on all streams of a new endpoint.
func serveHTTP(t *testing.T, cfg *godwit.Config, h http.Handler) (e *godwit.Endpoint, stop func()) {
	t.Helper()
	e, err := godwit.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e, serveHTTPOn(t, e, h)
}

// serveHTTPOn serves a handler on all streams of an endpoint. Stopping closes the endpoint.
func serveHTTPOn(t *testing.T, e *godwit.Endpoint, h http.Handler) (stop func()) {
	server := &http.Server{Handler: h}
	served := make(chan error, 1)
	l := e.NetListener()
	go func() { served <- server.Serve(l) }()
	return func() {
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
