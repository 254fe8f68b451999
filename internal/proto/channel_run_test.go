package proto

import (
	"strings"
	"testing"

	"godwit.example/godwit/internal/mono"
)

// run queues messages of these sizes as one run and returns how many were taken.
func (e *duoEnd) run(channel uint16, sizes ...int) int {
	var pieces []Piece
	buf := []byte("head")
	for i, n := range sizes {
		pieces = append(pieces, Piece{uint32(len(buf)), uint32(n)})
		buf = append(buf, strings.Repeat(string(rune('a'+i)), n)...)
	}
	id := e.sh.Chunks.Add(buf)
	defer e.sh.Chunks.Release(id)
	return e.sendRun(channel, id, pieces)
}

func TestARunIsQueuedAsItsMessagesWouldBe(t *testing.T) {
	d := newDuo(t, nil)
	d.a.say(0, "first")
	if n := d.a.run(0, 64, 0, 3); n != 3 {
		t.Fatalf("%d messages of 3 were taken", n)
	}
	p := d.a.packet(1200)
	d.isFrames(p, "0:0+4")
	if n := d.a.run(0, 2); n != 1 { // nothing waits: the channel has to be armed
		t.Fatal("a run of one was refused")
	}
	q := d.a.packet(1200)
	d.isFrames(q, "0:4+1")
	d.b.get(p, q)
	d.b.expect("0:first, 0:aaa*64, 0:, 0:ccc, 0:aa")
	d.a.acked(p)
	if d.a.flushed() {
		t.Error("flushed with a message on its way")
	}
	d.a.acked(q)
	if !d.a.flushed() || d.a.sh.Chunks.InUse() != 0 {
		t.Error("everything is acknowledged and yet something is held")
	}
}

func TestARunStopsAtWhatHasNoRoom(t *testing.T) {
	d := newDuo(t, func(cfg *Config) { cfg.SendBuffer = 3000 })
	d.a.say(0, "x")
	if n := d.a.run(0, 900, 900, 1004, 36); n != 3 { // 33, 2·932 and 1036 make 2933
		t.Errorf("%d messages were taken where 3 have room", n)
	}
	if r := d.a.trySay(0, strings.Repeat("x", 36)); r != SendBlocked {
		t.Errorf("a message without room is answered %d", r)
	}
	list := d.a.packets(1200)
	d.b.get(list...)
	d.a.acked(list...)
	if n := d.a.run(0, 10, 2969, 10); n != 1 {
		t.Errorf("%d messages were taken where the second is larger than the buffer", n)
	}
	list = d.a.packets(1200)
	d.b.get(list...)
	d.a.acked(list...)
	d.a.maxMessage = 100
	if n := d.a.run(0, 100, 101); n != 1 {
		t.Errorf("%d messages were taken where the second is too large for the peer", n)
	}
	d.b.events()
}

func TestARunIsForOrdinaryMessagesOfTheChannelInUse(t *testing.T) {
	d := newDuo(t, nil)
	if n := d.a.run(0, 1); n != 0 {
		t.Error("a channel was opened by a run")
	}
	for channel := range uint16(5) {
		d.a.say(channel, "x")
		want := 2
		if !d.a.lookup(uint8(channel)).mode.Reliable() || d.a.lookup(uint8(channel)).mode == Latest {
			want = 0
		}
		if n := d.a.run(channel, 1, 1); n != want {
			t.Errorf("%d messages were taken on channel %d, not %d", n, channel, want)
		}
		if n := d.a.run(channel+1, 1); n != 0 {
			t.Error("messages were taken on a channel that is not the one last used")
		}
	}
	d.a.say(0, "y", ttl(mono.Second))
	if n := d.a.run(0, 1); n != 0 {
		t.Error("messages were taken without extras behind one that has some")
	}
	list := d.a.packets(1200)
	d.a.acked(list...)
	d.a.events()
}
