package proto

import (
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// settled checks that at rest every byte of credit that streams took has come back.
func (p *pair) settled() {
	p.t.Helper()
	for _, s := range []*side{p.client, p.server} {
		m, peer := &s.c.msgs, &s.peer.c.msgs
		if m.reserved != peer.counted || peer.counted != peer.consumedTotal {
			p.t.Errorf("%s: %d bytes of credit taken, %d counted, %d given back", s.name, m.reserved, peer.counted, peer.consumedTotal)
		}
		if !m.flushed() || m.wantsToSend() {
			p.t.Errorf("%s: something is left to send", s.name)
		}
	}
}

func TestABulkStreamHoldsUpNoMessage(t *testing.T) {
	p, c, s := streamPair(t, 1, nil)
	c.write(256, 900_000)
	c.finish(256)
	for i := range 20 {
		p.run(2 * mono.Millisecond)
		p.client.say(0, text(i, 100))
		p.run(p.link.delay + mono.Millisecond) // it waits for no window, as acknowledgments come all the time
		if n := len(p.server.messages); n < i-1 {
			t.Fatalf("%d of %d messages have arrived while the stream was sent", n, i+1)
		}
		if i == 2 && s.end(256).end {
			t.Fatal("the stream was too short for the test")
		}
	}
	p.run(5 * mono.Second)
	s.arrived(256, c)
	if len(p.server.messages) != 20 {
		t.Errorf("%d messages arrived", len(p.server.messages))
	}
	p.settled()
}

func TestStreamsHaveAShareOfABusyConnection(t *testing.T) {
	p, c, s := streamPair(t, 1, nil)
	p.link.loss = 0.02 // the window stays smaller than what waits
	c.write(256, 3_000_000)
	said := 0
	for range 200 {
		for p.client.say(1, text(said, 100)) == SendOK { // the send buffer is always full
			said++
		}
		p.run(mono.Millisecond)
	}
	messages, stream := 0, len(s.end(256).got)
	for _, m := range p.server.messages {
		messages += len(m)
	}
	if share := float64(stream) / float64(messages+stream); share < 0.08 || share > 0.2 {
		t.Errorf("the stream got %d bytes beside %d of messages, a share of %.2f", stream, messages, share)
	}
	p.run(10 * mono.Second)
	s.arrived(256, c)
	p.settled()
}

func TestStreamsTakeTurns(t *testing.T) {
	p, c, s := streamPair(t, 1, nil)
	for i := range uint64(4) {
		c.write(256+4*i, 100_000)
	}
	p.until(5*mono.Second, "half of the first stream", func() bool { return len(s.end(256).got) > 50_000 })
	for i := range uint64(4) {
		if n := len(s.end(256 + 4*i).got); n < 40_000 {
			t.Errorf("stream %d has %d bytes when the first one has %d", 256+4*i, n, len(s.end(256).got))
		}
	}
}

// smallCredit is a configuration under which streams are stalled soon.
func smallCredit(c *Config) {
	c.Params.InitialMaxData, c.Params.InitialMaxChannel = 64<<10, 16<<10
	c.Params.MaxMessageSize, c.MaxMessageSize = 12<<10, 12<<10
}

func TestASlowReaderStallsItsStreamOnly(t *testing.T) {
	p, c, s := streamPair(t, 1, smallCredit)
	s.idle = map[uint64]bool{256: true}
	for range 10 {
		c.write(256, 10_000)
		c.write(260, 10_000)
	}
	c.finish(256)
	c.finish(260)
	p.run(3 * mono.Second)
	s.arrived(260, c)
	if n := len(s.end(256).got); n != 16<<10 {
		t.Errorf("%d bytes were sent to a reader who takes nothing, its credit is %d", n, 16<<10)
	}
	p.client.say(0, "still here")
	p.run(mono.Second)
	if len(p.server.messages) != 1 {
		t.Error("a stalled stream stalls messages")
	}
	delete(s.idle, 256)
	s.takeAll(256)
	p.run(3 * mono.Second)
	s.arrived(256, c)
	p.settled()
}

func TestStreamsLeaveCreditToMessages(t *testing.T) {
	p, c, s := streamPair(t, 1, smallCredit)
	s.lazy = true
	for i := range uint64(5) {
		c.write(256+4*i, 16_000)
	}
	p.run(3 * mono.Second)
	if room := p.client.c.msgs.limit - p.client.c.msgs.reserved; room != 8<<10 {
		t.Errorf("streams left %d bytes of credit, an eighth is %d", room, 8<<10)
	}
	for i := range 5 {
		p.client.say(0, text(i, 1000))
	}
	p.run(mono.Second)
	if n := len(p.server.messages); n != 5 {
		t.Errorf("%d of 5 messages arrived beside streams that nobody reads", n)
	}
	s.lazy = false
	for i := range uint64(5) {
		s.takeAll(256 + 4*i)
	}
	p.run(3 * mono.Second)
	for i := range uint64(5) {
		s.arrived(256+4*i, c)
	}
	p.settled()
}

func TestStreamsAreGivenBack(t *testing.T) {
	p, c, s := streamPair(t, 1, func(c *Config) { c.Params.InitialMaxStreams = 4 })
	p.link.loss = 0.1
	for i := range uint64(200) {
		id := 256 + 4*i
		p.until(20*mono.Second, "another stream", func() bool { return p.client.c.StreamLimit().ID > i })
		c.write(id, 50)
		c.finish(id)
		if c.do(id, StreamRelease, 0); i%2 == 0 { // every other one is left for later
			continue
		}
		for _, id := range []uint64{id - 4, id} {
			p.until(20*mono.Second, "the end of a stream", func() bool { return s.end(id).end })
			s.finish(id)
			s.do(id, StreamRelease, 0)
		}
	}
	p.link.loss = 0
	p.run(10 * mono.Second)
	if n, k := len(p.client.c.streams.list), len(p.server.c.streams.list); n+k > 0 || len(s.order) != 200 {
		t.Errorf("%d and %d of %d streams are left", n, k, len(s.order))
	}
	p.settled()
}

func TestResetAndStopGiveAllCreditBack(t *testing.T) {
	for seed := range uint64(30) {
		p, c, s := streamPair(t, seed, smallCredit)
		p.link.loss, p.link.jitter = 0.2, 10*mono.Millisecond
		for _, id := range []uint64{256, 260, 264} {
			c.write(id, 15_000)
		}
		p.run(mono.Duration(seed) * 2 * mono.Millisecond)
		if len(s.order) > 0 {
			s.write(256, 9000)
		}
		c.do(256, StreamReset|StreamStop|StreamRelease, 77)
		p.run(3 * mono.Millisecond)
		if len(s.order) > 1 {
			s.do(260, StreamStop, 78)
		}
		p.link.loss = 0
		p.run(5 * mono.Second)
		x := s.end(256)
		if !x.reset || x.code != 77 && !x.stopped {
			t.Errorf("seed %d: the server knows of 256: %+v", seed, *x)
		}
		if y := c.end(260); len(s.order) > 1 && len(s.end(260).got) < 15_000 && (!y.stopped || y.code != 78) {
			t.Errorf("seed %d: the client was not stopped: %+v", seed, y.code)
		}
		s.arrived(264, c)
		p.settled()
		for _, a := range []*streamApp{c, s} {
			for id, e := range a.ends {
				if e.pending != 0 {
					t.Errorf("seed %d: %s: %d bytes of stream %d did not come back", seed, a.s.name, e.pending, id)
				}
			}
		}
	}
}

func TestAGracefulCloseDeliversStreams(t *testing.T) {
	p, c, s := streamPair(t, 1, nil)
	p.link.loss = 0.1
	c.write(256, 100_000)
	c.finish(256)
	p.client.c.Shutdown(p.now, 5, "done")
	p.run(4 * mono.Second)
	s.arrived(256, c)
	if p.server.closed == nil || p.server.closed.Code != 5 {
		t.Errorf("the server: %+v", p.server.closed)
	}
}

func TestPiecesOfAStreamMayOverlap(t *testing.T) {
	_, s := hostile(t, 1, nil)
	a := newStreamApp(s)
	want := text(7, 3000)
	for _, r := range [][2]int{{10, 20}, {15, 30}, {5, 12}, {40, 50}, {35, 60}, {11, 13}, {100, 3000}, {50, 2000}, {0, 5}, {0, 100}} {
		s.attack(streamFrame(256, r[0], want[r[0]:r[1]], false))
	}
	if got := string(a.end(256).got); got != want {
		t.Errorf("%d bytes were delivered, %d the right ones", len(got), commonPrefix(got, want))
	}
	if n := s.sh.Pool.InUse(); n != 0 {
		t.Errorf("%d blocks are in use", n)
	}
}

func commonPrefix(a, b string) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func TestHoardedStreamsHoldWhatTheirCreditAllows(t *testing.T) {
	_, s := hostile(t, 1, nil)
	newStreamApp(s)
	for i := range uint64(100) {
		for j := range 250 {
			s.attack(streamFrame(256+4*i, 1+2*j, "x", false))
		}
	}
	s.holds(1<<20, 4<<20)
	s.survives()
	for i := range uint64(100) {
		s.attack(wire.AppendResetStream(nil, 256+4*i, 0, 600))
	}
	if n := s.sh.Pool.InUse(); n != 0 {
		t.Errorf("%d blocks are in use after the resets", n)
	}
	s.survives()
}

func TestOpeningAndStoppingStreamsBuysNothing(t *testing.T) {
	_, s := hostile(t, 1, nil)
	a := newStreamApp(s)
	for i := range uint64(100) { // as in CVE-2023-44487, but the application has not let go of any
		s.attack(append(streamFrame(256+4*i, 0, "", true), wire.AppendStopSending(nil, 256+4*i, 0)...))
	}
	if n := len(a.order); n != 100 || s.c.streams.retired != 0 {
		t.Errorf("%d streams came, %d were given back", n, s.c.streams.retired)
	}
	s.attack(streamFrame(256+400, 0, "", true))
	s.refuses(wire.StreamLimitError)
}

func TestAStreamFrameIsDescribed(t *testing.T) {
	if got := describe(streamFrame(256, 5, "ab", true)); !strings.Contains(got, "STREAM(256:5+2)FIN") {
		t.Errorf("described as %s", got)
	}
}
