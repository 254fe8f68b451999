package shard

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

func (w *world) send(s *Shard, r Ref, text string) {
	w.t.Helper()
	if got := s.Send(r, &Outbound{Payload: []byte(text), Reliable: true}); got != Sent {
		w.t.Fatalf("send: %d", got)
	}
}

func TestHandshakeAndEcho(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.sapp.message = func(s *Shard, r Ref, ev *proto.Event) bool {
		s.Send(r, &Outbound{Payload: ev.Payload, Channel: ev.Channel, Reliable: true})
		return true
	}
	var got []string
	w.capp.message = func(_ *Shard, _ Ref, ev *proto.Event) bool {
		got = append(got, string(ev.Payload))
		return true
	}
	r := w.connect()
	w.send(w.client, r, "one")
	w.send(w.client, r, "two")
	w.run(mono.Second)
	if len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Fatalf("got %q", got)
	}
	if len(w.sapp.opened) != 1 || len(w.capp.opened) != 1 || w.started != 1 || w.ended != 1 {
		t.Errorf("opened %d and %d, sessions begun %d, ended %d", len(w.sapp.opened), len(w.capp.opened), w.started, w.ended)
	}
	w.over()
	if len(w.sapp.closed) != 1 || len(w.capp.closed) != 1 || w.sapp.freed != 1 || w.capp.freed != 1 {
		t.Errorf("closed %d and %d, freed %d and %d", len(w.sapp.closed), len(w.capp.closed), w.sapp.freed, w.capp.freed)
	}
}

func TestSessionStartsOnlyWithAWholeClientHello(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.hello = 1800 // two datagrams
	n := 0
	w.drop = func(from, to udp.Addr, b []byte) bool {
		if to == serverAddr {
			n++
			return n == 2 // the second half of the hello
		}
		return false
	}
	d := w.dial(w.client)
	w.run(mono.Millisecond)
	if w.started != 0 || w.server.halfOpen.used != 1 {
		t.Errorf("%d sessions begun with half a hello, %d half open", w.started, w.server.halfOpen.used)
	}
	w.run(mono.Second)
	if d.done != 1 || d.end != nil || w.started != 1 || w.server.halfOpen.used != 0 {
		t.Errorf("done %d, %+v, %d sessions, %d half open", d.done, d.end, w.started, w.server.halfOpen.used)
	}
	w.over()
}

func TestHalfOpenEntriesEndAfterThreeSeconds(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.drop = func(from, to udp.Addr, b []byte) bool { return from == serverAddr } // the client hears nothing
	for range 20 {
		w.dial(w.client)
	}
	w.run(mono.Millisecond)
	if got := w.server.halfOpen.used; got != sourceLimit {
		t.Errorf("%d entries for one source without a cookie, want %d", got, sourceLimit)
	}
	w.drop = func(from, to udp.Addr, b []byte) bool { return true }
	w.run(3100 * mono.Millisecond)
	if got := w.server.halfOpen.used; got != 0 || w.server.live != 0 {
		t.Errorf("%d entries and %d connections are left after three seconds", got, w.server.live)
	}
	if w.server.counters.HalfOpenExpired != sourceLimit || w.server.counters.RetriesSent == 0 {
		t.Errorf("counted %d expired, %d retries", w.server.counters.HalfOpenExpired, w.server.counters.RetriesSent)
	}
	if w.started != w.ended {
		t.Errorf("%d sessions begun, %d ended", w.started, w.ended)
	}
	w.over()
}

func TestRetryProvesTheAddress(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.AlwaysRetry = true })
	w.connect()
	c := &w.server.counters
	if c.RetriesSent != 1 || w.client.counters.RetriesFollowed != 1 || c.TokensRejected != 0 {
		t.Errorf("sent %d retries, followed %d, rejected %d tokens", c.RetriesSent, w.client.counters.RetriesFollowed, c.TokensRejected)
	}
	w.over()
}

func TestManyHandshakesAtOnceAllSucceed(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.HalfOpen = 32 })
	var dials []*dialResult
	for range 200 {
		dials = append(dials, w.dial(w.client))
	}
	w.run(9 * mono.Second)
	for i, d := range dials {
		if d.done != 1 || d.end != nil {
			t.Fatalf("dial %d: done %d, %+v\n%+v", i, d.done, d.end, w.server.counters)
		}
	}
	if len(w.sapp.opened) != 200 {
		t.Errorf("%d opened", len(w.sapp.opened))
	}
	w.over()
}

