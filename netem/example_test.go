package netem_test

import (
	"fmt"
	"log"
	"net"
	"time"

	"godwit.example/godwit/netem"
)

// A server answers through a network that takes 20 ms each way and loses one datagram of three.
func ExampleListen() {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go func() { // echo
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(buf[:n], from)
		}
	}()

	link := netem.Link{Delay: 20 * time.Millisecond, Loss: 1.0 / 3}
	proxy, err := netem.Listen(netem.Config{Target: server.LocalAddr().String(), Up: link, Down: link, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer proxy.Close()

	client, err := net.Dial("udp", proxy.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	began, answer := time.Now(), make([]byte, 1500)
	for try := 1; ; try++ {
		fmt.Fprintf(client, "hello %d", try)
		client.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := client.Read(answer); err == nil {
			fmt.Printf("%s came back\n", answer[:n])
			break
		}
	}
	s := proxy.Stats()
	fmt.Println("at least 40 ms:", time.Since(began) >= 40*time.Millisecond)
	fmt.Println("lost:", s.Up.Lost+s.Down.Lost)
	// Output:
	// hello 3 came back
	// at least 40 ms: true
	// lost: 2
}
