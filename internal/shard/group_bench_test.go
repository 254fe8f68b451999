package shard

import (
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
)

// BenchmarkGroupSend compares a message to a group of 1,000 with 1,000 messages, in nanoseconds a member: queue is what the senders and the shard
// do until it transmits, whole is all that they do until the packets are with the socket. A group's members take their message while the
// shard transmits, so the queue alone flatters the group: before-packets-ratio compares all that is not the building of packets, under the
// assumption that a packet costs a group as much as it costs single messages.
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
	settled := func(send func(), queue, whole *time.Duration) {
		start, before := mono.Now(), w.server.counters.Trains
		send()
		w.server.commands(w.now)
		queued := mono.Now()
		for w.server.Step(w.now) <= w.now {
		}
		*queue += queued.Sub(start)
		*whole += mono.Now().Sub(start)
		if n := w.server.counters.Trains - before; n != conns {
			b.Fatalf("%d trains", n)
		}
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
	var queue, whole [2]time.Duration
	for range 5 {
		settled(single, &queue[0], &whole[0])
		settled(grouped, &queue[1], &whole[1])
	}
	queue, whole = [2]time.Duration{}, [2]time.Duration{}
	for b.Loop() {
		settled(single, &queue[0], &whole[0])
		settled(grouped, &queue[1], &whole[1])
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(b.N*conns) }
	b.ReportMetric(per(queue[0]), "single-queue-ns")
	b.ReportMetric(per(queue[1]), "group-queue-ns")
	b.ReportMetric(per(queue[1])/per(queue[0]), "queue-ratio")
	b.ReportMetric(per(whole[0]), "single-ns")
	b.ReportMetric(per(whole[1]), "group-ns")
	b.ReportMetric(per(whole[1])/per(whole[0]), "whole-ratio")
	b.ReportMetric(1-per(whole[0]-whole[1])/per(queue[0]), "before-packets-ratio")
}
