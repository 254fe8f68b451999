package godwit_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

// streamNetwork is where a suite of streams runs: engines, a path, and a clock.
type streamNetwork struct {
	listen func(t testing.TB) *godwit.Endpoint
	dial   func(t testing.TB, e *godwit.Endpoint) godwit.Conn
}

// lossyLink loses 5 % of the datagrams in each direction.
var lossyLink = godwit.Link{Loss: 0.05, Delay: time.Millisecond}

// onEveryNetwork runs a suite over the engine of the other tests, over the portable one, on a bad network in front of real sockets, and on a bad
// one in the simulator, where goroutines wait in virtual time. The subtests of the last are those of the test outside its bubble.
func onEveryNetwork(t *testing.T, suite func(t *testing.T, n streamNetwork)) {
	portable := godwit.Config{Engine: "portable"}
	for _, c := range []struct {
		name           string
		server, client godwit.Config
	}{
		{name: "Loopback"},
		{name: "Portable", server: portable, client: portable},
		{name: "Loss", client: godwit.Config{Impair: &godwit.Impair{Send: lossyLink, Receive: lossyLink, Seed: 5}}},
	} {
		t.Run(c.name, func(t *testing.T) { suite(t, realNetwork(c.server, c.client)) })
	}
	t.Run("Simulated", func(t *testing.T) {
		godwittest.Bubble(t, 5, lossyLink, func(_ *testing.T, n *godwittest.Net) {
			suite(t, streamNetwork{
				listen: func(testing.TB) *godwit.Endpoint { return n.Listen(nil) },
				dial:   func(_ testing.TB, e *godwit.Endpoint) godwit.Conn { return n.Dial(e, nil) },
			})
		})
	})
}

func realNetwork(server, client godwit.Config) streamNetwork {
	return streamNetwork{
		listen: func(t testing.TB) *godwit.Endpoint {
			e, err := godwit.Listen("127.0.0.1:0", &server)
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
		dial: func(t testing.TB, e *godwit.Endpoint) godwit.Conn {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c, err := godwit.Dial(ctx, e.Addr().String(), &client)
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
	}
}

func TestAStreamIsANetConn(t *testing.T) {
	t.Parallel() // a link with loss makes it wait, most of the time
	onEveryNetwork(t, func(t *testing.T, n streamNetwork) {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			e := n.listen(t)
			dialed := n.dial(t, e)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			accepted, err := e.Accept(ctx)
			if err != nil {
				return nil, nil, nil, err
			}
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
		})
	})
}

// httpService is what the HTTP suite asks.
type httpService struct {
	mux   http.ServeMux
	ended chan error // why the contexts of requests that waited for it ended
}

func newHTTPService() *httpService {
	s := &httpService{ended: make(chan error, 1)}
	s.mux.Handle("/echo", echoHTTP)
	s.mux.HandleFunc("/wait", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		s.ended <- r.Context().Err()
	})
	s.mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(200 * time.Millisecond)
		fmt.Fprint(w, "late")
	})
	// ticks sends each line when the client has confirmed the one before on another request: what is flushed must not wait.
	next := make(chan struct{})
	s.mux.HandleFunc("/ticks", func(w http.ResponseWriter, r *http.Request) {
		for i := range 5 {
			fmt.Fprintln(w, "tick", i)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	s.mux.HandleFunc("/next", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case next <- struct{}{}:
		case <-r.Context().Done():
		}
	})
	s.mux.HandleFunc("/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		c, b, err := w.(http.Hijacker).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer c.Close()
		fmt.Fprint(b, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = b.Flush()        // the client sees what comes
		_, _ = io.Copy(c, b) // until the client has finished
	})
	return s
}

