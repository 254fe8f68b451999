package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func TestConsecutiveMessagesShareAFrame(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "one")
	p := d.a.packet(1200)
	d.isFrames(p, "0:0+1")
	if want := wire.AppendMessage(nil, 0, 0, 0, false, []byte("one")); string(p.bytes) != string(want) {
		t.Fatalf("a single message is written as %x instead of %x", p.bytes, want)
	}
	for range 10 {
		d.a.say(0, big(0, 64))
	}
	q := d.a.packet(1200)
	d.isFrames(q, "0:1+10")
	if q.bytes[0] != wire.FrameMessages || len(q.bytes) != 4+10*66 {
		t.Fatalf("ten messages of 64 bytes take %d bytes in a frame of type %#x", len(q.bytes), q.bytes[0])
	}
	d.b.get(p, q)
	d.b.expect("0:one, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64, 0:aaa*64")
	d.a.acked(p, q)
	if !d.a.flushed() {
		t.Fatal("everything is acknowledged and yet not flushed")
	}
}

func TestManyTinyMessagesFillAPacket(t *testing.T) {
	d := newDuo(t, nil)
	for range 200 {
		d.a.say(0, "x")
	}
	p := d.a.packet(1200)
	d.isFrames(p, "0:0+63 0:63+63 0:126+63 0:189+11")
	d.b.get(p)
	if n := len(d.b.pending); n != 200 {
		t.Fatalf("%d messages arrived", n)
	}
	d.a.acked(p)
}

func TestAMessageThatFitsAPacketWaitsForTheNextAndALargerOneIsCut(t *testing.T) {
	d := newDuo(t, nil)
	d.a.setFullPacket(1200)
	d.a.say(0, big(0, 700))
	d.a.say(0, big(0, 800)) // does not fit the rest, but the next packet
	d.a.say(0, big(0, 2000))
	list := d.a.packets(1200)
	d.isFrames(list[0], "0:0+1")
	d.isFrames(list[1], "0:1+1 0:2[0+387]")
	d.isFrames(list[2], "0:2[387+1191]")
	d.isFrames(list[3], "0:2[1578+422]")
	if len(list[1].bytes) != 1200 || len(list[2].bytes) != 1200 {
		t.Fatalf("fragments leave %d and %d of 1200 bytes", len(list[1].bytes), len(list[2].bytes))
	}
	d.b.get(list...)
	d.b.expect("0:aaa*700, 0:aaa*800, 0:aaa*2000")
	d.a.acked(list...)
	d.a.expect("")
}

func TestAShorterPacketOfATrainIsLeftToMessagesThatFit(t *testing.T) {
	d := newDuo(t, nil)
	d.a.setFullPacket(1400)
	d.a.say(0, big(0, 1300))
	if p := d.a.packet(1100); len(p.bytes) != 0 {
		t.Fatalf("a message that fits a full packet was cut: %s", frameWords(t, p))
	}
	d.isFrames(d.a.packet(1400), "0:0+1")
}

func TestOutOfOrderAcksReleaseInAnyOrder(t *testing.T) {
	d := newDuo(t, nil)
	var list []packet
	for range 5 {
		d.a.say(0, big(0, 1000))
		list = append(list, d.a.packet(1200))
	}
	d.a.acked(list[3], list[1])
	if d.a.sh.Chunks.InUse() != 3 || d.a.buffered != 3*1032 {
		t.Fatalf("%d chunks and %d bytes are held for three messages", d.a.sh.Chunks.InUse(), d.a.buffered)
	}
	if ch := d.a.existing(0); ch.base != 0 {
		t.Fatalf("the queue begins at %d", ch.base)
	}
	d.a.acked(list[0])
	if ch := d.a.existing(0); ch.base != 2 {
		t.Fatalf("the queue begins at %d", ch.base)
	}
	d.a.acked(list[2], list[4])
	if !d.a.flushed() || d.a.buffered != 0 {
		t.Fatal("not everything is released")
	}
}

