package proto

import (
	"testing"

	"pgregory.net/rapid"

	"godwit.example/godwit/internal/wire"
)

func TestTheNewestValueReplacesOneThatWaits(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(2, "a1", key(1), tag(1))
	d.a.say(2, "b1", key(2))
	d.a.say(2, "a2", key(1), tag(2))
	d.a.say(2, "a3", key(1))
	d.a.expect("tag 1: superseded, tag 2: superseded")
	p := d.a.packet(1200)
	d.isFrames(p, "2:0+2")
	d.b.get(p)
	d.b.expect("2:a3, 2:b1") // the newest value keeps the place in the queue, so no key starves
	d.a.acked(p)
	if !d.a.flushed() || d.a.existing(2).latest.out.n != 0 {
		t.Fatal("a key is remembered after everything was acknowledged")
	}
}

func TestAValueThatWasSentIsNotRepeatedOnceANewerOneWasSentWhole(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(2, "old", key(1), tag(1))
	old := d.a.packet(1200)
	d.a.say(2, "new", key(1), tag(2))
	held := d.a.sh.Chunks.InUse()
	fresh := d.a.packet(1200)
	if d.a.sh.Chunks.InUse() != held-1 {
		t.Fatal("the old value's buffer is held")
	}
	d.a.lost(old)
	d.a.expect("tag 1: superseded")
	skip := d.a.packet(1200)
	d.isFrames(skip, "2:skip 0")
	d.b.get(fresh)
	d.b.expect("2:new")
	d.b.get(old)
	d.b.expect("")
	if d.b.sh.Stats.StaleDropped != 1 {
		t.Errorf("%d stale values counted", d.b.sh.Stats.StaleDropped)
	}
	d.b.get(skip)
	d.a.acked(fresh, skip)
	d.a.expect("tag 2: delivered")
	if !d.a.flushed() || d.b.counted != d.a.reserved || d.b.consumedTotal != d.b.counted || d.b.existing(2).window.len() != 0 {
		t.Fatal("not at rest")
	}
}

func TestASupersededValueMayStillBeDelivered(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(2, "old", key(1), tag(1))
	old := d.a.packet(1200)
	d.a.say(2, "new", key(1), tag(2))
	fresh := d.a.packet(1200)
	d.a.acked(old, fresh)
	d.a.expect("tag 1: delivered, tag 2: delivered")
	if d.a.wantsToSend() || !d.a.flushed() {
		t.Fatal("SKIP for a message that was acknowledged")
	}
}

func TestAValueThatHasBegunIsFinishedFirst(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(2, big(2, 2000), key(1), tag(1))
	first := d.a.packet(1200)
	d.a.say(2, "b", key(1), tag(2))
	d.a.say(2, "c", key(1), tag(3))
	d.a.expect("tag 2: superseded")
	second := d.a.packet(1200)
	d.isFrames(second, "2:0[1191+809] 2:1+1")
	d.b.get(first, second)
	d.b.expect("2:ccc*2000, 2:c")
	d.a.acked(first, second)
	d.a.expect("tag 1: delivered, tag 3: delivered")
}

func TestALostFragmentOfAnOutdatedValueGivesItUp(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(2, big(2, 2000), key(1), tag(1))
	first := d.a.packet(1200)
	d.a.say(2, "b", key(1), tag(2))
	d.a.lost(first) // nothing newer was sent yet: it is repeated
	list := d.a.packets(1200)
	d.isFrames(list[0], "2:0[0+1191]")
	d.isFrames(list[1], "2:0[1191+809] 2:1+1")
	d.a.lost(list[0])
	d.a.expect("tag 1: superseded")
	d.b.get(list[1])
	d.b.expect("2:b")
	d.a.acked(list[1])
	skip := d.a.packet(1200)
	d.isFrames(skip, "2:skip 0")
	d.b.get(skip)
	if d.b.sh.Pool.InUse() != 0 || d.b.consumedTotal != d.a.reserved {
		t.Fatal("the half message is not given back")
	}
	d.a.acked(skip)
	d.a.expect("tag 2: delivered")
	if !d.a.flushed() {
		t.Fatal("not flushed")
	}
}

func TestKeysOutstandingAreBounded(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.SendBuffer = 8 << 20
		c.Params.InitialMaxChannel, c.Params.InitialMaxData = 8<<20, 8<<20
	})
	for i := range 1100 {
		d.a.say(2, "x", key(uint64(i)))
	}
	d.a.packets(1200)
	ch := d.a.existing(2)
	if ch.sent != maxLatestKeys || ch.waits != waitKeys {
		t.Fatalf("%d keys left, waits %d", ch.sent, ch.waits)
	}
	d.a.onAcked(d.now, &record{kind: recMessages, channel: 2, id: 1, n: 1}) // not the oldest: the receiver may remember its key
	if d.a.wantsToSend() {
		t.Fatal("a key is free although the receiver may remember it")
	}
	d.a.onAcked(d.now, &record{kind: recMessages, channel: 2, id: 0, n: 1})
	d.isFrames(d.a.packet(1200), "2:1024+2")
	d.a.events()
}

func TestChannelsCloseOnTooManyKeys(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxChannel, c.Params.InitialMaxData = 8<<20, 8<<20 })
	code, n := wire.NoError, uint64(0)
	for code == wire.NoError && n < 4000 { // ID 0 stays missing, so that no key is ever forgotten
		n++
		code = d.b.feed(wire.AppendMessage(nil, 2, n, 1000+n, true, nil))
	}
	if code != wire.MessageLimit || n > 2*maxLatestKeys+1 {
		t.Fatalf("after %d keys: %v", n, code)
	}
}

func TestKeysBelowTheFloorAreForgotten(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxChannel, c.Params.InitialMaxData = 8<<20, 8<<20 })
	// The window never empties: IDs come as 1, 3, 0, 5, 2, 7, 4, 9, …
	feed := func(id uint64) {
		if code := d.b.feed(wire.AppendMessage(nil, 2, id, id, true, nil)); code != wire.NoError {
			t.Fatalf("key %d: %v", id, code)
		}
		d.b.events()
	}
	feed(1)
	for id := uint64(0); id < 20_000; id += 2 {
		feed(id + 3)
		feed(id)
		if d.b.existing(2).window.len() == 0 {
			t.Fatal("nothing is missing")
		}
	}
	if keys := d.b.existing(2).latest.in.n; keys > 2*maxLatestKeys {
		t.Fatalf("%d keys are remembered", keys)
	}
}

func TestKeyTableFollowsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table keyTable[uint64]
		model := map[uint64]uint64{}
		secret := rapid.Uint64().Draw(t, "secret")
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			k := rapid.Uint64Range(0, 40).Draw(t, "key")
			switch rapid.IntRange(0, 3).Draw(t, "action") {
			case 0:
				table.remove(secret, k)
				delete(model, k)
			case 1:
				if rapid.IntRange(0, 30).Draw(t, "clear") == 0 {
					table.clear()
					clear(model)
				}
			default:
				v := rapid.Uint64().Draw(t, "value")
				*table.put(secret, k) = v
				model[k] = v
			}
			if table.n != len(model) {
				t.Fatalf("%d keys instead of %d", table.n, len(model))
			}
			for k := range uint64(41) {
				want, ok := model[k]
				if got := table.get(secret, k); (got != nil) != ok || ok && *got != want {
					t.Fatalf("key %d", k)
				}
			}
		}
	})
}