func TestRefusedOpenClosesWithTheCode(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.sapp.open = func(*Shard, Ref) bool { return false }
	d := w.dial(w.client)
	w.run(mono.Second)
	if d.done != 1 || len(w.capp.closed) != 1 {
		t.Fatalf("done %d, closed %d", d.done, len(w.capp.closed))
	}
	if c := w.capp.closed[0]; c.Code != 9 || c.Reason != "refused" || !c.App || !c.Remote {
		t.Errorf("the client saw %+v", c)
	}
	w.over()
}

func TestFailedSessionEndsBothSides(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) {
		c.NewSession = func(params []byte) Session { return &fakeSession{params: params, fail: true} }
	})
	d := w.dial(w.client)
	w.run(mono.Second)
	if d.done != 1 || d.end == nil || d.end.Code != uint64(wire.CryptoAlert(40)) || !d.end.Remote {
		t.Fatalf("done %d, %+v", d.done, d.end)
	}
	w.over()
}

func TestFullServerSaysBusy(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.MaxSlots = 3 })
	for range 3 {
		w.connect()
	}
	d := w.dial(w.client)
	w.run(mono.Second)
	if d.done != 1 || d.end == nil || d.end.Code != uint64(wire.ServerBusy) {
		t.Fatalf("done %d, %+v", d.done, d.end)
	}
	w.over()
}

func TestCanceledDialIsForgotten(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.drop = func(from, to udp.Addr, b []byte) bool { return true }
	result := 0
	d := &Dial{
		App: w.capp, Remote: wire.Addr(serverAddr),
		NewSession: func(params []byte) Session { return &fakeSession{client: true, params: params, ended: &w.ended} },
		Done:       func(_ Ref, c *Closed) { result++ },
	}
	w.client.Dial(d)
	w.run(mono.Millisecond)
	w.client.Cancel(d)
	w.client.Cancel(d)
	w.run(mono.Millisecond)
	if result != 1 || w.client.live != 0 || w.ended != 1 || w.capp.freed != 1 {
		t.Errorf("done %d times, %d alive, %d sessions ended, freed %d", result, w.client.live, w.ended, w.capp.freed)
	}
}

// TestClientsOfOneSocketAreToldApart, and hear nobody but their server: not even what is genuine, from elsewhere.
func TestClientsOfOneSocketAreToldApart(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.sapp.message = func(s *Shard, r Ref, ev *proto.Event) bool {
		w.send(s, r, string(ev.Payload))
		return true
	}
	var heard []string
	w.capp.message = func(_ *Shard, r Ref, ev *proto.Event) bool {
		heard = append(heard, fmt.Sprint(r.Slot, " ", string(ev.Payload)))
		return true
	}
	w.client = w.addClientOf("10.0.0.3:0", true)
	refs := []Ref{w.connect(), w.connect(), w.connect()}
	w.run(mono.Second)
	for _, r := range refs {
		w.send(w.client, r, fmt.Sprint("of ", r.Slot))
	}
	w.run(mono.Second)
	if want := []string{"0 of 0", "1 of 1", "2 of 2"}; !slices.Equal(heard, want) {
		t.Fatalf("heard %v, want %v", heard, want)
	}
	var stolen []byte
	w.drop = func(from, _ udp.Addr, b []byte) bool {
		if from == serverAddr {
			stolen = append(stolen[:0], b...)
		}
		return from == serverAddr
	}
	heard = nil
	w.send(w.client, refs[1], "again")
	for len(stolen) < 30 {
		w.run(mono.Millisecond)
	}
	strays := w.client.counters.Strays
	w.client.datagram(w.now, &udp.Datagram{Data: slices.Clone(stolen), Remote: udp.AddrFrom(netip.MustParseAddrPort("10.0.0.66:4242"))})
	if len(heard) != 0 || w.client.counters.Strays != strays+1 {
		t.Errorf("from elsewhere the client took %v, %d strays", heard, w.client.counters.Strays-strays)
	}
	w.client.datagram(w.now, &udp.Datagram{Data: slices.Clone(stolen), Remote: serverAddr})
	if want := []string{"1 again"}; !slices.Equal(heard, want) {
		t.Errorf("from its server the client took %v, want %v", heard, want)
	}
	w.drop = nil
	w.over()
}