func TestLostMessagesAreRepeatedInOneFrameAndOnlyThose(t *testing.T) {
	d := newDuo(t, nil)
	var list []packet
	for i := range 6 {
		d.a.say(0, string(rune('0'+i)))
		list = append(list, d.a.packet(1200))
	}
	d.b.get(list[0], list[3], list[5])
	d.b.expect("0:0")
	d.a.acked(list[0], list[3], list[5])
	d.a.lost(list[1], list[2], list[4])
	d.a.lost(list[2])
	d.a.say(0, "new")
	p := d.a.packet(1200)
	d.isFrames(p, "0:1+2 0:4+1 0:6+1")
	d.b.get(p)
	d.b.expect("0:1, 0:2, 0:3, 0:4, 0:5, 0:new")
	d.a.acked(p, list[2], p)
	if !d.a.flushed() || d.a.wantsToSend() {
		t.Fatal("something is left after everything was acknowledged")
	}
	if d.a.sh.Stats.MessagesRetransmitted != 3 {
		t.Errorf("%d messages were counted as repeated", d.a.sh.Stats.MessagesRetransmitted)
	}
}

func TestAProbeRepeatsWhatIsStillInFlight(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "x")
	first := d.a.packet(1200)
	d.a.lost(first) // a probe: the packet stays outstanding
	probe := d.a.packet(1200)
	d.isFrames(probe, "0:0+1")
	d.a.acked(first)
	d.a.lost(probe)
	if !d.a.flushed() || d.a.wantsToSend() {
		t.Fatal("the message is repeated after it was acknowledged")
	}
	d.b.get(first, probe)
	d.b.expect("0:x")
	if d.b.sh.Stats.Duplicates != 1 {
		t.Errorf("%d duplicates counted", d.b.sh.Stats.Duplicates)
	}
}

func TestLostFragmentsAreCutAnewForSmallerPackets(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, big(0, 4000))
	list := d.a.packets(1400)
	d.isFrames(list[1], "0:0[1392+1391]")
	d.b.get(list[0], list[2])
	d.a.acked(list[0], list[2])
	d.a.lost(list[1])
	again := d.a.packets(1000)
	d.isFrames(again[0], "0:0[1392+991]")
	d.isFrames(again[1], "0:0[2383+400]")
	d.b.get(again[1], list[1], again[0])
	d.b.expect("0:aaa*4000")
	d.a.acked(again[0])
	d.a.acked(list[1]) // late
	if !d.a.flushed() {
		t.Fatal("the message is complete but not acknowledged")
	}
}

func TestAWholeMessageIsCutWhenPacketsShrink(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, big(0, 1300))
	whole := d.a.packet(1400)
	d.isFrames(whole, "0:0+1")
	d.a.lost(whole)
	list := d.a.packets(1000)
	d.isFrames(list[0], "0:0[0+992]")
	d.isFrames(list[1], "0:0[992+308]")
	d.b.get(list[1])
	d.b.get(whole) // it was only late
	d.b.expect("0:aaa*1300")
	d.b.get(list[0])
	d.b.expect("")
	d.a.lost(list[1])
	d.a.acked(whole)
	if !d.a.flushed() || d.a.wantsToSend() {
		t.Fatal("the message is repeated after it was acknowledged")
	}
}

func TestPriorityIsStrictButForAThirtySecond(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.Channels[5].Priority, c.Channels[6].Priority = 3, -3
		c.SendBuffer = 4 << 20
		c.Params.InitialMaxData, c.Params.InitialMaxChannel = 4<<20, 4<<20
	})
	var bytes [8]int
	for range 3000 {
		d.a.say(6, big(6, 100))
		d.a.say(0, big(0, 100))
	}
	for range 3000 {
		d.a.say(5, big(5, 100))
	}
	for range 200 {
		for _, r := range d.a.packet(1200).records {
			bytes[r.channel] += int(r.n) * 102
		}
	}
	all := bytes[5] + bytes[0] + bytes[6]
	for _, c := range []int{0, 6} {
		if share := float64(all) / float64(bytes[c]); share < 28 || share > 36 {
			t.Errorf("channel %d of lower priority got one byte of %.1f", c, share)
		}
	}
	if bytes[5] < all*92/100 {
		t.Errorf("the highest priority got %d of %d bytes", bytes[5], all)
	}
}

