package proto

import (
	"testing"

	"godwit.example/godwit/internal/wire"
)

// An idle connection is to pack into 1 KiB, of which its channels may take 24 bytes each.
func TestIdleChannelsPackSmall(t *testing.T) {
	d := newDuo(t, func(c *Config) {
		c.Params = wire.DefaultParams()
		c.MaxMessageSize = 256 << 10
	})
	for ch := range uint16(16) {
		for range 50 {
			d.a.say(ch, big(ch, 200), key(uint64(ch)))
			d.b.say(ch, big(ch, 300), key(uint64(ch)))
			d.cross()
		}
	}
	for i := range d.a.chans { // as after a million messages
		ch := &d.a.chans[i]
		ch.base, ch.next = 1_000_000, 1_500_000
		for _, v := range []*uint64{&ch.reserved, &ch.frontCost, &ch.limit, &ch.counted, &ch.consumed, &ch.advertised} {
			*v += 200_000_000
		}
	}
	b := d.a.appendPacked(nil, d.now)
	if n := len(b) - 40; n > 16*24 {
		t.Errorf("16 idle channels take %d bytes", n)
	}
	t.Logf("16 idle channels and the connection's credit take %d bytes", len(b))
	d.a.events()
	d.b.events()
}

func TestPackedChannelsCutShortAreRefused(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Params.InitialMaxData = 200_000 })
	for ch := range uint16(6) {
		d.a.say(ch, big(ch, 2500), key(1), tag(uint64(ch)+1))
		d.a.say(ch, "small", key(2), ttl(1000))
		d.a.say(ch, "more", key(2))
	}
	list := d.a.packets(1200)
	d.a.lost(list[2])
	for i := range list {
		if i%3 == 1 {
			d.b.get(list[i])
		}
	}
	d.a.events()
	d.b.events()
	for _, e := range []*duoEnd{&d.a, &d.b} {
		b := e.appendPacked(nil, d.now)
		for n := 0; n < len(b); n += 1 + n/64 {
			var m messages
			sh := newShared(e.sh.Config)
			m.init(sh, 7)
			if m.parsePacked(sh, b[:n], d.now) != 0 {
				t.Fatalf("%d of %d bytes are taken for the whole", n, len(b))
			}
			m.release()
			if sh.Pool.InUse() != 0 {
				t.Fatalf("%d of %d bytes: %d blocks are still in use", n, len(b), sh.Pool.InUse())
			}
		}
	}
}

func FuzzParsePackedChannels(f *testing.F) {
	cfg := pipeConfig()
	for seed := range uint64(3) {
		p := promisePipe(f, seed)
		p.ends[0].sends, p.ends[1].sends = 30, 30
		for range 12 {
			p.tick()
		}
		f.Add(p.ends[0].m.appendPacked(nil, p.now))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sh := newShared(cfg)
		var m messages
		m.init(sh, 1)
		if m.parsePacked(sh, b, 1000) != 0 {
			var log sentLog
			for range 20 {
				m.appendFrames(1000, make([]byte, 0, 1200), 1200, &log)
			}
			for i := range log.records.len() {
				m.onAcked(1001, log.records.at(i))
			}
			m.handleTimeout(2000)
		}
		m.abort()
		m.release()
		for i := range sh.Events {
			sh.Pool.Put(sh.Events[i].Ref)
		}
		if sh.Pool.InUse() != 0 {
			t.Fatalf("%d blocks are still in use", sh.Pool.InUse())
		}
	})
}
