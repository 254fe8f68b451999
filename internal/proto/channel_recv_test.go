package proto

import (
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// msg, keyed, frag and skipTo write frames as a peer might.
func msg(channel, id uint64, text string) []byte {
	return wire.AppendMessage(nil, channel, id, 0, false, []byte(text))
}

func keyed(channel, id, key uint64, text string) []byte {
	return wire.AppendMessage(nil, channel, id, key, true, []byte(text))
}

func frag(channel, id, offset, total uint64, text string) []byte {
	return wire.AppendFragment(nil, &wire.Fragment{Channel: channel, ID: id, Offset: offset, Total: total, Data: []byte(text)})
}

func skipTo(channel, upTo, cost uint64) []byte { return wire.AppendSkip(nil, channel, upTo, cost) }

func join(frames ...[]byte) (b []byte) {
	for _, f := range frames {
		b = append(b, f...)
	}
	return b
}

func TestReceiving(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames []byte
		want   string
	}{
		{"ordered, in order", join(msg(0, 0, "a"), msg(0, 1, "b")), "0:a, 0:b"},
		{"ordered, out of order", join(msg(0, 2, "c"), msg(0, 0, "a"), msg(0, 1, "b"), msg(0, 3, "d")), "0:a, 0:b, 0:c, 0:d"},
		{"ordered, empty messages", join(msg(0, 1, ""), msg(0, 0, ""), msg(0, 2, "")), "0:, 0:, 0:"},
		{"ordered, twice", join(msg(0, 0, "a"), msg(0, 0, "a"), msg(0, 2, "c"), msg(0, 2, "c"), msg(0, 1, "b"), msg(0, 1, "b")), "0:a, 0:b, 0:c"},
		{"unordered", join(msg(1, 2, "c"), msg(1, 0, "a"), msg(1, 2, "c"), msg(1, 0, "a"), msg(1, 1, "b"), msg(1, 1, "b")), "1:c, 1:a, 1:b"},
		{
			"latest", join(keyed(2, 3, 5, "new"), keyed(2, 1, 5, "old"), keyed(2, 2, 6, "other"), keyed(2, 4, 6, "last"), keyed(2, 0, 6, "first")),
			"2:new, 2:other, 2:last",
		},
		{"sequenced", join(msg(3, 5, "f"), msg(3, 4, "e"), msg(3, 6, "g"), msg(3, 6, "g")), "3:f, 3:g"},
		{"unreliable", join(msg(4, 5, "f"), msg(4, 4, "e"), msg(4, 1<<50, "g")), "4:f, 4:e, 4:g"},
		{"fragments in order", join(frag(0, 0, 0, 5, "he"), frag(0, 0, 2, 5, "llo")), "0:hello"},
		{"fragments in any order", join(frag(0, 0, 4, 5, "o"), frag(0, 0, 1, 5, "el"), frag(0, 0, 0, 5, "h"), frag(0, 0, 3, 5, "l")), "0:hello"},
		{"fragments twice", join(frag(0, 0, 0, 5, "he"), frag(0, 0, 0, 5, "he"), frag(0, 0, 2, 5, "llo"), frag(0, 0, 2, 5, "llo")), "0:hello"},
		{"overlapping fragments keep the first bytes", join(frag(0, 0, 1, 5, "el"), frag(0, 0, 0, 5, "HELL"), frag(0, 0, 2, 5, "xxo")), "0:HelLo"},
		{"a whole message in a fragment", frag(0, 0, 0, 5, "hello"), "0:hello"},
		{"a whole message after fragments", join(frag(0, 0, 0, 5, "he"), msg(0, 0, "hello"), frag(0, 0, 2, 5, "llo")), "0:hello"},
		{"interleaved messages", join(frag(0, 1, 0, 2, "b"), frag(0, 0, 0, 2, "a"), frag(1, 0, 0, 2, "u"), frag(0, 1, 1, 2, "B"), frag(1, 0, 1, 2, "U"), frag(0, 0, 1, 2, "A")), "1:uU, 0:aA, 0:bB"},
		{"unordered fragments", join(frag(1, 3, 0, 2, "d"), msg(1, 0, "a"), frag(1, 3, 1, 2, "D")), "1:a, 1:dD"},
		{"unreliable fragments", join(frag(4, 7, 0, 2, "a"), frag(3, 7, 1, 2, "S"), frag(4, 7, 1, 2, "A"), frag(3, 7, 0, 2, "s")), "4:aA, 3:sS"},
		{"sequenced fragments that are too late", join(frag(3, 7, 0, 2, "a"), msg(3, 8, "b"), frag(3, 7, 1, 2, "A")), "3:b"},
		{"skip at the front", join(skipTo(0, 1, 0), msg(0, 2, "c"), msg(0, 1, "b")), "0:gap of 2 to 2, 0:c"},
		{"skip with messages between", join(msg(0, 1, "b"), msg(0, 3, "d"), msg(0, 5, "f"), skipTo(0, 3, 2*33)), "0:gap of 1 to 1, 0:b, 0:gap of 1 to 3, 0:d"},
		{"skip joins what follows", join(msg(0, 1, "b"), msg(0, 2, "c"), skipTo(0, 0, 50)), "0:gap of 1 to 1, 0:b, 0:c"},
		{"skip far ahead", skipTo(0, 1<<40, 10_000), "0:gap of 4294967295 to 1099511627777"},
		{"skip behind the floor", join(msg(0, 0, "a"), msg(0, 1, "b"), skipTo(0, 0, 33), skipTo(0, 1, 0)), "0:a, 0:b"},
		{"skip twice", join(skipTo(1, 2, 100), skipTo(1, 2, 100), msg(1, 1, "b"), msg(1, 3, "d")), "1:gap of 3 to 3, 1:d"},
		{"skip on an unordered channel", join(msg(1, 1, "b"), skipTo(1, 2, 133)), "1:b, 1:gap of 1 to 1, 1:gap of 1 to 3"},
		{"skip drops fragments", join(frag(0, 0, 0, 5, "he"), skipTo(0, 0, 37), frag(0, 0, 2, 5, "llo")), "0:gap of 1 to 1"},
		{"skip on a latest channel is silent", join(keyed(2, 1, 9, "b"), skipTo(2, 4, 33), keyed(2, 0, 9, "a")), "2:b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, nil)
			if code := d.b.feed(c.frames); code != wire.NoError {
				t.Fatalf("closed with %v", code)
			}
			d.b.expect(c.want)
			checkCounts(t, &d.b.messages, nil)
			if d.b.counted != d.b.consumedTotal+heldCost(&d.b.messages) {
				t.Fatalf("%d counted, %d given back, %d held", d.b.counted, d.b.consumedTotal, heldCost(&d.b.messages))
			}
		})
	}
}