func TestUnknownConnectionIsReset(t *testing.T) {
	w := newWorld(t, 1, nil)
	r := w.connect()
	w.run(mono.Second)
	// The server forgets the connection, as a restart makes it.
	w.server.Do(func(mono.Time) { w.server.free(0, w.server.at(0)) })
	w.run(mono.Millisecond)
	w.send(w.client, r, "?") // the answer is shorter than the shortest question
	w.run(mono.Second)
	if len(w.capp.closed) != 1 || w.capp.closed[0].Code != proto.CodeStatelessReset || w.server.counters.ResetsSent != 1 {
		t.Fatalf("closed %+v, %d resets", w.capp.closed, w.server.counters.ResetsSent)
	}
	w.over()
}

func TestResetsHaveABudget(t *testing.T) {
	w := newWorld(t, 1, nil)
	id := w.server.newID(5, 1)
	s, err := w.net.Listen(udp.MemConfig{Addr: udp.AddrFrom(serverAddr.AddrPort()), Client: true})
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte{wire.FixedBit}, id.Bytes()...)
	b = append(b, make([]byte, 100)...)
	d := udp.Datagram{Data: b, Remote: serverAddr}
	for range 5000 {
		w.server.datagram(w.now, &d)
	}
	if got := w.server.counters.ResetsSent; got != 100 {
		t.Errorf("%d resets at once, the bucket holds 100", got)
	}
	w.server.counters.ResetsSent = 0
	for range 1000 {
		w.now = w.now.Add(mono.Millisecond)
		for range 5 {
			w.server.datagram(w.now, &d)
		}
		w.server.flush()
	}
	if got := w.server.counters.ResetsSent; got > 1000 || got < 990 {
		t.Errorf("%d resets in a second, the limit is 1,000", got)
	}
	_ = s.Close()
}

func TestMisroutedPacketsReachTheirShard(t *testing.T) {
	w := newWorld(t, 2, nil)
	w.sapp.message = func(s *Shard, r Ref, ev *proto.Event) bool { return true }
	var refs []Ref
	for range 8 {
		refs = append(refs, w.connect())
	}
	// From now on the network steers everything to the wrong shard.
	a, b := w.shards[0], w.shards[1]
	a.socket, b.socket = b.socket, a.socket
	w.sockets[0], w.sockets[1] = w.sockets[1], w.sockets[0]
	for _, r := range refs {
		w.send(w.client, r, "hello")
	}
	w.run(mono.Second)
	if w.sapp.messages != 8 {
		t.Errorf("%d of 8 messages arrived", w.sapp.messages)
	}
	if n := a.counters.Forwarded + b.counters.Forwarded; n < 8 {
		t.Errorf("%d datagrams were forwarded", n)
	}
	if n := a.counters.ResetsSent + b.counters.ResetsSent; n != 0 {
		t.Errorf("%d resets", n)
	}
	w.over()
}

func TestVersionNegotiation(t *testing.T) {
	w := newWorld(t, 1, nil)
	b := make([]byte, 1200)
	b[0] = wire.LongBit | wire.FixedBit
	b[1], b[2], b[3], b[4] = 0xfa, 0xce, 0xb0, 0x0c
	b[5] = 8
	b[14] = 4
	d := udp.Datagram{Data: b, Remote: serverAddr}
	w.server.datagram(w.now, &d)
	if w.server.counters.VersionsNegotiated != 1 || len(w.server.out.Outs) != 1 {
		t.Fatal("no answer")
	}
	_, _, versions, ok := wire.ParseVersionNegotiation(w.server.out.Outs[0].Data)
	if !ok || !wire.HasVersion(versions, wire.Version) {
		t.Error("the answer does not name our version")
	}
	d.Data = b[:1199]
	w.server.datagram(w.now, &d)
	if w.server.counters.VersionsNegotiated != 1 {
		t.Error("a small datagram was answered")
	}
}

func TestRefusedSendBecomesWritable(t *testing.T) {
	w := newWorld(t, 1, nil)
	writable := 0
	w.capp.writable = func(*Shard, Ref) { writable++ }
	r := w.connect()
	sent := 0
	m := Outbound{Payload: make([]byte, 1000), Reliable: true}
	for w.client.Send(r, &m) == Sent {
		sent++
	}
	if limit := (1 << 20) / 1032; sent < limit-1 || sent > limit {
		t.Errorf("%d messages were taken, the share of the mailbox is %d", sent, limit)
	}
	if w.client.Send(r, &m) != WouldBlock {
		t.Error("one more was taken")
	}
	w.run(mono.Second)
	if writable != 1 || w.sapp.messages != sent {
		t.Errorf("Writable was called %d times; %d of %d arrived", writable, w.sapp.messages, sent)
	}
	w.over()
}

