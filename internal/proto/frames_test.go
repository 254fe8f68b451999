package proto

import (
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// sample is one valid frame of every type that this version knows, for a receiver of that role.
func sample(typ byte, client bool) []byte {
	id, _ := wire.MakeConnID([]byte("another-id-1"))
	switch typ {
	case wire.FramePadding:
		return []byte{0}
	case wire.FrameAck, wire.FrameAckECN:
		var ecn *wire.ECNCounts
		if typ == wire.FrameAckECN {
			ecn = &wire.ECNCounts{}
		}
		b, _ := wire.AppendAck(nil, []wire.AckRange{{}}, 0, ecn, 100)
		return b
	case wire.FrameCrypto:
		return wire.AppendCrypto(nil, 0, []byte{1, 0, 0, 9})
	case wire.FrameNewToken:
		return wire.AppendNewToken(nil, []byte("token"))
	case wire.FrameMaxData:
		return wire.AppendMaxData(nil, 1<<40)
	case wire.FrameMaxChannel:
		return wire.AppendMaxChannel(nil, 0, 1<<40)
	case wire.FrameBlocked:
		return wire.AppendBlocked(nil, 5)
	case wire.FrameChannelBlocked:
		return wire.AppendChannelBlocked(nil, 0, 5)
	case wire.FrameNewConnectionID:
		return wire.AppendNewConnectionID(nil, &wire.NewConnectionID{Seq: 1, ID: id})
	case wire.FrameRetireConnectionID:
		return wire.AppendRetireConnectionID(nil, 0)
	case wire.FramePathChallenge:
		return wire.AppendPathChallenge(nil, 7)
	case wire.FramePathResponse:
		return wire.AppendPathResponse(nil, 7)
	case wire.FrameClose:
		return wire.AppendClose(nil, wire.InternalError, 0, []byte("why"))
	case wire.FrameApplicationClose:
		return wire.AppendApplicationClose(nil, 3, []byte("why"))
	case wire.FrameAckFrequency:
		return wire.AppendAckFrequency(nil, &wire.AckFrequency{Seq: 1000, Threshold: 1})
	case wire.FrameMessage, wire.FrameMessageKeyed:
		ch := uint64(typ-wire.FrameMessage) * 2 // channel 2 is the keyed one
		return wire.AppendMessage(nil, ch, 0, 1, typ == wire.FrameMessageKeyed, []byte("m"))
	case wire.FrameMessages, wire.FrameMessagesKeyed:
		keyed := typ == wire.FrameMessagesKeyed
		ch := uint64(typ-wire.FrameMessages) * 2
		b, off := wire.AppendMessagesHeader(nil, ch, 0, keyed)
		b = wire.AppendMessageItem(b, 1, keyed, []byte("m"))
		wire.PatchCount(b, off, 1)
		return b
	case wire.FrameFragment, wire.FrameFragmentKeyed:
		f := wire.Fragment{Total: 9, Data: []byte("abc"), Keyed: typ == wire.FrameFragmentKeyed}
		if f.Keyed {
			f.Channel = 2
		}
		return wire.AppendFragment(nil, &f)
	case wire.FrameSkip:
		return wire.AppendSkip(nil, 0, 0, 40)
	}
	return streamSample(typ, client)
}

// streamSample is the same for the frames of streams: the first of the peer.
func streamSample(typ byte, client bool) []byte {
	id := uint64(wire.MinStream)
	if client {
		id++
	}
	switch typ {
	case wire.FrameResetStream:
		return wire.AppendResetStream(nil, id, 5, 9)
	case wire.FrameStopSending:
		return wire.AppendStopSending(nil, id, 5)
	case wire.FrameMaxStreams:
		return wire.AppendMaxStreams(nil, 1000)
	}
	if typ >= wire.FrameStream && typ < wire.FrameMaxData {
		b := wire.AppendVarint([]byte{typ}, id)
		if typ&wire.StreamOff != 0 {
			b = append(b, 3)
		}
		if typ&wire.StreamLen != 0 {
			b = append(b, 2)
		}
		return append(b, "ab"...)
	}
	return []byte{typ, 0, 0, 0}
}

// clientOnly and serverOnly are frames that one role must not receive.
func refused(typ byte, client bool) bool {
	switch typ {
	case wire.FrameHandshakeDone, wire.FrameNewToken:
		return !client
	}
	return false
}

// early reports whether a frame comes too soon during the handshake: data and its limits before it is complete, and an ACK at a level at which
// nothing was sent.
func early(typ byte, level wire.Level, client bool) bool {
	switch {
	case typ == wire.FrameAck || typ == wire.FrameAckECN:
		return level == wire.LevelOneRTT || level == wire.LevelHandshake && client
	case typ == wire.FrameResetStream || typ == wire.FrameStopSending:
		return true
	}
	return typ >= wire.FrameStream && typ <= wire.FrameChannelBlocked || typ >= wire.FrameMessage && typ <= wire.FrameSkip
}

// TestEveryFrameInEveryPacketStateAndRole is the table that CVE-2025-59530 asks for: each frame either does its
// work or closes the connection with a code, whatever the state, and never panics.
func TestEveryFrameInEveryPacketStateAndRole(t *testing.T) {
	for typ := range byte(0x40) {
		for level := range wire.Level(wire.NumLevels) {
			for _, state := range []State{StateHandshaking, StateConnected, StateClosing, StateDraining, StateClosed} {
				for _, client := range []bool{true, false} {
					tableCase(t, typ, level, state, client)
				}
			}
		}
	}
}

// effects says what a legal frame of sample does to a connection that is up; frames that are not here do nothing that is seen at once.
var effects = map[byte]func(s *side) bool{
	wire.FramePing:               func(s *side) bool { return owesAck(s) },
	wire.FrameNewToken:           func(s *side) bool { return slices.Contains(s.events, EventTicket) },
	wire.FrameMaxData:            func(s *side) bool { return s.c.msgs.limit == 1<<40 },
	wire.FrameNewConnectionID:    func(s *side) bool { return len(s.c.peer.spare) == 1 && s.c.peer.spare[0].seq == 1 },
	wire.FrameRetireConnectionID: func(s *side) bool { return slices.Contains(s.events, EventRetireID) },
	wire.FramePathChallenge:      func(s *side) bool { return s.c.move != nil && s.c.move.respondDue && s.c.move.respond == 7 },
	wire.FrameAckFrequency:       func(s *side) bool { return s.c.app.recv.threshold == 2 },
	wire.FrameImmediateAck:       func(s *side) bool { return s.c.app.recv.now },
	wire.FrameHandshakeDone:      func(s *side) bool { return s.c.confirmed },
	wire.FrameMessage:            delivered,
	wire.FrameMessageKeyed:       delivered,
	wire.FrameMessages:           delivered,
	wire.FrameMessagesKeyed:      delivered,
	wire.FrameFragment:           func(s *side) bool { return s.c.msgs.partials == 1 },
	wire.FrameFragmentKeyed:      func(s *side) bool { return s.c.msgs.partials == 1 },
	wire.FrameResetStream:        func(s *side) bool { return slices.Contains(s.events, EventStreamReset) },
	wire.FrameStopSending:        func(s *side) bool { return slices.Contains(s.events, EventStreamStop) },
	wire.FrameMaxStreams:         func(s *side) bool { return s.c.peerStreams == 1000 },
}

func delivered(s *side) bool { return len(s.messages) == 1 && s.messages[0] == "m" }

func owesAck(s *side) bool {
	r := &s.c.app.recv
	return r.now || r.unacked > 0 || r.deadline != mono.Never
}

// checkEffect checks what a legal frame did to a connection that is up.
func checkEffect(t *testing.T, name string, typ byte, s *side) {
	if wire.IsAckEliciting(typ) && !owesAck(s) {
		t.Errorf("%s: no ACK is owed", name)
	}
	if check := effects[typ]; check != nil && !check(s) {
		t.Errorf("%s: it had no effect; events %v, messages %q", name, s.events, s.messages)
	}
	if typ >= wire.FrameStream && typ < wire.FrameMaxData {
		opened, data := slices.Contains(s.events, EventStreamOpen), slices.Contains(s.events, EventStreamData)
		if !opened || data != (typ&wire.StreamOff == 0) { // what begins behind a gap waits
			t.Errorf("%s: stream opened %v, data delivered %v", name, opened, data)
		}
	}
}

// tablePair returns a pair one side of which is in a state, and that side.
func tablePair(t *testing.T, seed uint64, state State, client bool) (p *pair, s *side) {
	p = newPair(t, seed, nil)
	s = p.server
	if client {
		s = p.client
	}
	switch state {
	case StateHandshaking:
		p.client.flush() // both have sent something, so that packet 0 may be acknowledged
		p.run(6 * mono.Millisecond)
	case StateConnected:
		p.connect()
		p.run(mono.Second)
		s.peer.c.pingDue = true
		p.run(mono.Second)
	default:
		p.connect()
		s.c.Close(p.now, true, 1, "")
		s.drain()
		if state > StateClosing {
			s.c.state = state
		}
	}
	return p, s
}

func tableCase(t *testing.T, typ byte, level wire.Level, state State, client bool) {
	p, s := tablePair(t, uint64(typ)+1, state, client)
	closed := s.closed
	s.events, s.messages = nil, nil
	path := wire.Path{Remote: s.peer.addr, Local: s.addr}
	sp := s.c.space(level)
	s.c.HandlePacket(p.now, &wire.Packet{Payload: sample(typ, client), Number: 900, Level: level, Path: &path, Size: 1200})
	s.drain()
	after := s.closed
	name := func() string {
		return wire.FrameInfo(typ).Name + " " + level.String() + " in state " + itoa(int(state))
	}
	if state >= StateClosing || sp == nil {
		if after != closed {
			t.Errorf("%s: a packet was processed that should have been ignored", name())
		}
		return
	}
	want := wire.ErrorCode(0)
	ok := false
	switch {
	case !wire.IsKnownFrame(typ):
		want = wire.FrameEncodingError
	case wire.AllowedFrames(level)>>typ&1 == 0:
		want = wire.ProtocolViolation
	case typ == wire.FrameClose || typ == wire.FrameApplicationClose:
		if after == nil || !after.Remote {
			t.Errorf("%s: the connection goes on", name())
		}
		return
	case refused(typ, client):
		want = wire.ProtocolViolation
	case state == StateHandshaking:
		if early(typ, level, client) {
			want = wire.ProtocolViolation
			break
		}
		ok = true
		if s.c.complete || s.c.confirmed || len(s.messages) > 0 {
			t.Errorf("%s: it ended the handshake, or was given to the application: %q", name(), s.messages)
		}
	default:
		ok = true
	}
	if ok && after != nil && after.Code != CodeHandshake {
		t.Errorf("%s: closed with %#x %q", name(), after.Code, s.reason)
	}
	if ok && state == StateConnected && level == wire.LevelOneRTT {
		checkEffect(t, name(), typ, s)
	}
	if !ok && (after == nil || after.Code != uint64(want) || after.Remote) {
		t.Errorf("%s: want close with %v, got %+v", name(), want, after)
	}
}
