package proto

import (
	"fmt"
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// A duo is two ends' channels on a desk: the test itself carries packets from one to the other, loses them, and looks into them.
type duo struct {
	t    testing.TB
	now  mono.Time
	a, b duoEnd
}

type duoEnd struct {
	messages
	d       *duo
	sh      *Shared
	pending []string // events in words
	hold    bool     // delivered messages are not consumed
	held    []consumption
}

// packet is what one appendFrames gave.
type packet struct {
	bytes   []byte
	records []record
}

func newDuo(t testing.TB, edit func(*Config)) *duo {
	cfg := pipeConfig()
	if edit != nil {
		edit(cfg)
	}
	d := &duo{t: t, now: mono.Time(mono.Second)}
	for _, e := range []*duoEnd{&d.a, &d.b} {
		e.d, e.sh = d, newShared(cfg)
		e.init(e.sh, 7)
	}
	for i := range cfg.Channels {
		c := cfg.Channels[i]
		cfg.Params.Channels = append(cfg.Params.Channels, wire.ChannelParam{
			Channel: uint8(i), Mode: wire.Mode(c.Mode), Priority: c.Priority, Weight: c.Weight, InitialMax: cfg.Params.InitialMaxChannel,
		})
	}
	d.a.setPeerParams(&cfg.Params)
	d.b.setPeerParams(&cfg.Params)
	t.Cleanup(func() {
		for _, e := range []*duoEnd{&d.a, &d.b} {
			e.events()
			e.release()
			if e.sh.Pool.InUse() != 0 || e.sh.Chunks.InUse() != 0 {
				t.Errorf("%d blocks and %d chunks are still in use", e.sh.Pool.InUse(), e.sh.Chunks.InUse())
			}
		}
	})
	return d
}

// say sends a message that must be taken. With a chunk of its own it also shows that chunks come back.
func (e *duoEnd) say(channel uint16, payload string, edit ...func(*Message)) {
	e.d.t.Helper()
	if r := e.trySay(channel, payload, edit...); r != SendOK {
		e.d.t.Fatalf("send answered %d", r)
	}
}

func (e *duoEnd) trySay(channel uint16, payload string, edit ...func(*Message)) SendResult {
	buf := append(make([]byte, 3, 3+len(payload)), payload...)
	id := e.sh.Chunks.Add(buf)
	msg := Message{Channel: channel, Chunk: id, Offset: 3, Payload: buf[3:]}
	for _, f := range edit {
		f(&msg)
	}
	r := e.send(e.d.now, &msg)
	e.sh.Chunks.Release(id)
	return r
}

func tag(n uint64) func(*Message)        { return func(m *Message) { m.Tag = n } }
func key(n uint64) func(*Message)        { return func(m *Message) { m.Key = n } }
func ttl(d mono.Duration) func(*Message) { return func(m *Message) { m.TTL = d } }
func big(channel uint16, n int) string   { return strings.Repeat(string(rune('a'+channel)), n) }
func (e *duoEnd) packet(limit int) packet {
	e.d.t.Helper()
	var log sentLog
	p := packet{bytes: e.appendFrames(e.d.now, make([]byte, 0, limit), limit, &log)}
	if len(p.bytes) > limit {
		e.d.t.Fatalf("a packet of %d bytes where %d fit", len(p.bytes), limit)
	}
	for i := range log.records.len() {
		p.records = append(p.records, *log.records.at(i))
	}
	return p
}

// packets builds until there is nothing left to say.
func (e *duoEnd) packets(limit int) (list []packet) {
	for e.wantsToSend() {
		p := e.packet(limit)
		if len(p.bytes) == 0 {
			e.d.t.Fatalf("nothing written although there is something to say")
		}
		list = append(list, p)
	}
	return list
}

func (e *duoEnd) acked(list ...packet) {
	for _, p := range list {
		for i := range p.records {
			e.onAcked(e.d.now, &p.records[i])
		}
	}
}

func (e *duoEnd) lost(list ...packet) {
	for _, p := range list {
		for i := range p.records {
			e.onLost(e.d.now, &p.records[i])
		}
	}
}

// get takes packets that must not close the connection.
func (e *duoEnd) get(list ...packet) {
	e.d.t.Helper()
	for _, p := range list {
		if code := e.feed(p.bytes); code != wire.NoError {
			e.d.t.Fatalf("closed with %v", code)
		}
	}
}

// feed takes the frames of a packet and returns the code that one of them closes with.
func (e *duoEnd) feed(b []byte) wire.ErrorCode {
	for len(b) > 0 {
		n, code := e.handleFrame(e.d.now, uint64(b[0]), b[1:])
		if n < 0 {
			return code
		}
		b = b[1+n:]
	}
	e.note()
	return wire.NoError
}

// note puts the events of the queue into words and does what the shard does with them.
func (e *duoEnd) note() {
	for i := range e.sh.Events {
		ev := &e.sh.Events[i]
		switch ev.Kind {
		case EventMessage:
			text := string(ev.Payload)
			if len(text) > 12 {
				text = fmt.Sprintf("%.3s*%d", text, len(text))
			}
			e.pending = append(e.pending, fmt.Sprintf("%d:%s", ev.Channel, text))
			if e.hold {
				e.held = append(e.held, consumption{ev.Channel, len(ev.Payload)})
			} else {
				e.consumed(e.d.now, ev.Channel, len(ev.Payload))
			}
			e.sh.Pool.Put(ev.Ref)
		case EventGap:
			e.pending = append(e.pending, fmt.Sprintf("%d:gap of %d to %d", ev.Channel, ev.N, ev.ID))
		case EventOutcome:
			e.pending = append(e.pending, fmt.Sprintf("tag %d: %s", ev.Tag, []string{"?", "delivered", "expired", "superseded", "unknown"}[ev.Outcome]))
		}
	}
	e.sh.Events = e.sh.Events[:0]
}

// events returns what happened since the last call.
func (e *duoEnd) events() string {
	e.note()
	s := strings.Join(e.pending, ", ")
	e.pending = nil
	return s
}

func (e *duoEnd) expect(want string) {
	e.d.t.Helper()
	if got := e.events(); got != want {
		e.d.t.Fatalf("events are %q instead of %q", got, want)
	}
}

// cross carries everything both ends have to say, without loss.
func (d *duo) cross() {
	d.t.Helper()
	for d.a.wantsToSend() || d.b.wantsToSend() {
		for _, p := range d.a.packets(1200) {
			d.b.get(p)
			d.a.acked(p)
		}
		for _, p := range d.b.packets(1200) {
			d.a.get(p)
			d.b.acked(p)
		}
	}
	checkCounts(d.t, &d.a.messages, nil)
	checkCounts(d.t, &d.b.messages, nil)
}

// frameWords names the frames of a packet.
func frameWords(t testing.TB, p packet) string {
	t.Helper()
	var words []string
	for _, r := range p.records {
		switch r.kind {
		case recMessages:
			words = append(words, fmt.Sprintf("%d:%d+%d", r.channel, r.id, r.n))
		case recFragment:
			words = append(words, fmt.Sprintf("%d:%d[%d+%d]", r.channel, r.id, r.off, r.n))
		case recSkip:
			words = append(words, fmt.Sprintf("%d:skip %d", r.channel, r.id))
		case recMaxData:
			words = append(words, fmt.Sprintf("max %d", r.id))
		case recMaxChannel:
			words = append(words, fmt.Sprintf("%d:max %d", r.channel, r.id))
		case recBlocked:
			words = append(words, fmt.Sprintf("blocked %d", r.id))
		case recChannelBlocked:
			words = append(words, fmt.Sprintf("%d:blocked %d", r.channel, r.id))
		default:
			t.Fatalf("a record of kind %d", r.kind)
		}
	}
	return strings.Join(words, " ")
}

func (d *duo) isFrames(p packet, want string) {
	d.t.Helper()
	if got := frameWords(d.t, p); got != want {
		d.t.Fatalf("the packet has %q instead of %q", got, want)
	}
}