func TestFullMailboxBecomesWritable(t *testing.T) {
	w := newWorld(t, 1, nil)
	var refs []Ref
	for range 10 {
		refs = append(refs, w.connect())
	}
	writable := map[Ref]int{}
	w.capp.writable = func(_ *Shard, r Ref) { writable[r]++ }
	m := Outbound{Payload: make([]byte, 1000), Reliable: true}
	for _, r := range refs[:9] { // their shares together are more than the mailbox
		for w.client.Send(r, &m) == Sent {
		}
	}
	if got := w.client.Send(refs[9], &m); got != WouldBlock {
		t.Fatalf("a full mailbox said %d", got)
	}
	w.run(2 * mono.Second)
	if writable[refs[9]] != 1 {
		t.Errorf("Writable was called %d times on the connection that had nothing in the mailbox", writable[refs[9]])
	}
	if got := w.client.Send(refs[9], &m); got != Sent {
		t.Errorf("afterwards a send says %d", got)
	}
	w.over()
}

func TestStaleRefsAreHarmless(t *testing.T) {
	w := newWorld(t, 1, nil)
	r := w.connect()
	w.client.Close(r, false, 3, "bye")
	w.run(10 * mono.Second)
	if got := w.client.Send(r, &Outbound{Payload: []byte("x"), Reliable: true}); got != Gone {
		t.Errorf("a send on a closed connection says %d", got)
	}
	end, ok := w.client.Slot(r).End(r.Gen)
	if !ok || end.Code != 3 || !end.App || end.Remote {
		t.Errorf("remembered %+v, %v", end, ok)
	}
	w.client.Close(r, true, 0, "")
	w.client.Ping(r)
	w.client.Consumed(r, 0, 1, 1)
	w.client.Slot(r).SetTag(r.Gen, 5)
	for range 40 { // until the slot is used again
		w.connect()
	}
	if w.client.Slot(r).Tag(r.Gen) != 0 || w.client.Slot(r).State(r.Gen) != slotFree {
		t.Error("a stale reference reads another connection's slot")
	}
	w.over()
}

func TestBlockedSocketKeepsTheRest(t *testing.T) {
	w := newWorld(t, 1, nil)
	r := w.connect()
	blocked := 5
	inner := w.client.socket
	w.client.socket = &stubborn{Socket: inner, blocked: &blocked}
	for range 100 {
		w.send(w.client, r, string(make([]byte, 1000)))
	}
	w.run(mono.Second)
	if w.sapp.messages != 100 || blocked != 0 {
		t.Errorf("%d messages arrived; the socket would block %d times more", w.sapp.messages, blocked)
	}
	if w.client.counters.SocketFull != 5 {
		t.Errorf("counted %d full sockets", w.client.counters.SocketFull)
	}
	w.over()
}

// stubborn is a socket that is full a few times.
type stubborn struct {
	Socket
	blocked *int
}

func (s *stubborn) Write(b *udp.WriteBatch) (int, bool) {
	if *s.blocked > 0 {
		*s.blocked--
		return 0, true
	}
	return s.Socket.Write(b)
}

func TestTicksKeepTheirPeriod(t *testing.T) {
	ticks := 0
	w := newWorld(t, 1, func(c *Config) {
		c.TickEvery = 10 * mono.Millisecond
		c.Tick = func(*Shard, mono.Time) { ticks++ }
	})
	w.run(mono.Second)
	if ticks < 99 || ticks > 101 {
		t.Errorf("%d ticks of 10 ms in a second", ticks)
	}
}

func TestDoRunsOnceAndNotAfterStop(t *testing.T) {
	w := newWorld(t, 1, nil)
	n := 0
	w.server.Do(func(mono.Time) { n++ })
	w.run(mono.Millisecond)
	w.server.Stop()
	if w.server.Do(func(mono.Time) { n++ }) {
		t.Error("a stopped shard takes functions")
	}
	w.server.Release()
	if n != 1 {
		t.Errorf("ran %d times", n)
	}
}

func TestPanicOfTheApplicationIsNotHeldUp(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Fault = func(*Shard, any, []byte) { t.Error("taken for a fault of the shard") } })
	w.sapp.message = func(*Shard, Ref, *proto.Event) bool { panic("boom") }
	r := w.connect()
	w.send(w.client, r, "x")
	defer func() {
		if v := recover(); v != "boom" {
			t.Errorf("recovered %v", v)
		}
	}()
	w.run(mono.Second)
	t.Error("no panic")
}