// heldCost is the credit of messages that are incomplete or wait for older ones.
func heldCost(m *messages) (n uint64) {
	for i := range m.chans {
		w := &m.chans[i].window
		for j := range w.len() {
			if s := w.at(j).state(); s == incomingPartial || s == incomingBuffered {
				n += w.at(j).cost()
			}
		}
	}
	return n
}

func TestFramesThatClose(t *testing.T) {
	long := strings.Repeat("x", 1001)
	for _, c := range []struct {
		name   string
		frames []byte
		want   wire.ErrorCode
	}{
		{"no channel of that number", wire.AppendMaxChannel(nil, 300, 1), wire.FrameEncodingError},
		{"cut short", msg(0, 0, "hello")[:6], wire.FrameEncodingError},
		{"MAX_DATA cut short", []byte{wire.FrameMaxData, 0x80}, wire.FrameEncodingError},
		{"BLOCKED cut short", []byte{wire.FrameBlocked}, wire.FrameEncodingError},
		{"CHANNEL_BLOCKED cut short", []byte{wire.FrameChannelBlocked, 1}, wire.FrameEncodingError},
		{"SKIP cut short", []byte{wire.FrameSkip, 1, 2}, wire.FrameEncodingError},
		{"FRAGMENT cut short", frag(0, 0, 0, 5, "he")[:7], wire.FrameEncodingError},
		{"FRAGMENT of nothing at all", []byte{wire.FrameFragment}, wire.FrameEncodingError},
		{"a key where none belongs", keyed(0, 0, 1, "x"), wire.ProtocolViolation},
		{"no key where one belongs", msg(2, 0, "x"), wire.ProtocolViolation},
		{"fragment without the key", frag(2, 0, 0, 5, "x"), wire.ProtocolViolation},
		{"message too large", msg(0, 0, long), wire.MessageTooLarge},
		{"message out of order too large", msg(0, 1, long), wire.MessageTooLarge},
		{"unreliable message too large", msg(4, 1, long), wire.MessageTooLarge},
		{"fragment of one too large", frag(0, 0, 0, 1001, "x"), wire.MessageTooLarge},
		{"fragment of one absurdly large", frag(0, 0, 0, 1<<40, "x"), wire.MessageTooLarge},
		{"empty fragment", frag(0, 0, 0, 5, ""), wire.ReassemblyError},
		{"fragment beyond its message", frag(0, 0, 3, 5, "llo"), wire.ReassemblyError},
		{"totals that differ", join(frag(0, 0, 0, 5, "he"), frag(0, 0, 2, 6, "llo")), wire.ReassemblyError},
		{"totals that differ, unreliable", join(frag(4, 0, 0, 5, "he"), frag(4, 0, 2, 6, "llo")), wire.ReassemblyError},
		{"whole message of another length", join(frag(0, 0, 0, 5, "he"), msg(0, 0, "hell")), wire.ReassemblyError},
		{
			"keys that differ", join(wire.AppendFragment(nil, &wire.Fragment{Channel: 2, Key: 1, Total: 5, Data: []byte("he"), Keyed: true}),
				wire.AppendFragment(nil, &wire.Fragment{Channel: 2, Key: 2, Offset: 2, Total: 5, Data: []byte("llo"), Keyed: true})), wire.ReassemblyError,
		},
		{"SKIP on an unreliable channel", skipTo(4, 0, 0), wire.ProtocolViolation},
		{"SKIP that says less than is known", join(msg(0, 0, "a"), msg(0, 1, "b"), skipTo(0, 2, 65)), wire.ProtocolViolation},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, func(c *Config) { c.MaxMessageSize = 1000 })
			if got := d.b.feed(c.frames); got != c.want {
				t.Errorf("closed with %v instead of %v", got, c.want)
			}
		})
	}
}