func TestHTTPOverStreams(t *testing.T) {
	t.Parallel() // a link with loss makes it wait, most of the time
	onEveryNetwork(t, func(t *testing.T, n streamNetwork) {
		for _, c := range []struct {
			name string
			test func(*testing.T, godwit.Conn, *http.Client, *httpService)
		}{
			{"KeepAlive", keepAliveHTTP},
			{"LargeBodies", largeBodiesHTTP},
			{"Concurrent", concurrentHTTP},
			{"Flush", flushHTTP},
			{"Cancel", cancelHTTP},
			{"Timeout", timeoutHTTP},
			{"Upgrade", upgradeHTTP},
		} {
			t.Run(c.name, func(t *testing.T) {
				service := newHTTPService()
				e := n.listen(t)
				stop := serveHTTPOn(t, e, &service.mux)
				conn := n.dial(t, e)
				client, _ := httpClient(conn)
				client.Timeout = time.Minute
				c.test(t, conn, client, service)
				client.CloseIdleConnections()
				stop()
				conn.CloseWithError(0, "")
			})
		}
	})
}

// post sends a body to be echoed and compares what comes back.
func post(t *testing.T, client *http.Client, body []byte) {
	t.Helper()
	r, err := client.Post("http://godwit/echo", "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Equal(got, body) || r.Header.Get("Method") != "POST" {
		t.Errorf("%d of %d bytes came back, %v, %v", len(got), len(body), r.Header, err)
	}
}

// get asks for a page within a context and returns it.
func get(ctx context.Context, client *http.Client, page string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://godwit/"+page, nil)
	if err != nil {
		return "", err
	}
	r, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

func keepAliveHTTP(t *testing.T, conn godwit.Conn, _ *http.Client, _ *httpService) {
	client, dials := httpClient(conn)
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 25 {
				post(t, client, bytes.Repeat([]byte(fmt.Sprint(worker, i, " ")), 1+i*300))
			}
		})
	}
	all.Wait()
	if *dials > 8 {
		t.Errorf("100 requests of 4 workers took %d streams: they are not kept alive", *dials)
	}
}

func largeBodiesHTTP(t *testing.T, _ godwit.Conn, client *http.Client, _ *httpService) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)
	for i := range body {
		body[i] ^= byte(i >> 12) // each 4 KiB are others
	}
	post(t, client, body)
	unknown := io.MultiReader(bytes.NewReader(body)) // its length is not known before: it travels in chunks
	r, err := client.Post("http://godwit/echo", "text/plain", unknown)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes came back in chunks, %v", len(got), err)
	}
}

func concurrentHTTP(t *testing.T, _ godwit.Conn, client *http.Client, _ *httpService) {
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() { post(t, client, bytes.Repeat([]byte{byte(i)}, 1000*i)) })
	}
	all.Wait()
}

func flushHTTP(t *testing.T, _ godwit.Conn, client *http.Client, _ *httpService) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://godwit/ticks", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for i := range 5 {
		if want := fmt.Sprint("tick ", i); !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v, want %q", lines.Text(), lines.Err(), want)
		}
		if _, err := get(ctx, client, "next"); err != nil {
			t.Fatal(err)
		}
	}
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("behind the last line: %q, %v", lines.Text(), lines.Err())
	}
}

func cancelHTTP(t *testing.T, _ godwit.Conn, client *http.Client, s *httpService) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := get(ctx, client, "wait"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	select {
	case err := <-s.ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the server's request ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server has not heard that the client gave up")
	}
	post(t, client, []byte("the connection goes on"))
}

func timeoutHTTP(t *testing.T, _ godwit.Conn, client *http.Client, _ *httpService) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := get(ctx, client, "slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its deadline: %v", err)
	}
	if text, err := get(context.Background(), client, "slow"); text != "late" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// upgradeHTTP has the server take the stream out of HTTP's hands, which interrupts a read with a deadline.
func upgradeHTTP(t *testing.T, conn godwit.Conn, _ *http.Client, _ *httpService) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := conn.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET /upgrade HTTP/1.1\r\nHost: godwit\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b := bufio.NewReader(c)
	r, err := http.ReadResponse(b, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", r, err)
	}
	if _, err := fmt.Fprint(c, "no HTTP any more"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*godwit.Stream).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(b); string(text) != "no HTTP any more" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
