package proto

import (
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func TestCreditStallsAndComesBack(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.MaxMessageSize = 1000
		c.Params.InitialMaxChannel, c.Params.InitialMaxData = 4*1032, 100_000
	})
	d.b.hold = true
	for range 6 {
		d.a.say(0, big(0, 1000))
	}
	list := d.a.packets(1200)
	if len(list) != 4 {
		t.Fatalf("%d packets left with credit for four messages", len(list))
	}
	d.isFrames(list[3], "0:3+1 0:blocked 4128")
	d.b.get(list...)
	if d.b.wantsToSend() {
		t.Fatal("credit is announced although nothing came back")
	}
	d.b.note()
	d.b.consumed(d.now, 0, 1000) // the peer said that it is blocked, so the first credit is worth telling
	p := d.b.packet(1200)
	d.isFrames(p, "0:max 5160")
	d.b.lost(p)
	d.b.consumed(d.now, 0, 1000)
	d.b.consumed(d.now, 0, 1000)
	q := d.b.packet(1200)
	d.isFrames(q, "0:max 7224")
	d.b.lost(p)
	if d.b.wantsToSend() {
		t.Fatal("an old limit is repeated")
	}
	d.a.get(p)
	d.isFrames(d.a.packet(1200), "0:4+1 0:blocked 5160")
	d.a.get(q, p)
	d.isFrames(d.a.packet(1200), "0:5+1")
}

func TestBlockedIsSaidOncePerLimitAndRepeatedWhenLost(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.MaxMessageSize = 1000
		c.Params.InitialMaxData = 2000
	})
	d.a.say(0, big(0, 1000))
	d.a.say(1, big(1, 1000))
	d.a.say(7, big(7, 1000))
	list := d.a.packets(1300)
	d.isFrames(list[0], "0:0+1 blocked 2000")
	d.a.say(2, big(2, 1000))
	if d.a.wantsToSend() {
		t.Fatal("BLOCKED is said again")
	}
	d.a.lost(list[0])
	d.isFrames(d.a.packet(1300), "blocked 2000 0:0+1")
	d.a.get(packet{bytes: wire.AppendMaxData(nil, 3065)})
	d.isFrames(d.a.packet(1300), "2:0+1 blocked 3065")
	d.a.lost(list[0])
	d.isFrames(d.a.packet(1300), "0:0+1")
}

// A peer that says BLOCKED says so once a limit. A limit that is repeated, as its packet counts as lost, or a SKIP that gives nothing
// back is no answer to it: the credit that comes next is to be announced at once, though it is less than half a window.
func TestALimitThatIsOnlyRepeatedIsNoAnswerToBlocked(t *testing.T) {
	for _, prefix := range []string{"", "0:"} {
		d := newDuo(t, func(c *Config) {
			c.MaxMessageSize = 3000
			c.Params.InitialMaxChannel, c.Params.InitialMaxData = 4000, 4000
			if prefix == "" {
				c.Params.InitialMaxChannel = 100_000
			} else {
				c.Params.InitialMaxData = 100_000
			}
		})
		d.a.say(0, big(0, 2000))
		p := d.a.packet(3500)
		d.b.get(p)
		d.a.acked(p)
		first := d.b.packet(1200)
		d.isFrames(first, prefix+"max 6032")
		d.a.get(first)
		d.b.hold = true
		d.a.say(0, big(0, 1500))
		d.a.say(0, big(0, 3000), ttl(5*mono.Millisecond))
		d.a.say(0, big(0, 3000))
		p = d.a.packet(3500)
		d.isFrames(p, "0:1+1 "+prefix+"blocked 6032")
		d.b.get(p)
		d.a.acked(p)
		d.b.lost(first)
		again := d.b.packet(1200)
		d.isFrames(again, prefix+"max 6032")
		d.a.get(again)
		d.now = d.now.Add(6 * mono.Millisecond)
		d.a.handleTimeout(d.now)
		p = d.a.packet(3500)
		d.isFrames(p, "0:skip 2")
		d.b.get(p)
		if d.b.wantsToSend() {
			t.Fatal("a SKIP that gives nothing back has a limit said again")
		}
		d.b.consumed(d.now, 0, 1500)
		if !d.b.wantsToSend() {
			t.Fatalf("%q: the peer waits for ever: its BLOCKED was taken as answered", prefix)
		}
		p = d.b.packet(1200)
		d.isFrames(p, prefix+"max 7564")
		d.a.get(p)
		d.isFrames(d.a.packet(3500), "0:3+1")
	}
}

