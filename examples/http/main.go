// Command http serves HTTP over streams: net/http at both ends, and a connection that survives a change of address below it.
//
//	http            serve and ask on loopback, print the answers
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"godwit.example/godwit"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

// handler answers with the time, and keeps one of its answers back.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(300 * time.Millisecond):
			fmt.Fprintln(w, "that took a while")
		case <-r.Context().Done():
		}
	})
	return mux
}

// newClient returns an HTTP client whose requests travel on streams of one connection.
func newClient(c godwit.Conn) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Stream(ctx) },
		IdleConnTimeout: time.Minute,
	}}
}

func get(client *http.Client, path string) (string, error) {
	resp, err := client.Get("http://godwit" + path) // the streams are encrypted already: no https
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func run(ctx context.Context) error {
	endpoint, err := godwit.Listen("127.0.0.1:0", nil)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	server := &http.Server{Handler: handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(endpoint.NetListener()) }()

	c, err := godwit.Dial(ctx, endpoint.Addr().String(), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	client := newClient(c)
	slow := make(chan string, 1)
	go func() {
		text, err := get(client, "/slow") // on a stream of its own: nobody waits behind it
		if err != nil {
			text = err.Error() + "\n"
		}
		slow <- text
	}()
	for _, name := range []string{"Ann", "Bob"} {
		text, err := get(client, "/hello/"+name)
		if err != nil {
			return err
		}
		fmt.Print(text)
	}
	fmt.Print(<-slow)
	client.CloseIdleConnections()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
