package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// exchange builds what one side has to say and hands it to the other, without a link between.
func exchange(from, to *side, now mono.Time, buf []byte, t *wire.Train, path *wire.Path) (messages int) {
	for from.c.BuildTrain(now, buf, t) {
		for i := range t.N {
			o := &t.Packets[i]
			pk := wire.Packet{
				Payload: buf[int(o.Off)+int(o.PNOff)+int(o.PNLen) : int(o.End)-int(o.TagLen)],
				Number:  o.Number, Level: o.Level, Size: int(o.End - o.Off), Path: path,
			}
			to.c.HandlePacket(now, &pk)
			for j := range to.sh.Events {
				e := &to.sh.Events[j]
				if e.Kind == EventMessage {
					messages++
					to.c.Consumed(now, e.Channel, len(e.Payload))
				}
				if e.Ref != 0 {
					to.sh.Pool.Put(e.Ref)
				}
			}
			to.sh.Events = to.sh.Events[:0]
		}
	}
	from.sh.Events = from.sh.Events[:0]
	return messages
}

// BenchmarkEcho is the core's share of an echoed message: 64 messages of 64 B out, the same back, acknowledgments
// riding on them. Protection, mailbox and sockets are not in it.
func BenchmarkEcho(b *testing.B) {
	p := newPair(b, 1, func(c *Config) { c.ECN = false })
	p.link.delay = 10 * mono.Microsecond
	p.connect()
	p.run(mono.Second)
	buf := make([]byte, maxTrain*1500)
	payload := make([]byte, 64)
	var t wire.Train
	toServer, toClient := wire.Path{Remote: p.client.addr, Local: p.server.addr}, wire.Path{Remote: p.server.addr, Local: p.client.addr}
	now := p.now
	round := func() {
		for _, s := range []*side{p.client, p.server} {
			for range 64 {
				s.c.Send(now, &Message{Payload: payload})
			}
			path := &toServer
			if s == p.server {
				path = &toClient
			}
			if n := exchange(s, s.peer, now, buf, &t, path); n != 64 {
				b.Fatalf("%d messages", n)
			}
			now = now.Add(20 * mono.Microsecond)
		}
	}
	for range 50 {
		round()
	}
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/echo")
	p.now = now
}
