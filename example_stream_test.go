package godwit_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"godwit.example/godwit"
)

// A stream is a net.Conn beside the messages of its connection.
func ExampleConn_Stream() {
	server, err := godwit.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	go func() {
		c, err := server.Accept(ctx)
		if err != nil {
			log.Fatal(err)
		}
		s, err := c.AcceptStream(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer s.Close()
		if _, err := io.Copy(s, s); err != nil { // until the client has finished
			log.Fatal(err)
		}
	}()

	c, err := godwit.Dial(ctx, server.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	s, err := c.Stream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Fprint(s, "a stream of bytes")
	if err := s.(*godwit.Stream).CloseWrite(); err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(s)
	fmt.Printf("%s, %v\n", answer, err)
	// Output: a stream of bytes, <nil>
}

// HTTP over the streams of a connection: a lost packet holds up one request, not the others.
func ExampleEndpoint_NetListener() {
	endpoint, err := godwit.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "you asked for ", r.URL.Path)
	})}
	defer server.Close()
	go func() { _ = server.Serve(endpoint.NetListener()) }()

	c, err := godwit.Dial(context.Background(), endpoint.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Stream(ctx) },
	}}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://godwit/birds")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	fmt.Println(r.Status, string(body))
	// Output: 200 OK you asked for /birds
}
