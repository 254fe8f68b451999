package proto

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// FuzzHandleMessageFrames feeds arbitrary frames about messages to channels that are in the middle of everything, and answers
// what they send with acknowledgments and losses. Nothing may panic, leak or be miscounted.
func FuzzHandleMessageFrames(f *testing.F) {
	f.Add(join(msg(0, 0, "a"), msg(0, 2, "c"), skipTo(0, 1, 33), frag(0, 3, 0, 9, "abc")))
	f.Add(join(frag(4, 0, 0, 9, "abc"), frag(4, 0, 3, 9, "defghi"), msg(3, 9, "x"), msg(3, 8, "y")))
	f.Add(join(keyed(2, 3, 1, "a"), keyed(2, 1, 1, "b"), skipTo(2, 9, 99), wire.AppendMaxData(nil, 1<<30), wire.AppendMaxChannel(nil, 0, 1<<30)))
	f.Add(join(wire.AppendBlocked(nil, 60_000), wire.AppendChannelBlocked(nil, 1, 45_000), wire.AppendMaxChannel(nil, 200, 5)))
	f.Add(wire.AppendSkip(nil, 0, wire.MaxVarint, 40_000))
	f.Add(join(wire.AppendSkip(nil, 0, wire.MaxVarint-1, 0), msg(0, wire.MaxVarint, "end"), msg(0, wire.MaxVarint, "again")))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDuo(t, nil)
		d.a.hold = true
		for ch := range uint16(8) {
			d.a.say(ch, big(ch, 1500), key(1), tag(uint64(ch)))
			d.a.say(ch, "small", key(uint64(ch)), ttl(mono.Duration(ch)*mono.Millisecond))
		}
		var log sentLog
		for step := 0; len(b) > 0; step++ {
			typ := uint64(b[0])
			if !aboutMessages(b[0]) {
				typ = wire.FrameMessage + typ%7
			}
			n, code := d.a.handleFrame(d.now, typ, b[1:])
			if n < 0 {
				if code == wire.NoError {
					t.Fatal("a frame closes without a code")
				}
				break
			}
			if n == 0 || n > len(b)-1 {
				t.Fatalf("a frame of %d bytes takes %d", len(b)-1, n)
			}
			b = b[1+n:]
			d.a.note()
			if len(d.a.pending) > 1000 {
				d.a.pending = d.a.pending[:0]
			}
			d.a.appendFrames(d.now, make([]byte, 0, 1300), 700+step%600, &log)
			if r := log.records.len(); r > 0 {
				if step%3 == 0 {
					d.a.onLost(d.now, log.records.at(r-1))
				} else {
					d.a.onAcked(d.now, log.records.at(r-1))
				}
			}
			d.now = d.now.Add(mono.Millisecond)
			d.a.handleTimeout(d.now)
			checkCounts(t, &d.a.messages, nil)
		}
		d.a.abort()
	})
}

// aboutMessages reports whether handleFrame is called for frames of the type.
func aboutMessages(typ byte) bool {
	switch typ {
	case wire.FrameMaxData, wire.FrameMaxChannel, wire.FrameBlocked, wire.FrameChannelBlocked:
		return true
	}
	return typ >= wire.FrameMessage && typ <= wire.FrameSkip
}
