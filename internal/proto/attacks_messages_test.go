package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

func fragmentFrame(channel, id, offset, total uint64, data string) []byte {
	return wire.AppendFragment(nil, &wire.Fragment{
		Channel: channel, ID: id, Offset: offset, Total: total, Data: []byte(data), Key: 5, Keyed: channel == 2,
	})
}

func messageFrame(channel, id uint64, payload string) []byte {
	return wire.AppendMessage(nil, channel, id, 5, channel == 2, []byte(payload))
}

func skipFrame(channel, upTo, cost uint64) []byte { return wire.AppendSkip(nil, channel, upTo, cost) }

// closesWith runs one attack against a fresh victim for each frame list and asserts the code of its end.
func closesWith(t *testing.T, code wire.ErrorCode, name string, edit func(*Config), packets ...[]byte) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		_, victim := hostile(t, 1, edit)
		for i, b := range packets {
			if victim.closed != nil {
				t.Fatalf("closed before packet %d: %#x %q", i, victim.closed.Code, victim.reason)
			}
			victim.attack(b)
		}
		victim.refuses(code)
	})
}

func TestAFragmentMustSayWhatItsMessageSaid(t *testing.T) {
	for _, ch := range []uint64{0, 1, 2, 3, 4} {
		name := Mode(ch).text()
		closesWith(t, wire.ReassemblyError, name+" another length", nil, fragmentFrame(ch, 3, 0, 900, "abc"), fragmentFrame(ch, 3, 3, 901, "abc"))
		closesWith(t, wire.ReassemblyError, name+" past its end", nil, fragmentRaw(ch, 3, 898, 900, 3))
		closesWith(t, wire.ReassemblyError, name+" far past its end", nil, fragmentRaw(ch, 3, wire.MaxVarint-1, 900, 3))
		closesWith(t, wire.ReassemblyError, name+" empty", nil, fragmentRaw(ch, 3, 0, 900, 0))
		closesWith(t, wire.ReassemblyError, name+" empty message", nil, fragmentRaw(ch, 3, 0, 0, 0))
		closesWith(t, wire.MessageTooLarge, name+" too long", nil, fragmentFrame(ch, 3, 0, 1<<30, "abc"))
	}
	closesWith(t, wire.ReassemblyError, "another key", nil, fragmentFrame(2, 3, 0, 900, "abc"),
		wire.AppendFragment(nil, &wire.Fragment{Channel: 2, ID: 3, Offset: 3, Total: 900, Data: []byte("abc"), Key: 6, Keyed: true}))
	closesWith(t, wire.ReassemblyError, "whole after parts of another length", nil, fragmentFrame(1, 3, 0, 900, "abc"), messageFrame(1, 3, "four"))
	closesWith(t, wire.MessageTooLarge, "unreliable above 64 KiB", nil, fragmentFrame(4, 3, 0, 65537, "abc"))
	closesWith(t, wire.ProtocolViolation, "unkeyed on a latest channel", nil, unkeyed(2))
	closesWith(t, wire.ProtocolViolation, "keyed on an ordered channel", nil, wire.AppendMessage(nil, 0, 0, 5, true, []byte("x")))
}

func unkeyed(ch uint64) []byte { return wire.AppendMessage(nil, ch, 0, 0, false, []byte("x")) }

// fragmentRaw writes a FRAGMENT that no encoder would.
func fragmentRaw(ch, id, offset, total uint64, length int) []byte {
	b := []byte{wire.FrameFragment}
	if ch == 2 {
		b[0] = wire.FrameFragmentKeyed
	}
	b = wire.AppendVarint(wire.AppendVarint(b, ch), id)
	if ch == 2 {
		b = wire.AppendVarint(b, 5)
	}
	b = wire.AppendVarint(wire.AppendVarint(b, offset), total)
	b = wire.AppendVarint(b, uint64(length))
	return append(b, make([]byte, length)...)
}

func (m Mode) text() string { return wire.Mode(m).String() }

