package room

import (
	"fmt"
	"os"
	"strings"
)

// Wire is what crossed an interface while the load lasted, without handshakes.
type Wire struct {
	ToServer   Traffic `json:"to_server"`
	FromServer Traffic `json:"from_server"`
}

// Traffic is one direction of it. Bytes are those of IP packets; Payload is what
// the messages in them had.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Payload uint64 `json:"payload_bytes"`
}

const (
	ethernet  = 14     // bytes of a header that an interface counts too
	ipAndUDP  = 20 + 8 // bytes of what every datagram over IPv4 has
	devFields = 10     // up to the packets that were sent
)

// Overhead is the bytes that a transport put into a packet beside messages, IP
// and a header as long as UDP's.
func (t *Traffic) Overhead() float64 {
	return (float64(t.Bytes)-float64(t.Payload))/float64(max(t.Packets, 1)) - ipAndUDP
}

// Each is the bytes on the wire for each byte of a message, both directions together.
func (w *Wire) Each() float64 {
	return float64(w.ToServer.Bytes+w.FromServer.Bytes) / float64(max(w.ToServer.Payload+w.FromServer.Payload, 1))
}

func (w *Wire) since(o *Wire) *Wire {
	d := *w
	for _, t := range []struct{ to, from *Traffic }{{&d.ToServer, &o.ToServer}, {&d.FromServer, &o.FromServer}} {
		t.to.Packets -= t.from.Packets
		t.to.Bytes -= t.from.Bytes
	}
	return &d
}

// readWire reads an interface's counters; the server is behind it.
func readWire(device string) (w Wire, err error) {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return w, err
	}
	return parseWire(string(text), device)
}

// parseWire reads /proc/net/dev: eight counters of what was received, the first of
// them bytes and packets, and as many of what was sent.
func parseWire(text, device string) (w Wire, err error) {
	for line := range strings.Lines(text) {
		name, counts, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != device {
			continue
		}
		var n [devFields]uint64
		into := make([]any, len(n))
		for i := range n {
			into[i] = &n[i]
		}
		_, err := fmt.Sscan(counts, into...)
		w.FromServer = Traffic{Bytes: n[0] - ethernet*n[1], Packets: n[1]}
		w.ToServer = Traffic{Bytes: n[8] - ethernet*n[9], Packets: n[9]}
		return w, err
	}
	return w, fmt.Errorf("/proc/net/dev has no %s", device)
}