func TestWeightsShareALevel(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.Channels[5].Weight, c.Channels[6].Weight, c.Channels[7].Weight = 10, 30, 60
		c.SendBuffer = 4 << 20
		c.Params.InitialMaxData, c.Params.InitialMaxChannel = 4<<20, 4<<20
	})
	for range 50 {
		d.a.say(7, big(7, 10_000))
	}
	for range 2000 {
		d.a.say(5, big(5, 60))
		d.a.say(6, big(6, 700))
	}
	var bytes [8]int
	for range 300 {
		for _, r := range d.a.packet(1300).records {
			switch {
			case r.kind == recFragment:
				bytes[r.channel] += int(r.n)
			case r.channel == 5:
				bytes[5] += int(r.n) * 61
			default:
				bytes[r.channel] += int(r.n) * 702
			}
		}
	}
	all := bytes[5] + bytes[6] + bytes[7]
	for c, percent := range map[int]int{5: 10, 6: 30, 7: 60} {
		if got := bytes[c] * 100 / all; got < percent-3 || got > percent+3 {
			t.Errorf("channel %d with weight %d got %d %%", c, percent, got)
		}
	}
}

func TestRepeatsGoBeforeNewMessagesOfTheirLevelOnly(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Channels[5].Priority = 1 })
	d.a.say(0, "low")
	p := d.a.packet(1200)
	d.a.lost(p)
	d.a.say(0, "low2")
	d.a.say(7, "same")
	d.a.say(5, "high")
	d.isFrames(d.a.packet(1200), "5:0+1 0:0+1 7:0+1 0:1+1")
}

func TestTTLOfAnUnsentMessageCostsNothing(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "stale", ttl(10*mono.Millisecond), tag(1))
	d.a.say(0, "fresh")
	if at := d.a.deadline(); at != d.now.Add(10*mono.Millisecond) {
		t.Fatalf("the deadline is %v", at)
	}
	d.now = d.now.Add(10 * mono.Millisecond)
	d.a.handleTimeout(d.now)
	d.a.expect("tag 1: expired")
	p := d.a.packet(1200)
	d.isFrames(p, "0:skip 0 0:1+1")
	if d.a.reserved != 37 {
		t.Fatalf("%d bytes of credit are taken for one message of five bytes", d.a.reserved)
	}
	d.b.get(p)
	d.b.expect("0:gap of 1 to 1, 0:fresh")
	if d.a.flushed() {
		t.Fatal("flushed before SKIP is acknowledged")
	}
	d.a.acked(p)
	if !d.a.flushed() || d.a.deadline() != mono.Never {
		t.Fatal("not flushed, or a deadline is left")
	}
}

func TestAnAcknowledgedMessageLeavesNoTimer(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "x", ttl(mono.Second))
	d.a.say(4, "y", ttl(mono.Second))
	p := d.a.packet(1200)
	if d.a.deadline() != d.now.Add(mono.Second) {
		t.Fatalf("the deadline is %v", d.a.deadline())
	}
	d.a.acked(p)
	if d.a.deadline() != mono.Never {
		t.Fatalf("the deadline is %v", d.a.deadline())
	}
}

func TestAnExpiredMessageIsNotSentEvenBeforeTheTimer(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(1, "stale", ttl(mono.Millisecond), tag(1))
	d.a.say(4, "stale too", ttl(mono.Millisecond), tag(2))
	d.now = d.now.Add(mono.Second)
	d.isFrames(d.a.packet(1200), "1:skip 0")
	d.a.expect("tag 1: expired, tag 2: expired")
	if d.a.wantsToSend() {
		t.Fatal("something is left")
	}
}

func TestSkipWaitsUntilTheMessageIsTheOldest(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "first")
	first := d.a.packet(1200)
	d.a.say(0, "doomed", ttl(mono.Millisecond), tag(1))
	doomed := d.a.packet(1200)
	d.a.say(0, "third")
	third := d.a.packet(1200)
	d.now = d.now.Add(mono.Second)
	d.a.handleTimeout(d.now)
	d.a.expect("tag 1: expired")
	if d.a.wantsToSend() {
		t.Fatal("SKIP does not wait for the older message")
	}
	d.a.lost(doomed)
	if d.a.wantsToSend() {
		t.Fatal("an expired message is repeated")
	}
	d.b.get(first, third)
	d.b.expect("0:first")
	d.a.acked(first, third)
	skip := d.a.packet(1200)
	d.isFrames(skip, "0:skip 1")
	d.a.lost(skip)
	skip = d.a.packet(1200)
	d.isFrames(skip, "0:skip 1")
	d.b.get(skip)
	d.b.expect("0:gap of 1 to 2, 0:third")
	d.b.get(skip, doomed)
	d.b.expect("")
	d.a.acked(skip)
	d.a.lost(skip)
	if !d.a.flushed() || d.a.wantsToSend() {
		t.Fatal("SKIP is not settled")
	}
	if b := &d.b; b.counted != d.a.reserved || b.consumedTotal != b.counted {
		t.Fatalf("%d taken, %d counted, %d given back", d.a.reserved, b.counted, b.consumedTotal)
	}
}