// TestOverlappingFragmentsKeepTheFirstBytes: reassembly confusion (CVE-2020-6016 and its like) lives from bytes that change
// after they were checked. What came first stays, and nothing lies outside its message.
func TestOverlappingFragmentsKeepTheFirstBytes(t *testing.T) {
	for _, ch := range []uint64{0, 1, 2, 3, 4} {
		_, victim := hostile(t, 2, nil)
		victim.attack(fragmentFrame(ch, 0, 4, 12, "EFGH"))
		victim.attack(fragmentFrame(ch, 0, 2, 12, "xxxxxxxx"))
		victim.attack(fragmentFrame(ch, 0, 0, 12, "yyyyyyyyyyy"))
		if len(victim.messages) != 0 {
			t.Fatalf("channel %d: delivered %q without its last byte", ch, victim.messages)
		}
		victim.attack(fragmentFrame(ch, 0, 11, 12, "L"))
		victim.expect("yyxxEFGHxxyL")
		if n := victim.sh.Pool.InUse(); n != 0 {
			t.Errorf("channel %d: %d blocks in use", ch, n)
		}
	}
}

// TestMessagesOfOneIDOnManyChannelsStayApart: reassembly is keyed by channel and message.
func TestMessagesOfOneIDOnManyChannelsStayApart(t *testing.T) {
	_, victim := hostile(t, 3, nil)
	channels := []uint64{0, 1, 3, 4, 5, 6, 7, 8, 9, 200, 255}
	for _, ch := range channels {
		victim.attack(fragmentFrame(ch, 0, 0, 4, string([]byte{byte(ch), 'a'})))
	}
	for _, ch := range channels {
		victim.attack(fragmentFrame(ch, 0, 2, 4, string([]byte{byte(ch), 'b'})))
	}
	var want []string
	for _, ch := range channels {
		want = append(want, string([]byte{byte(ch), 'a', byte(ch), 'b'}))
	}
	victim.expect(want...)
}

// TestHoardingIncompleteMessagesIsBoundedByCredit: a peer that begins messages and never ends them holds what it was granted,
// and what the sizes of the pool's blocks add to that.
func TestHoardingIncompleteMessagesIsBoundedByCredit(t *testing.T) {
	for _, total := range []int{2, 100, 129, 513, 2049, 16385, 65537, 256 << 10} {
		for _, ch := range []uint64{0, 1, 2} {
			_, victim := hostile(t, 4, nil)
			for id := uint64(0); victim.closed == nil; id++ {
				if id > 100_000 {
					t.Fatalf("%d messages of %d bytes are held", id, total)
				}
				credit := int(victim.sh.Config.Params.InitialMaxData)
				if n := int(victim.poolBytes()); n > 9*credit {
					t.Fatalf("messages of %d bytes hold %d bytes of the pool for %d of credit", total, n, credit)
				}
				if n := victim.c.heap(); n > 2<<20 {
					t.Fatalf("messages of %d bytes hold %d bytes of the heap", total, n)
				}
				victim.attack(fragmentFrame(ch, id, 0, uint64(total), "x"))
			}
			want := wire.FlowControlError
			if total <= 129 {
				want = wire.MessageLimit
			}
			victim.refuses(want)
		}
	}
}

// TestScatteredPiecesClose: each piece that lies apart costs memory.
func TestScatteredPiecesClose(t *testing.T) {
	_, victim := hostile(t, 5, nil)
	for at := uint64(0); victim.closed == nil && at < 100_000; at += 2 {
		victim.attack(fragmentFrame(1, 0, at, 100_000, "x"))
		victim.holds(200_000, 200_000)
	}
	victim.refuses(wire.ReassemblyError)
}

// TestUnreliableHoardingEvictsTheOldest: nothing of an unreliable mode may hold memory for long.
func TestUnreliableHoardingEvictsTheOldest(t *testing.T) {
	for _, ch := range []uint64{3, 4} {
		p, victim := hostile(t, 6, nil)
		for id := range uint64(5000) {
			victim.attack(fragmentFrame(ch, id, 0, 65536, "x"))
			victim.holds(200_000, 65536*maxLoose)
		}
		if victim.c.msgs.loose.n > maxLoose || victim.sh.Stats.ReassemblyEvicted < 4900 {
			t.Errorf("%d incomplete messages held, %d evicted", victim.c.msgs.loose.n, victim.sh.Stats.ReassemblyEvicted)
		}
		p.run(3 * mono.Second)
		if n := victim.sh.Pool.InUse(); n != 0 {
			t.Errorf("%d blocks in use three seconds later", n)
		}
		victim.survives()
	}
}

