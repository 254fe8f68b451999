package proto

import (
	"fmt"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// offers counts what became of messages that SendTrain was given.
type offers struct{ left, taken, written, unreliable int }

// building has an end build a train after each message. Together means in one call.
func building(s *side, together bool, v *offers) {
	s.pass = func(m *Message) SendResult {
		var buf [maxTrain * 1500]byte
		var t wire.Train
		if len(m.Payload)%4 != 0 { // else few would qualify
			m.Tag, m.TTL, m.Channel = 0, 0, m.Channel/3*3
		}
		messages := s.sh.Stats.MessagesSent
		sent, built := false, false
		if together {
			sent, built = s.c.SendTrain(s.p.now, m, buf[:], &t)
			switch {
			case !sent:
				v.left++
			case s.sh.Stats.MessagesSent == messages:
				v.taken++
			default:
				v.written++
				if !s.sh.Config.Channels[m.Channel].Mode.Reliable() {
					v.unreliable++
				}
			}
		}
		r := SendOK
		if !sent {
			r = s.c.Send(s.p.now, m)
			built = s.c.BuildTrain(s.p.now, buf[:], &t)
		}
		if built {
			s.transmit(buf[:t.Len], &t)
		}
		s.drain()
		return r
	}
}

// Whatever happens, a connection that is given messages by SendTrain sends the same bytes at the same times as one that is given them by Send
// and then asked for a train.
func TestSendTrainIsSendAndBuildTrain(t *testing.T) {
	var v offers
	for seed := range uint64(*histories) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			apart := historyOf(t, seed, false, nil, func(s *side) { building(s, false, nil) })
			together := historyOf(t, seed, seed%3 == 0, &coverage{}, func(s *side) { building(s, true, &v) })
			if apart != together {
				t.Fatalf("history %d goes another way", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", v)
	if v.left == 0 || v.taken == 0 || v.written-v.unreliable == 0 || v.unreliable == 0 {
		t.Errorf("not every way was taken: %+v", v)
	}
}

// A message that finds no room is queued: the window is full, or the packet.
func TestSendTrainQueuesWhatFindsNoPacket(t *testing.T) {
	for name, payload := range map[string]string{"the window is full": text(1, 50), "a packet is too short": text(1, 2000)} {
		p := newPair(t, 1, nil)
		p.connect()
		p.client.say(0, "first")
		p.run(mono.Second)
		if len(payload) < 1000 {
			p.client.c.bytesInFlight += 1 << 30
		}
		var v offers
		building(p.client, true, &v)
		p.client.say(0, payload)
		if len(payload) < 1000 {
			p.client.c.bytesInFlight -= 1 << 30
		}
		if v.left != 0 || v.taken+v.written != 1 {
			t.Errorf("%s: it went another way: %+v", name, v)
		}
		p.run(mono.Second)
		p.client.say(0, "last")
		if v.taken+v.written != 2 || v.written == 0 {
			t.Errorf("%s: the next one was not written at once: %+v", name, v)
		}
		p.run(mono.Second)
		p.server.expect("first", payload, "last")
		p.balance()
	}
}

// A message is left to Send if it is another's turn, or Send has to note more of it, or may refuse it.
func TestSendTrainLeavesTheRestToSend(t *testing.T) {
	plain := Message{Payload: []byte("plain")}
	for _, c := range []struct {
		name    string
		prepare func(p *pair, m *Message)
	}{
		{"a tag", func(_ *pair, m *Message) { m.Tag = 1 }},
		{"a TTL", func(_ *pair, m *Message) { m.TTL = mono.Second }},
		{"another channel", func(_ *pair, m *Message) { m.Channel = 1 }},
		{"no chunk", func(_ *pair, m *Message) { m.Chunk = 0 }},
		{"too large", func(p *pair, _ *Message) { p.client.c.msgs.maxMessage = 4 }},
		{"a full buffer", func(p *pair, _ *Message) { p.client.sh.Config.SendBuffer = 10 }},
		{"no credit of the channel", func(p *pair, _ *Message) { p.client.c.msgs.chans[0].limit = 1 }},
		{"no credit", func(p *pair, _ *Message) { p.client.c.msgs.limit = 1 }},
		{"another message waits", func(p *pair, _ *Message) { p.client.c.Send(p.now, &plain) }},
		{"closing", func(p *pair, _ *Message) { p.client.c.Shutdown(p.now, 0, "") }},
	} {
		p := newPair(t, 1, nil)
		p.connect()
		p.client.say(0, "first")
		p.run(mono.Second)
		buf, train := make([]byte, maxTrain*1500), wire.Train{}
		m, chunk := plain, p.client.sh.Chunks.Add(plain.Payload)
		m.Chunk = chunk
		c.prepare(p, &m)
		if sent, built := p.client.c.SendTrain(p.now, &m, buf, &train); sent || built {
			t.Errorf("%s: it was taken", c.name)
		}
		p.client.sh.Chunks.Release(chunk)
	}
}
