package proto

import (
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
		return wire.AppendAckFrequency(nil, &wire.AckFrequency{Threshold: 1})
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

func tableCase(t *testing.T, typ byte, level wire.Level, state State, client bool) {
	p := newPair(t, uint64(typ)+1, nil)
	s := p.server
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
	closed := s.closed
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
		return // what is legal depends on the flights seen; the fuzzer covers it
	default:
		ok = true
	}
	if ok && after != nil && after.Code != CodeHandshake {
		t.Errorf("%s: closed with %#x %q", name(), after.Code, s.reason)
	}
	if !ok && (after == nil || after.Code != uint64(want) || after.Remote) {
		t.Errorf("%s: want close with %v, got %+v", name(), want, after)
	}
}