// BLOCKED is lost, and what was stalled expires before that is known or before it is repeated: the next message that stalls at the same
// limit has to say so.
func TestBlockedThatWasLostIsSaidByTheNextToStall(t *testing.T) {
	for _, prefix := range []string{"", "0:"} {
		for _, lostFirst := range []bool{false, true} {
			d := newDuo(t, func(c *Config) {
				c.MaxMessageSize = 3000
				c.Params.InitialMaxChannel, c.Params.InitialMaxData = 4000, 4000
				if prefix == "" {
					c.Params.InitialMaxChannel = 100_000
				}
			})
			d.a.say(0, big(0, 2000))
			d.a.packets(3500)
			d.a.say(0, big(0, 3000), ttl(5*mono.Millisecond))
			p := d.a.packet(3500)
			d.isFrames(p, prefix+"blocked 4000")
			d.now = d.now.Add(6 * mono.Millisecond)
			if lostFirst {
				d.a.lost(p)
			}
			d.a.handleTimeout(d.now)
			if !lostFirst {
				d.a.lost(p)
			}
			d.a.say(0, big(0, 3000))
			said := ""
			for _, p := range d.a.packets(3500) {
				said += frameWords(t, p) + " "
			}
			if !strings.Contains(said, prefix+"blocked 4000") {
				t.Errorf("%q, lost first: %v: the peer is not told: %s", prefix, lostFirst, said)
			}
		}
	}
}

func TestHalfAWindowIsAnnouncedUnasked(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.MaxMessageSize = 1000
		c.Params.InitialMaxChannel, c.Params.InitialMaxData = 10_320, 1<<20
	})
	for i := range 5 {
		d.a.say(0, big(0, 1000))
		p := d.a.packet(1200)
		d.b.get(p)
		d.a.acked(p)
		d.b.events()
		if d.b.wantsToSend() != (i == 4) {
			t.Fatalf("after %d of 10 messages of a window: wants to send %v", i+1, d.b.wantsToSend())
		}
	}
	d.isFrames(d.b.packet(1200), "0:max 15480")
}

func TestOverrunningCreditCloses(t *testing.T) {
	limit := func(c *Config) {
		c.MaxMessageSize = 1000
		c.Params.InitialMaxChannel, c.Params.InitialMaxData = 2064, 3096
	}
	message := func(ch, id uint64, n int) []byte { return wire.AppendMessage(nil, ch, id, 0, false, make([]byte, n)) }
	fragment := func(ch, id uint64, n int) []byte {
		return wire.AppendFragment(nil, &wire.Fragment{Channel: ch, ID: id, Total: uint64(n), Data: make([]byte, 10)})
	}
	for _, c := range []struct {
		name   string
		frames [][]byte
	}{
		{"channel, in order", [][]byte{message(0, 0, 1000), message(0, 1, 1000), message(0, 2, 0)}},
		{"channel, out of order", [][]byte{message(0, 9, 1000), message(0, 8, 1000), message(0, 7, 0)}},
		{"channel, fragments", [][]byte{fragment(0, 3, 1000), fragment(0, 2, 1000), fragment(0, 1, 900)}},
		{"connection", [][]byte{message(0, 0, 1000), message(0, 1, 1000), message(1, 0, 1000), message(1, 1, 0)}},
		{"connection by SKIP", [][]byte{message(0, 0, 1000), message(1, 1, 1000), wire.AppendSkip(nil, 1, 0, 1033)}},
		{"channel by SKIP", [][]byte{wire.AppendSkip(nil, 1, 5, 2065)}},
	} {
		d := newDuo(t, limit)
		d.b.hold = true
		for i, f := range c.frames {
			code := d.b.feed(f)
			last := i == len(c.frames)-1
			if (code == wire.FlowControlError) != last || code != wire.NoError && !last {
				t.Errorf("%s: frame %d: %v", c.name, i, code)
			}
		}
	}
}

func TestCreditIsTakenWholeBeforeTheFirstFragment(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxChannel = 3000 })
	d.a.say(0, big(0, 3000))
	d.isFrames(d.a.packet(1200), "0:blocked 3000")
	d.a.get(packet{bytes: wire.AppendMaxChannel(nil, 0, 3032)})
	d.isFrames(d.a.packet(1200), "0:0[0+1192]")
	if d.a.reserved != 3032 {
		t.Fatalf("%d bytes of credit are taken", d.a.reserved)
	}
}

func TestAWindowSmallerThanTheLargestMessageGrowsWhenItStalls(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxChannel = 3000 })
	d.a.say(0, big(0, 20_000))
	d.cross()
	d.b.expect("0:aaa*20000")
}

func TestUnreliableMessagesUseNoCredit(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxChannel, c.Params.InitialMaxData, c.MaxMessageSize = 0, 0, 2000 })
	for range 50 {
		d.a.say(3, big(3, 1500))
		d.a.say(4, big(4, 500))
		d.cross()
	}
	if n := len(d.b.pending); n != 100 || d.b.counted != 0 {
		t.Fatalf("%d messages arrived, %d bytes counted", n, d.b.counted)
	}
}