func TestAMessageGivenUpHalfwayReturnsItsWholeCredit(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, big(0, 5000), ttl(mono.Millisecond), tag(1))
	half := d.a.packet(1200)
	d.b.get(half)
	if d.b.counted != 5032 {
		t.Fatalf("%d bytes are counted for a message of 5000 that has begun", d.b.counted)
	}
	d.now = d.now.Add(mono.Second)
	p := d.a.packet(1200)
	d.isFrames(p, "0:skip 0")
	d.b.get(p)
	d.b.expect("0:gap of 1 to 1")
	if d.b.consumedTotal != 5032 || d.b.sh.Pool.InUse() != 0 {
		t.Fatalf("%d bytes given back, %d blocks in use", d.b.consumedTotal, d.b.sh.Pool.InUse())
	}
	d.a.acked(half, p)
	d.a.expect("tag 1: expired")
}

func TestOutcomes(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "x", tag(1))
	d.a.say(1, big(1, 3000), tag(2))
	d.a.say(4, "u", tag(3))
	d.a.say(3, "s", tag(4))
	d.a.say(3, big(3, 3000), tag(5))
	d.a.say(4, big(4, 3000), tag(6))
	d.a.say(0, "y", tag(7))
	list := d.a.packets(1200)
	if d.a.buffered != 1+32+3000+32+1+32 {
		t.Fatalf("%d bytes are held although unreliable messages have left", d.a.buffered)
	}
	d.a.acked(list[:len(list)-1]...)
	d.a.lost(list[len(list)-1])
	got := d.a.events()
	d.a.abort()
	got += "; " + d.a.events()
	want := "tag 1: delivered, tag 7: delivered, tag 3: delivered, tag 4: delivered, tag 2: delivered, tag 6: unknown, tag 5: unknown; "
	if got != want {
		t.Fatalf("outcomes %q", got)
	}
}

func TestAbortTellsThatTheFateIsUnknown(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "sent", tag(1))
	p := d.a.packet(1200)
	d.a.say(0, "waiting", tag(2))
	d.a.say(4, big(4, 3000), tag(3))
	d.a.packet(1200)
	d.a.abort()
	d.a.expect("tag 1: unknown, tag 2: unknown, tag 3: unknown")
	d.a.acked(p)
	d.a.lost(p)
	if d.a.wantsToSend() || !d.a.flushed() {
		t.Fatal("something is left to send")
	}
	d.a.release()
}

func TestSendRefusals(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.SendBuffer = 50_000 })
	for _, c := range []struct {
		name    string
		channel uint16
		size    int
		want    SendResult
	}{
		{"above the peer's limit", 0, 40_001, SendTooLarge},
		{"no such channel", 256, 1, SendClosed},
		{"fits", 0, 30_000, SendOK},
		{"buffer full", 1, 30_000, SendBlocked},
		{"rest", 1, 10_000, SendOK},
		{"unreliable gives way", 4, 30_000, SendOK},
	} {
		if got := d.a.trySay(c.channel, big(0, c.size)); got != c.want {
			t.Errorf("%s: send answered %d instead of %d", c.name, got, c.want)
		}
	}
	if d.a.sh.Stats.Evicted != 1 {
		t.Errorf("%d evicted", d.a.sh.Stats.Evicted)
	}
	d.a.events()
}

func TestUnreliableChannelsEvictTheOldestUnsent(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.SendBuffer = 3000 })
	d.a.say(4, big(4, 2000), tag(1)) // begun: it is not unsent any more
	begun := d.a.packet(1200)
	for i := range 20 {
		d.a.say(4, big(4, 200), tag(uint64(10+i)))
	}
	if n := d.a.sh.Stats.Evicted; n != 16 {
		t.Fatalf("%d evicted", n)
	}
	d.a.events()
	p := d.a.packet(2000)
	d.isFrames(p, "4:0[1192+808] 4:17+4")
	d.b.get(begun, p)
	d.b.expect("4:eee*2000, 4:eee*200, 4:eee*200, 4:eee*200, 4:eee*200")
	d.a.acked(begun, p)
	d.a.expect("tag 1: delivered, tag 26: delivered, tag 27: delivered, tag 28: delivered, tag 29: delivered")
}
