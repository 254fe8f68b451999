package proto

import (
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func TestTheFirstCLOSEAcknowledgesWhatArrived(t *testing.T) {
	r := newScript(t, nil)
	r.hears(messageFrame(0, 0, "nearly too late"))
	r.hearsAs(1, ping)
	r.got = r.only(1)
	want := "1 ACK" + ackText(r.s.c.app.recv.ranges) + " APPLICATION_CLOSE"
	r.s.c.Close(r.s.p.now, true, 7, "enough")
	r.s.flush()
	r.wants(want)
	r.hears(ping)
	r.wants("2 APPLICATION_CLOSE")
}

// TestACLOSEDoesNotAcknowledgeWhatItIsAbout: a packet is acknowledged when all of its frames were processed (RFC 9000 §13.1).
func TestACLOSEDoesNotAcknowledgeWhatItIsAbout(t *testing.T) {
	r := newScript(t, nil)
	r.hears(ping)
	want := "0 ACK" + ackText(r.s.c.app.recv.ranges) + " CLOSE"
	r.hears(messageFrame(0, 0, "in bad company"), []byte{0x3f})
	r.wants(want)
}

func TestWhatArrivedBeforeACloseIsDelivered(t *testing.T) {
	p := newPair(t, 3, nil)
	p.connect()
	p.run(mono.Second)
	say := func(text string) {
		p.client.send(&Message{Tag: 1, Payload: []byte(text)})
		p.client.flush()
	}
	say("arrives")
	p.until(mono.Second, "the message", func() bool { return len(p.server.messages) > 0 })
	p.link.drop = func(from *side, _ *datagram) bool { return from == p.client }
	say("is lost")
	p.server.c.Close(p.now, true, 7, "enough")
	p.run(mono.Second)
	if want := []Outcome{Delivered, Unknown}; !slices.Equal(p.client.outcomes, want) {
		t.Errorf("outcomes %v, want %v", p.client.outcomes, want)
	}
	if e := p.client.closed; e == nil || !e.Remote || e.Code != 7 {
		t.Errorf("closed: %+v", e)
	}
}

// scatter makes the connection believe in packets as far apart as an ACK can tell.
func scatter(s *space) {
	for i := range uint64(maxReceivedRanges) {
		s.recv.insert(i<<50, 0)
	}
	s.recv.ecn = wire.ECNCounts{ECT0: wire.MaxVarint, ECT1: wire.MaxVarint, CE: wire.MaxVarint}
}