func TestWindowLies(t *testing.T) {
	const credit = 1 << 20
	grant := func(c *Config) { c.Params.InitialMaxData, c.Params.InitialMaxChannel = credit, credit }
	big := text(1, 1000)
	var beyond [][]byte
	for i := range uint64(credit/1032 + 1) {
		beyond = append(beyond, messageFrame(0, i+1, big))
	}
	closesWith(t, wire.FlowControlError, "more than granted", grant, beyond...)
	t.Run("limits that fall", func(t *testing.T) {
		p, victim := hostile(t, 7, nil)
		limit := victim.c.msgs.limit
		for _, l := range []uint64{0, 1, limit - 1} {
			victim.attack(wire.AppendMaxData(nil, l))
			victim.attack(wire.AppendMaxChannel(nil, 0, l))
		}
		if victim.c.msgs.limit != limit {
			t.Errorf("the limit went from %d to %d", limit, victim.c.msgs.limit)
		}
		p.run(mono.Second)
		victim.survives()
	})
	t.Run("limits without limit", func(t *testing.T) {
		p, victim := hostile(t, 8, nil)
		victim.attack(wire.AppendMaxData(nil, wire.MaxVarint))
		for ch := range uint64(256) {
			victim.attack(wire.AppendMaxChannel(nil, ch, wire.MaxVarint))
		}
		for ch := range uint16(256) {
			if r := victim.say(ch, text(int(ch), 500)); r != SendOK {
				t.Fatalf("send: %d", r)
			}
		}
		p.run(2 * mono.Second)
		if n := len(p.client.messages); n < 240 { // unreliable ones may be lost
			t.Errorf("%d messages arrived", n)
		}
		victim.holds(300_000, 0)
		victim.survives()
	})
}

// TestBLOCKEDFloodBuysNothing: a peer that says it is blocked is granted what there is, once.
func TestBLOCKEDFloodBuysNothing(t *testing.T) {
	p, victim := hostile(t, 9, nil)
	granted := victim.c.msgs.advertised
	packets := victim.sh.Stats.AckEliciting
	for i := range uint64(5000) {
		b := wire.AppendBlocked(nil, wire.MaxVarint-i%2)
		victim.attack(wire.AppendChannelBlocked(b, i%256, wire.MaxVarint))
		victim.flush()
	}
	p.run(mono.Second)
	if victim.c.msgs.advertised != granted {
		t.Errorf("granted %d, then %d, and nothing was consumed", granted, victim.c.msgs.advertised)
	}
	if n := victim.sh.Stats.AckEliciting - packets; n > 260 {
		t.Errorf("%d packets in answer", n)
	}
	victim.holds(300_000, 0)
	victim.survives()
}

// TestASlowReaderHoldsItsCreditAndNoMore: an application that never says that it is done stops the sender, in both ends'
// memory.
func TestASlowReaderHoldsItsCreditAndNoMore(t *testing.T) {
	p, victim := hostile(t, 10, nil)
	reader := p.client
	reader.manual = true
	sent, blocked := 0, 0
	for i := range 20_000 {
		switch victim.say(0, text(i, 1000)) {
		case SendOK:
			sent++
		case SendBlocked:
			blocked++
		}
		if i%50 == 0 {
			p.run(10 * mono.Millisecond)
		}
	}
	p.run(10 * mono.Second)
	window := int(reader.sh.Config.Params.InitialMaxChannel) / 1032
	if n := len(reader.messages); n < window-1 || n > window {
		t.Errorf("%d messages arrived, the credit is for %d", n, window)
	}
	if blocked == 0 || victim.c.msgs.buffered > victim.sh.Config.SendBuffer {
		t.Errorf("%d sends blocked, %d bytes buffered", blocked, victim.c.msgs.buffered)
	}
	if f := victim.c.bytesInFlight; f != 0 {
		t.Errorf("%d bytes in flight while blocked", f)
	}
	packets := victim.sh.Stats.PacketsSent
	p.run(5 * mono.Second)
	if n := victim.sh.Stats.PacketsSent - packets; n > 3 {
		t.Errorf("%d packets sent while blocked for 5 s", n)
	}
	for range reader.messages {
		reader.c.Consumed(p.now, 0, 1000)
	}
	reader.manual = false
	p.until(20*mono.Second, "the rest", func() bool { return len(reader.messages) == sent })
	victim.survives()
}

