package shard

import (
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
)

// BenchmarkGroupSend compares a message to a group of 1,000 with 1,000 messages: what the senders and the shard do until the packets are
// built, and all that they do until the packets are with the socket.
func BenchmarkGroupSend(b *testing.B) {
	const conns = 1000
	w := newWorld(b, 1, nil)
	g := NewGroup([]*Shard{w.server})
	for range conns {
		w.connect()
	}
	w.run(mono.Second)
	for _, r := range w.sapp.opened {
		g.Add(r)
	}
	m := Outbound{Payload: make([]byte, 64), Reliable: true}
	settled := func(send func(), before, whole *time.Duration) {
		start := mono.Now()
		send()
		w.server.commands(w.now)
		queued := mono.Now()
		w.server.Step(w.now)
		*before += queued.Sub(start)
		*whole += mono.Now().Sub(start)
		w.run(100 * mono.Millisecond)
	}
	single := func() {
		for _, r := range w.sapp.opened {
			if w.server.Send(r, &m) != Sent {
				b.Fatal("send")
			}
		}
	}
	grouped := func() {
		if n, _ := g.Send(&m, Ref{}, false); n != conns {
			b.Fatal(n)
		}
	}
	var before, whole [2]time.Duration
	for range 5 {
		settled(single, &before[0], &whole[0])
		settled(grouped, &before[1], &whole[1])
	}
	before, whole = [2]time.Duration{}, [2]time.Duration{}
	for b.Loop() {
		settled(single, &before[0], &whole[0])
		settled(grouped, &before[1], &whole[1])
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(b.N*conns) }
	b.ReportMetric(per(before[0]), "single-queue-ns")
	b.ReportMetric(per(before[1]), "group-queue-ns")
	b.ReportMetric(per(before[1])/per(before[0]), "queue-ratio")
	b.ReportMetric(per(whole[0]), "single-ns")
	b.ReportMetric(per(whole[1]), "group-ns")
	b.ReportMetric(per(whole[1])/per(whole[0]), "ratio")
}
