//go:build unix

package shard

import (
	"runtime"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
)

// echoWorld connects clients whose messages come back for ever.
func echoWorld(tb testing.TB, conns, outstanding, size int) (w *world, echoed *int) {
	w = newWorld(tb, 1, nil)
	echoed = new(int)
	var out Outbound
	back := func(s *Shard, r Ref, ev *proto.Event) bool {
		out.Payload, out.Channel, out.Reliable = ev.Payload, ev.Channel, true
		if st := s.Send(r, &out); st != Sent {
			tb.Errorf("send says %d", st)
		}
		return true
	}
	w.sapp.message = func(s *Shard, r Ref, ev *proto.Event) bool {
		*echoed++
		return back(s, r, ev)
	}
	w.capp.message = back
	var refs []Ref
	for range conns {
		refs = append(refs, w.connect())
	}
	w.run(mono.Second) // the handshakes' rest is over
	payload := make([]byte, size)
	for range outstanding {
		for _, r := range refs {
			if w.client.Send(r, &Outbound{Payload: payload, Reliable: true}) != Sent {
				tb.Fatal("send")
			}
		}
	}
	return w, echoed
}

// round lets time pass by one way of the network and returns what the server's step took.
func (w *world) round() (server time.Duration) {
	w.now = w.now.Add(testDelay)
	w.net.Advance(w.now)
	for i, s := range w.shards {
		if !w.sockets[i].Pending() && !w.sockets[i].Woken() && w.due[i] > w.now {
			continue
		}
		start := threadTime()
		for again := true; again; again = w.due[i] <= w.now || !s.Idle() {
			w.sockets[i].Wait(w.now, 0)
			w.due[i] = s.Step(w.now)
		}
		if s == w.server {
			server += threadTime() - start
		}
	}
	return server
}

// BenchmarkServerEcho is the server's part of workload W3 without the kernel.
func BenchmarkServerEcho(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w, echoed := echoWorld(b, 100, 64, 64)
	for range 100 {
		w.round()
	}
	*echoed = 0
	trains := w.server.counters.Trains
	var spent time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for *echoed < b.N {
		spent += w.round()
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(*echoed), "server-ns/msg")
	b.ReportMetric(float64(*echoed)/float64(w.server.counters.Trains-trains), "msg/train")
}

func TestEchoDoesNotAllocate(t *testing.T) {
	w, echoed := echoWorld(t, 10, 64, 64)
	for range 300 {
		w.round()
	}
	before := *echoed
	const rounds = 50
	n := testing.AllocsPerRun(rounds, func() { w.round() })
	if *echoed-before < rounds*100 {
		t.Fatalf("only %d messages were echoed", *echoed-before)
	}
	if n > 0 {
		t.Errorf("%.1f allocations in a round of about %d messages", n, (*echoed-before)/(rounds+1))
	}
}