func TestSKIPLies(t *testing.T) {
	closesWith(t, wire.ProtocolViolation, "cost below what was counted", nil, messageFrame(0, 3, "counted"), skipFrame(0, 3, 38))
	closesWith(t, wire.ProtocolViolation, "cost below what was consumed", nil, messageFrame(0, 0, "counted"), skipFrame(0, 5, 38))
	closesWith(t, wire.FlowControlError, "cost beyond the limit", nil, skipFrame(0, 0, 1<<40))
	closesWith(t, wire.FlowControlError, "the largest cost", nil, skipFrame(0, 0, wire.MaxVarint))
	closesWith(t, wire.ProtocolViolation, "unreliable channel", nil, skipFrame(4, 0, 40))
	closesWith(t, wire.FlowControlError, "cost that a later message exceeds", func(c *Config) { c.Params.InitialMaxData = 2000 },
		skipFrame(0, 0, 1990), skipFrame(1, 0, 300_000))
	_, victim := hostile(t, 11, nil)
	victim.attack(messageFrame(0, 0, "zero"))
	victim.attack(skipFrame(0, 9, 36+40))
	victim.attack(skipFrame(0, 4, 0)) // backwards: settled long ago, whatever it claims
	victim.attack(skipFrame(0, 9, 0))
	victim.attack(messageFrame(0, 5, "late"))
	victim.attack(messageFrame(0, 10, "ten"))
	victim.expect("zero", "ten")
	if victim.gaps != 1 {
		t.Errorf("%d gap notices", victim.gaps)
	}
	victim.attack(skipFrame(0, wire.MaxVarint, 36+40+35)) // no ID is left on this channel
	victim.attack(messageFrame(0, wire.MaxVarint, "gone"))
	if victim.closed != nil || len(victim.messages) != 2 {
		t.Errorf("closed %+v, messages %q", victim.closed, victim.messages)
	}
	if n := victim.sh.Pool.InUse(); n != 0 {
		t.Errorf("%d blocks in use", n)
	}
}

func TestIDsFarAheadClose(t *testing.T) {
	for _, c := range []struct{ ch, window uint64 }{{0, orderedWindow}, {1, unorderedWindow}, {2, unorderedWindow}} {
		_, victim := hostile(t, 12, nil)
		victim.attack(messageFrame(c.ch, c.window-1, "the last"))
		if victim.closed != nil {
			t.Fatalf("channel %d: closed within the window: %q", c.ch, victim.reason)
		}
		victim.holds(400_000, 2048)
		victim.attack(messageFrame(c.ch, c.window, "one too far"))
		victim.refuses(wire.MessageLimit)
		closesWith(t, wire.MessageLimit, Mode(c.ch).text()+" the highest ID", nil, messageFrame(c.ch, wire.MaxVarint, "x"))
	}
	var all [][]byte
	for ch := uint64(5); ch < 5+4; ch++ {
		all = append(all, messageFrame(ch, orderedWindow-1, ""))
	}
	closesWith(t, wire.MessageLimit, "all channels together", nil, append(all, messageFrame(9, 1, ""))...)
}

