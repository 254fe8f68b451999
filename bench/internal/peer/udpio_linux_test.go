package peer

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Only equal messages to one place that stand side by side form a train; a shorter
// one ends it.
func TestTrains(t *testing.T) {
	a, b := &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 1}, &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 2}
	type message struct {
		to   *unix.RawSockaddrInet4
		size int
	}
	for _, c := range []struct {
		name     string
		messages []message
		want     []int32 // messages of each packet
	}{
		{"equal", slices.Repeat([]message{{a, 64}}, 5), []int32{5}},
		{"a shorter one ends it", []message{{a, 64}, {a, 63}, {a, 63}}, []int32{2, 1}},
		{"a longer one does not fit", []message{{a, 64}, {a, 65}, {a, 64}}, []int32{1, 2}},
		{"another place", []message{{a, 64}, {b, 64}, {b, 64}, {a, 64}}, []int32{1, 2, 1}},
		{"as many as the kernel cuts", slices.Repeat([]message{{a, 64}}, mostSegments+2), []int32{mostSegments, 2}},
		{"as long as a packet", slices.Repeat([]message{{a, maxDatagram}}, 46), []int32{45, 1}},
	} {
		o := newOutbox(rawUDP{batch: batchSize, trains: true})
		for _, m := range c.messages {
			from := len(o.buf)
			o.buf = append(o.buf, make([]byte, m.size)...)
			o.add(0, m.to, from)
		}
		var got []int32
		for i := range o.queue {
			got = append(got, o.queue[i].count)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: packets of %v messages, want %v", c.name, got, c.want)
		}
	}
}

// Messages arrive as they were, whichever way they are sent and received, and in
// fewer system calls where that is the point.
func TestDatagramsArrive(t *testing.T) {
	for _, c := range []struct {
		name  string
		u     rawUDP
		calls int // at most, at the receiving end
	}{
		{"one by one", rawUDP{batch: 1}, 100},
		{"batches", rawUDP{batch: batchSize}, 2},
		{"trains", rawUDP{batch: batchSize, trains: true}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, addr, err := c.u.openServer(netip.MustParseAddrPort("127.0.0.1:0"))
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(server)
			client, err := c.u.open()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(client)
			if err := unix.Connect(client, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
				t.Fatal(err)
			}
			o := newOutbox(c.u)
			o.fds = []int{client}
			for i := range 100 {
				from := len(o.buf)
				o.buf = append(o.buf, bytes.Repeat([]byte{byte(i)}, 200-i/50)...) // two sizes
				o.add(0, &connected, from)
			}
			if blocked, errno := o.flush(); blocked || errno != 0 {
				t.Fatalf("flush: %v %v", blocked, errno)
			}
			in := newInbox(c.u, c.u.batch)
			i, calls := 0, 0
			for ; i < 100; calls++ {
				n, errno := in.receive(server, true)
				if n == 0 || errno != 0 {
					t.Fatalf("after %d messages: %v", i, errno)
				}
				for k := range n {
					p, size, from := in.datagram(k)
					if from.Family != unix.AF_INET {
						t.Fatalf("from %+v", from)
					}
					for len(p) > 0 {
						m := p[:min(size, len(p))]
						p = p[len(m):]
						if want := bytes.Repeat([]byte{byte(i)}, 200-i/50); !bytes.Equal(m, want) {
							t.Fatalf("message %d is %x, want %x", i, m, want)
						}
						i++
					}
				}
			}
			if calls > c.calls {
				t.Errorf("%d system calls, want %d at most", calls, c.calls)
			}
			if n, errno := in.receive(server, false); n != 0 || errno != 0 {
				t.Errorf("more: %d %v", n, errno)
			}
		})
	}
}
