package udp

import (
	"testing"

	"godwit.example/godwit/internal/mono"
)

// roundTrip sends a train and a datagram on each of the client's sockets, has
// the server echo them and reads them back.
type roundTrip struct {
	server, client *Engine
	in, back       ReadBatch
	out, reply     WriteBatch
	sockets        int
	failed         bool
}

func (r *roundTrip) run() {
	r.out.Outs = r.out.Outs[:cap(r.out.Outs)]
	r.client.Write(&r.out)
	for served := 0; served < 4*r.sockets; {
		r.server.Wait(mono.Now(), mono.Second)
		if r.server.Read(&r.in) == 0 {
			r.failed = true
			return
		}
		r.reply.Outs = r.reply.Outs[:0]
		for i := range r.in.N {
			d := &r.in.Datagrams[i]
			served += segmentsOf(len(d.Data), d.Segment)
			r.reply.Outs = append(r.reply.Outs, Out{
				Data: d.Data, Segment: d.Segment, Remote: d.Remote, Local: d.Local, ECN: d.ECN,
			})
		}
		r.server.Write(&r.reply)
	}
	for served := 0; served < 4*r.sockets; {
		r.client.Wait(mono.Now(), mono.Second)
		if r.client.Read(&r.back) == 0 {
			r.failed = true
			return
		}
		for i := range r.back.N {
			served += segmentsOf(len(r.back.Datagrams[i].Data), r.back.Datagrams[i].Segment)
		}
	}
}

func TestSteadyPathAllocatesNothing(t *testing.T) {
	for _, sockets := range []int{1, 5} {
		for _, addr := range []string{"0.0.0.0:0", "[::]:0"} {
			server := testServer(t, addr)
			r := roundTrip{server: server, client: testEngine(t, Config{Client: true}), sockets: sockets}
			for i := range sockets {
				if _, err := r.client.Connect(at(server, "127.0.0.1")); err != nil {
					t.Fatal(err)
				}
				r.out.Outs = append(r.out.Outs,
					Out{Data: pattern(3, 100, 50), Segment: 100, ECN: 2, Socket: uint32(i)},
					Out{Data: []byte("single"), ECN: 2, Socket: uint32(i)})
			}
			r.reply.Outs = make([]Out, 0, 64)
			r.run()
			if n := testing.AllocsPerRun(100, r.run); n != 0 || r.failed {
				t.Errorf("%d sockets, %s: %v allocations a round trip, failed %v", sockets, addr, n, r.failed)
			}
			r.in.Free()
			r.back.Free()
		}
	}
}

func TestDemotedPathAllocatesNothing(t *testing.T) {
	server := testServer(t, "127.0.0.1:0")
	r := roundTrip{server: server, client: testEngine(t, Config{Client: true, DisableGSO: true, DisableGRO: true}), sockets: 1}
	if _, err := r.client.Connect(at(server, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	r.out.Outs = append(r.out.Outs, Out{Data: pattern(4, 100, 50), Segment: 100, ECN: 1})
	r.reply.Outs = make([]Out, 0, 64)
	r.run()
	if n := testing.AllocsPerRun(100, r.run); n != 0 || r.failed {
		t.Errorf("%v allocations a round trip, failed %v", n, r.failed)
	}
	r.in.Free()
	r.back.Free()
}

func TestWakeAndStatsAllocateNothing(t *testing.T) {
	e := testServer(t, "127.0.0.1:0")
	n := testing.AllocsPerRun(100, func() {
		e.Wake()
		e.Wait(mono.Now(), -1)
		e.Wait(mono.Now(), mono.Microsecond)
		_ = e.Stats()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