func TestMessageIDsStayWithinTheWindow(t *testing.T) {
	for _, c := range []struct {
		channel uint16
		window  int
	}{{0, orderedWindow}, {1, unorderedWindow}, {2, unorderedWindow}} {
		d := newDuo(t, func(c *Config) {
			c.SendBuffer = 8 << 20
			c.Params.InitialMaxChannel, c.Params.InitialMaxData = 8<<20, 8<<20
		})
		for i := range c.window + 50 {
			d.a.say(c.channel, "x", key(uint64(i%100)))
			if i%1000 == 999 {
				d.a.packets(1200) // so that waiting ones of a key are not replaced
			}
			if c.channel == 2 {
				d.a.packets(1200)
			}
		}
		list := d.a.packets(1200)
		ch := d.a.existing(uint8(c.channel))
		if int(ch.sent) != c.window || ch.waits != waitIDs {
			t.Fatalf("channel %d: %d messages left, waits %d", c.channel, ch.sent, ch.waits)
		}
		d.a.onAcked(d.now, &record{kind: recMessages, channel: c.channel, id: 0, n: 3})
		if !d.a.wantsToSend() {
			t.Fatalf("channel %d: room in the window is not noticed", c.channel)
		}
		p := d.a.packet(1200)
		if r := p.records[len(p.records)-1]; c.channel != 2 && (r.id != uint64(c.window) || r.n != 3) {
			t.Fatalf("channel %d: %d messages from %d on left", c.channel, r.n, r.id)
		}
		_ = list
	}
}

func TestChannelsCloseOnIDsBeyondTheWindow(t *testing.T) {
	for _, c := range []struct {
		channel, window uint64
	}{{0, orderedWindow}, {1, unorderedWindow}, {2, unorderedWindow}} {
		d := newDuo(t, nil)
		keyed := c.channel == 2
		if code := d.b.feed(wire.AppendMessage(nil, c.channel, c.window-1, 0, keyed, nil)); code != wire.NoError {
			t.Errorf("channel %d: the last ID of the window closes with %v", c.channel, code)
		}
		if code := d.b.feed(wire.AppendMessage(nil, c.channel, c.window, 0, keyed, nil)); code != wire.MessageLimit {
			t.Errorf("channel %d: an ID beyond the window closes with %v", c.channel, code)
		}
		f := wire.Fragment{Channel: c.channel, ID: c.window, Total: 100, Data: []byte("x"), Keyed: keyed}
		if code := d.b.feed(wire.AppendFragment(nil, &f)); code != wire.MessageLimit {
			t.Errorf("channel %d: a fragment beyond the window closes with %v", c.channel, code)
		}
	}
}

func TestWindowsOfAllChannelsAreBoundedTogether(t *testing.T) {
	d := newDuo(t, nil)
	code := wire.NoError
	n := uint64(0)
	for code == wire.NoError && n < 100 {
		code = d.b.feed(wire.AppendMessage(nil, 100+n, orderedWindow-1, 0, false, nil))
		n++
	}
	if code != wire.MessageLimit || n != connectionWindow/orderedWindow+1 {
		t.Fatalf("channel %d closes with %v", n, code)
	}
}

func TestTheSenderKeepsToTheCommonWindow(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.SendBuffer = 8 << 20
		c.Params.InitialMaxChannel, c.Params.InitialMaxData = 8<<20, 8<<20
	})
	for ch := range uint16(5) {
		for range orderedWindow {
			d.a.say(100+ch, "x")
		}
	}
	d.a.packets(1200)
	if d.a.windowed != connectionWindow {
		t.Fatalf("%d messages are in the window", d.a.windowed)
	}
	d.a.onAcked(d.now, &record{kind: recMessages, channel: 101, id: 0, n: 10})
	n := uint32(0)
	for _, p := range d.a.packets(1200) {
		for _, r := range p.records {
			n += r.n
		}
	}
	if n != 10 {
		t.Fatalf("%d messages left when ten were acknowledged", n)
	}
	d.a.events()
}

func TestTimeoutsOfManyMessagesAreSearchedRarely(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.SendBuffer = 8 << 20 })
	for i := range 2000 {
		d.a.say(0, "x", ttl(mono.Duration(1000+i)*mono.Microsecond))
	}
	searches := 0
	for d.a.deadline() != mono.Never {
		if at := d.a.deadline(); at > d.now {
			d.now = at
		} else {
			t.Fatalf("the deadline %v is not after %v", at, d.now)
		}
		d.a.handleTimeout(d.now)
		searches++
	}
	if searches > 20 || d.a.sh.Stats.Expired != 2000 {
		t.Fatalf("%d searches, %d expired", searches, d.a.sh.Stats.Expired)
	}
	d.isFrames(d.a.packet(1200), "0:skip 1999")
	d.a.events()
}
