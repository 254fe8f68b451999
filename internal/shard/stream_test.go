package shard

import (
	"bytes"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// streamEnd is what one end has been told about its streams.
type streamEnd struct {
	hold     bool // the application takes nothing by itself
	opened   []uint64
	data     map[uint64][]byte
	ended    []uint64
	resets   []proto.Event
	stops    []proto.Event
	limits   []proto.Event
	writable int // bytes, 32 a write more
	retries  int // events of no bytes: a refused write may be tried again
}

func (e *streamEnd) take(_ *Shard, _ Ref, ev *proto.Event) (done bool) {
	switch ev.Kind {
	case proto.EventStreamOpen:
		e.opened = append(e.opened, ev.ID)
	case proto.EventStreamData:
		if e.data == nil {
			e.data = map[uint64][]byte{}
		}
		e.data[ev.ID] = append(e.data[ev.ID], ev.Payload...)
	case proto.EventStreamEnd:
		e.ended = append(e.ended, ev.ID)
	case proto.EventStreamReset:
		e.resets = append(e.resets, *ev)
	case proto.EventStreamStop:
		e.stops = append(e.stops, *ev)
	case proto.EventStreamLimit:
		e.limits = append(e.limits, *ev)
	case proto.EventStreamWritable:
		if ev.N == 0 {
			e.retries++
		}
		e.writable += int(ev.N)
	}
	return !e.hold
}

// streamWorld is a world of one connection whose ends note what they hear of streams.
func streamWorld(t *testing.T) (w *world, r, server Ref, client, peer *streamEnd) {
	w = newWorld(t, 1, nil)
	client, peer = new(streamEnd), new(streamEnd)
	w.capp.stream, w.sapp.stream = client.take, peer.take
	r = w.connect()
	if len(w.sapp.opened) != 1 {
		t.Fatalf("%d connections at the server", len(w.sapp.opened))
	}
	return w, r, w.sapp.opened[0], client, peer
}

const firstStream = wire.MinStream

// write gives a stream's bytes to a shard, piece by piece, and lets time pass where it has no room for one.
func (w *world) write(s *Shard, r Ref, id uint64, b []byte) (pieces int) {
	w.t.Helper()
	for len(b) > 0 {
		n := min(len(b), MaxStreamWrite)
		switch s.StreamWrite(r, id, b[:n]) {
		case Sent:
			b = b[n:]
			pieces++
		case WouldBlock:
			w.run(mono.Millisecond)
		default:
			w.t.Fatal("the connection is gone")
		}
	}
	return pieces
}

// streams returns how many streams an end has.
func (w *world) streams(s *Shard, r Ref) int {
	w.t.Helper()
	st, ok, err := s.ConnStats(w.t.Context(), r)
	if !ok || err != nil {
		w.t.Fatalf("no figures: %v, %v", ok, err)
	}
	return st.Streams
}

func TestStreamsCarryBytesBothWaysUnderLoss(t *testing.T) {
	w, r, sr, client, peer := streamWorld(t)
	count := 0
	w.drop = func(udp.Addr, udp.Addr, []byte) bool { count++; return count%11 == 0 }
	want := make([]byte, 600_000)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	pieces := w.write(w.client, r, firstStream, want)
	w.client.Stream(r, proto.StreamCommand{ID: firstStream, Ops: proto.StreamFinish, Size: uint64(len(want))})
	w.run(5 * mono.Second)
	if !slices.Equal(peer.opened, []uint64{firstStream}) || !bytes.Equal(peer.data[firstStream], want) || len(peer.ended) != 1 {
		t.Fatalf("opened %v, %d bytes of %d, ended %v", peer.opened, len(peer.data[firstStream]), len(want), peer.ended)
	}
	if got := len(want) + pieces*wire.CreditOverhead; client.writable != got {
		t.Errorf("%d bytes of the send buffer came back, want %d", client.writable, got)
	}
	w.write(w.server, sr, firstStream, want[:1000])
	w.server.Stream(sr, proto.StreamCommand{ID: firstStream, Ops: proto.StreamFinish | proto.StreamRelease, Size: 1000})
	w.run(mono.Second)
	if !bytes.Equal(client.data[firstStream], want[:1000]) || len(client.ended) != 1 {
		t.Errorf("%d bytes back, ended %v", len(client.data[firstStream]), client.ended)
	}
	if a, b := w.streams(w.client, r), w.streams(w.server, sr); a != 1 || b != 0 {
		t.Errorf("%d streams at the client, which has not let go, and %d at the server", a, b)
	}
	w.client.Stream(r, proto.StreamCommand{ID: firstStream, Ops: proto.StreamRelease})
	w.run(mono.Second)
	if n := w.streams(w.client, r); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	c, s := w.client.Stats().Proto, w.server.Stats().Proto
	if c.StreamsOpened != 1 || s.StreamsAccepted != 1 || c.StreamBytesSent != 600_000 || s.StreamBytesReceived != 600_000 ||
		s.StreamBytesSent != 1000 || c.StreamBytesReceived != 1000 || c.StreamBytesRetransmitted == 0 || c.StreamsReset+s.StreamsReset != 0 {
		t.Errorf("client %+v\nserver %+v", c, s)
	}
	w.drop = nil
	w.over()
}

// Without a step in between, the mailbox takes no more than the connection's share of it.
func TestARefusedStreamWriteIsToldWhenToTryAgain(t *testing.T) {
	w, r, _, client, peer := streamWorld(t)
	piece := make([]byte, MaxStreamWrite)
	sent := 0
	for w.client.StreamWrite(r, firstStream, piece) == Sent {
		if sent++; sent > 1000 {
			t.Fatal("the mailbox has no bound")
		}
	}
	if client.retries != 0 {
		t.Fatal("told before the shard has run")
	}
	w.run(mono.Second)
	if client.retries != 1 {
		t.Errorf("told %d times that it may try again", client.retries)
	}
	if w.client.StreamWrite(r, firstStream, piece) != Sent {
		t.Error("there is no room although all was taken")
	}
	w.run(5 * mono.Second)
	if got := len(peer.data[firstStream]); got != (sent+1)*len(piece) {
		t.Errorf("%d bytes arrived of %d", got, (sent+1)*len(piece))
	}
	w.over()
}

func TestAStreamThatNobodyReadsStallsAndGoesOn(t *testing.T) {
	w, r, sr, _, peer := streamWorld(t)
	peer.hold = true
	limit := int(w.sproto.Params.InitialMaxChannel)
	want := make([]byte, 2*limit+1000)
	w.write(w.client, r, firstStream, want)
	w.run(2 * mono.Second)
	if got := len(peer.data[firstStream]); got != limit {
		t.Errorf("%d bytes came through a window of %d", got, limit)
	}
	w.write(w.client, r, firstStream+4, []byte("another stream is not held up"))
	w.run(mono.Second)
	if len(peer.data[firstStream+4]) == 0 {
		t.Error("a stalled stream holds up another one")
	}
	for taken := 0; taken < len(want); {
		got := len(peer.data[firstStream])
		if got == taken {
			t.Fatalf("it stands still at %d bytes", got)
		}
		w.server.Stream(sr, proto.StreamCommand{ID: firstStream, Ops: proto.StreamRead, Read: got - taken})
		taken = got
		w.run(mono.Second)
	}
	w.over()
}

func TestResetAndStopReachTheOtherEnd(t *testing.T) {
	w, r, sr, client, peer := streamWorld(t)
	w.write(w.client, r, firstStream, []byte("hello"))
	w.run(mono.Second)
	w.client.Stream(r, proto.StreamCommand{ID: firstStream, Ops: proto.StreamReset | proto.StreamStop | proto.StreamRelease, Code: 7})
	w.run(mono.Second)
	if len(peer.resets) != 1 || peer.resets[0].Code != 7 || len(peer.stops) != 1 || peer.stops[0].Code != 7 {
		t.Errorf("resets %+v, stops %+v", peer.resets, peer.stops)
	}
	w.server.Stream(sr, proto.StreamCommand{ID: firstStream, Ops: proto.StreamRelease})
	w.run(mono.Second)
	if a, b := w.streams(w.client, r), w.streams(w.server, sr); a != 0 || b != 0 {
		t.Errorf("%d and %d streams are left", a, b)
	}
	if c, s := w.client.Stats().Proto.StreamsReset, w.server.Stats().Proto.StreamsReset; c != 2 || s != 2 {
		t.Errorf("%d and %d directions counted as reset, want both at both ends", c, s)
	}
	if len(client.ended) != 0 {
		t.Error("the end that gave up was told of an end in good order")
	}
	w.over()
}

func TestStreamLimitIsToldWhenAskedFor(t *testing.T) {
	w, r, sr, client, peer := streamWorld(t)
	w.client.StreamLimit(r)
	w.server.StreamLimit(sr)
	w.run(mono.Millisecond)
	limit := w.sproto.Params.InitialMaxStreams
	if len(client.limits) != 1 || client.limits[0].ID != limit || client.limits[0].Key != firstStream {
		t.Errorf("the client was told %+v", client.limits)
	}
	if len(peer.limits) != 1 || peer.limits[0].Key != firstStream+1 {
		t.Errorf("the server was told %+v", peer.limits)
	}
	w.over()
}

// What is in the mailbox when the connection ends is given back, and what comes later is refused or ignored.
func TestStreamsOfAConnectionThatIsGone(t *testing.T) {
	w, r, _, _, _ := streamWorld(t)
	if w.client.StreamWrite(r, firstStream, make([]byte, 5000)) != Sent {
		t.Fatal("no room")
	}
	w.client.Close(r, false, 0, "")
	w.client.Stream(r, proto.StreamCommand{ID: firstStream, Ops: proto.StreamFinish, Size: 5000})
	w.run(10 * mono.Second)
	if got := w.client.StreamWrite(r, firstStream, []byte("late")); got != Gone {
		t.Errorf("a write to a connection that is gone: %v", got)
	}
	w.client.Stream(r, proto.StreamCommand{ID: firstStream, Ops: proto.StreamRelease})
	w.client.StreamLimit(r)
	w.run(mono.Second)
	w.over()
}
