package load

import (
	"context"
	"errors"

	"godwit.example/godwit/internal/metric"
)

// Part is what one of several processes measured that load a server together.
// Encoded as JSON it goes to the process that merges all of them; its fields
// mean nothing else to anybody.
type Part struct {
	Planned, Sent, Received, Returned, Corrupted, Repeated uint64

	Latency, Lateness, Staleness *metric.Histogram

	Connections int
	Handshakes  float64 // a second; 0 if there are none
	Local       bool    // the server runs on this machine
	Counted     bool    // the transport counts packets and messages
	Packets     packetCounts
	Spent       spent
}

// RunPart is Run for one of several processes. cfg describes this process's share
// of the load, without reference; ready is called when its connections are
// open and returns when the load is to begin.
func RunPart(ctx context.Context, cfg Config, ready func() error) (*Part, error) {
	c, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	r, clients, err := newRun(&c)
	if err != nil {
		return nil, err
	}
	return r.part(ctx, clients, ready)
}

// Merge makes one result of all parts of the load that cfg describes as a whole:
// distributions are added, not their percentiles averaged.
func Merge(cfg Config, parts []*Part) (*Result, error) {
	c, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, errors.New("load: no parts to merge")
	}
	return merge(&c, parts), nil
}

func merge(c *Config, parts []*Part) *Result {
	var s stats
	// The machine's figures and the server's are those of the first, which saw the same as the others.
	all := parts[0].Spent
	all.Echoed, all.Own = 0, 0
	var packets packetCounts
	handshakes, connections := 0.0, 0
	for _, p := range parts {
		s.add(p)
		all.Echoed += p.Spent.Echoed
		all.Own += p.Spent.Own
		all.OwnOK = all.OwnOK && p.Spent.OwnOK
		packets.add(&p.Packets)
		handshakes += p.Handshakes
		connections += p.Connections
	}
	u := all.usage(parts[0].Local)
	r := newResult(c, &s, &u)
	r.Connections = connections
	if handshakes > 0 {
		r.HandshakesPerSecond = &handshakes
	}
	if parts[0].Counted {
		server := &all.ServerPackets // nothing, unless it is counted
		r.RetransmissionRate = worse(share(packets.Repeated, packets.Messages), share(server.Repeated, server.Messages))
		r.PacketLossRate = worse(share(packets.Lost, packets.Packets), share(server.Lost, server.Packets))
		if !all.ServerCounted {
			r.Notes = append(r.Notes, "the rates of retransmission and of packet loss are those from client to server: what the server counts is unknown")
		}
	}
	return r
}

// newPart reads a finished generator.
func newPart(g *generator) *Part {
	s := &g.stats
	return &Part{
		Planned: s.planned, Sent: s.sent, Received: s.received, Returned: s.returned, Corrupted: s.corrupted, Repeated: s.repeated,
		Latency: &s.latency, Lateness: &s.lateness, Staleness: &s.staleness, Connections: len(g.conns),
	}
}

// add adds what a part counted.
func (s *stats) add(p *Part) {
	s.planned += p.Planned
	s.sent += p.Sent
	s.received += p.Received
	s.returned += p.Returned
	s.corrupted += p.Corrupted
	s.repeated += p.Repeated
	for _, h := range []struct{ to, from *metric.Histogram }{{&s.latency, p.Latency}, {&s.lateness, p.Lateness}, {&s.staleness, p.Staleness}} {
		if h.from != nil {
			h.to.Merge(h.from)
		}
	}
}