func TestKeysWithoutEndClose(t *testing.T) {
	_, victim := hostile(t, 13, nil)
	for i := uint64(1); victim.closed == nil && i < unorderedWindow; i++ {
		victim.attack(wire.AppendMessage(nil, 2, i, i*7919, true, nil)) // ID 0 never comes
		victim.holds(500_000, 0)
	}
	victim.refuses(wire.MessageLimit)
}

// TestKeysThatCollideWithoutTheSecretDoNotWithIt: message keys are the peer's choice (CVE-2025-23020 and its like).
func TestKeysThatCollideWithoutTheSecretDoNotWithIt(t *testing.T) {
	const guess, secret, n = 0, 0x9d3f_52c1_7b66_e0a5, 1000
	longest := func(secret uint64, keys []uint64) (run int) {
		var table keyTable[uint64]
		for _, k := range keys {
			*table.put(secret, k) = k
		}
		for at, i := 0, 0; i < 2*len(table.slots); i++ {
			if table.slots[i%len(table.slots)].key == 0 {
				at = 0
				continue
			}
			at++
			run = max(run, at)
		}
		return run
	}
	var keys []uint64
	for k := uint64(0); len(keys) < n; k++ {
		if hashKey(guess, k)&2047 < 16 {
			keys = append(keys, k)
		}
	}
	if r := longest(guess, keys); r < n {
		t.Fatalf("the chosen keys do not collide: runs of %d", r)
	}
	if r := longest(secret, keys); r > 100 {
		t.Errorf("keys chosen without the secret make runs of %d slots", r)
	}
}

func TestDuplicateFloodIsDeliveredOnce(t *testing.T) {
	for _, ch := range []uint64{0, 1, 2, 3} {
		_, victim := hostile(t, 14, nil)
		for range 5000 {
			victim.attack(messageFrame(ch, 0, "once"))
			victim.attack(fragmentFrame(ch, 0, 1, 4, "nce"))
		}
		victim.expect("once")
		if n := victim.sh.Stats.Duplicates + victim.sh.Stats.StaleDropped; n < 9000 {
			t.Errorf("channel %d: %d duplicates counted", ch, n)
		}
		victim.holds(2<<20, 0)
		victim.survives()
	}
}

func TestCountsThatLieAboutMessagesClose(t *testing.T) {
	lie := func(count uint64, bytes int) []byte {
		b := append([]byte{wire.FrameMessages}, 0, 0)
		return append(wire.AppendVarint(b, count), make([]byte, bytes)...)
	}
	closesWith(t, wire.FrameEncodingError, "none", nil, lie(0, 10))
	closesWith(t, wire.FrameEncodingError, "more than bytes", nil, lie(1000, 10))
	closesWith(t, wire.FrameEncodingError, "as many as can be", nil, lie(wire.MaxVarint, 1000))
	closesWith(t, wire.FrameEncodingError, "the last one cut short", nil, append(lie(3, 2), 9))
	closesWith(t, wire.MessageTooLarge, "a message above the limit", func(c *Config) { c.MaxMessageSize = 500 }, messageFrame(0, 0, text(1, 501)))
}

// TestEveryChannelOpenedCostsLittle: a record of a channel is made at its first use, by either end.
func TestEveryChannelOpenedCostsLittle(t *testing.T) {
	_, victim := hostile(t, 15, nil)
	for ch := range uint64(256) {
		victim.attack(wire.AppendChannelBlocked(nil, ch, 0))
		if ch != survivor {
			victim.attack(messageFrame(ch, 0, ""))
		}
	}
	if len(victim.messages) != 255 {
		t.Errorf("%d messages arrived", len(victim.messages))
	}
	victim.holds(200_000, 0)
	victim.survives()
}

// TestPaddingAloneIsNotAnswered: packets without ack-eliciting frames make no packets.
func TestPaddingAloneIsNotAnswered(t *testing.T) {
	p, victim := hostile(t, 16, nil)
	sent := victim.sent
	for range 1000 {
		victim.attack(make([]byte, 1200))
		victim.flush()
		p.now = p.now.Add(50 * mono.Millisecond)
	}
	if victim.sent != sent {
		t.Errorf("%d datagrams in answer to PADDING", victim.sent-sent)
	}
	victim.survives()
}