func TestUnreliableMessagesAreAtMost64KiB(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.MaxMessageSize, c.SendBuffer, c.ReassemblyBytes = 1<<20, 1<<20, 1<<20
		c.Params.MaxMessageSize = 1 << 20
	})
	if r := d.a.trySay(4, big(4, MaxUnreliable+1)); r != SendTooLarge {
		t.Fatalf("send answered %d", r)
	}
	if code := d.b.feed(frag(4, 0, 0, MaxUnreliable+1, "x")); code != wire.MessageTooLarge {
		t.Fatalf("closed with %v", code)
	}
	d.a.say(4, big(4, MaxUnreliable))
	d.cross()
	d.b.expect("4:eee*65536")
}

func TestUnreliableReassemblyIsBounded(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.ReassemblyBytes = 10_000 })
	for id := range uint64(maxLoose + 3) {
		d.b.feed(frag(4, id, 0, 100, "x"))
	}
	if n := d.b.loose.n; n != maxLoose || d.b.sh.Stats.ReassemblyEvicted != 3 {
		t.Fatalf("%d messages are gathered, %d evicted", n, d.b.sh.Stats.ReassemblyEvicted)
	}
	d.b.feed(frag(4, 100, 0, 9_950, "x"))
	if d.b.loose.n != 1 || d.b.loose.bytes != 9_950 || d.b.sh.Pool.InUse() != 1 {
		t.Fatalf("%d messages with %d bytes in %d blocks", d.b.loose.n, d.b.loose.bytes, d.b.sh.Pool.InUse())
	}
	d.b.feed(frag(4, 101, 0, 10_001, "x"))
	if d.b.loose.n != 0 {
		t.Fatal("a message above the limit is gathered")
	}
	checkCounts(t, &d.b.messages, nil)
}

func TestUnreliableReassemblyEndsAfterTwoSecondsWithoutProgress(t *testing.T) {
	d := newDuo(t, nil)
	d.b.feed(frag(4, 1, 0, 3, "a"))
	d.now = d.now.Add(mono.Second)
	d.b.feed(frag(4, 2, 0, 3, "b"))
	d.b.feed(frag(4, 1, 1, 3, "a"))
	d.now = d.now.Add(1500 * mono.Millisecond)
	d.b.handleTimeout(d.now)
	d.b.feed(frag(4, 1, 2, 3, "a"))
	d.b.expect("4:aaa")
	d.now = d.b.deadline()
	d.b.handleTimeout(d.now)
	if d.b.loose.n != 0 || d.b.deadline() != mono.Never || d.b.sh.Stats.ReassemblyEvicted != 1 {
		t.Fatalf("%d messages are gathered, the deadline is %v", d.b.loose.n, d.b.deadline())
	}
	d.b.feed(frag(4, 2, 1, 3, "bb"))
	d.b.expect("")
}

func TestReassemblyInManyPiecesCloses(t *testing.T) {
	d := newDuo(t, nil)
	code, n := wire.NoError, uint64(0)
	for ; code == wire.NoError && n < 10_000; n++ {
		code = d.b.feed(frag(0, 0, 2*n, 30_000, "x"))
	}
	if code != wire.ReassemblyError || n != minSpans+30_000/spanBytes+1 {
		t.Fatalf("%d pieces lie apart: %v", n, code)
	}
}

func TestPartialMessagesAreBounded(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxChannel, c.Params.InitialMaxData = 8<<20, 8<<20 })
	code, n := wire.NoError, uint64(0)
	for ; code == wire.NoError && n < 10_000; n++ {
		code = d.b.feed(frag(0, n, 0, 2, "x"))
	}
	if code != wire.MessageLimit || n != maxPartial+1 {
		t.Fatalf("%d messages are gathered at once: %v", n, code)
	}
}

func TestAPoolThatRefuses(t *testing.T) {
	d := newDuo(t, nil)
	d.b.sh.Pool = poolOf(0)
	if code := d.b.feed(frag(4, 0, 0, 100, "x")); code != wire.NoError {
		t.Errorf("an unreliable fragment closes with %v", code)
	}
	if code := d.b.feed(frag(0, 0, 0, 100, "x")); code != wire.ServerBusy {
		t.Errorf("a fragment closes with %v", code)
	}
	d.b.release()
	d.b.init(d.b.sh, 7)
	if code := d.b.feed(msg(0, 1, "x")); code != wire.ServerBusy {
		t.Errorf("a message out of order closes with %v", code)
	}
	if code := d.b.feed(msg(0, 0, "x")); code != wire.NoError {
		t.Errorf("a message in order closes with %v", code)
	}
	d.b.events()
	d.b.setPeerParams(&d.b.sh.Config.Params)
	if r := d.b.send(d.now, &Message{Payload: []byte("x")}); r != SendBlocked {
		t.Errorf("send answered %d", r)
	}
	if d.b.sh.Stats.PoolRefused != 4 {
		t.Errorf("%d refusals counted", d.b.sh.Stats.PoolRefused)
	}
}

func TestSetPeerParamsNamesTheChannelThatDiffers(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(local *Config, p *wire.Params)
		want int
	}{
		{"alike", func(*Config, *wire.Params) {}, -1},
		{"a channel that only we list", func(c *Config, _ *wire.Params) { c.Channels[9].Priority = 1 }, 9},
		{"the lowest of several", func(c *Config, p *wire.Params) {
			c.Channels[200].Mode = Latest
			p.Channels = []wire.ChannelParam{{Channel: 100, Mode: wire.ModeLatest, Weight: 16}, {Channel: 30, Weight: 17}}
		}, 30},
		{"listed like the default", func(_ *Config, p *wire.Params) {
			p.Channels = []wire.ChannelParam{{Channel: 3, Mode: wire.ModeSequenced, Weight: 16}}
		}, -1},
		{"weight zero means the default", func(c *Config, _ *wire.Params) { c.Channels[9].Weight = 0 }, -1},
		{"mode", func(c *Config, _ *wire.Params) { c.Channels[0].Mode = Unordered }, 0},
	} {
		cfg := pipeConfig()
		p := wire.DefaultParams()
		c.edit(cfg, &p)
		var m messages
		m.init(newShared(cfg), 0)
		if got := m.setPeerParams(&p); got != c.want {
			t.Errorf("%s: %d instead of %d", c.name, got, c.want)
		}
	}
}

func TestPeerLimitsOfListedChannels(t *testing.T) {
	cfg := pipeConfig()
	p := wire.DefaultParams()
	p.InitialMaxChannel = 1000
	p.Channels = []wire.ChannelParam{{Channel: 7, Weight: 16, InitialMax: 5000}}
	var m messages
	m.init(newShared(cfg), 0)
	m.lookup(7)
	m.setPeerParams(&p)
	if a, b := m.lookup(7).limit, m.lookup(8).limit; a != 5000 || b != 1000 {
		t.Fatalf("the limits are %d and %d", a, b)
	}
}

func TestAllChannelsAtOnce(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		for i := range c.Channels {
			c.Channels[i].Priority = int8(i * 7 % 256)
		}
		c.Params.InitialMaxData = 1 << 20
	})
	for round := range 3 {
		for ch := range uint16(256) {
			d.a.say(ch*37%256, "x", key(uint64(round)))
			d.b.say(ch, big(ch, 100))
		}
		d.cross()
	}
	if len(d.a.pending) != 768 || len(d.b.pending) != 768 {
		t.Fatalf("%d and %d messages arrived", len(d.a.pending), len(d.b.pending))
	}
}
