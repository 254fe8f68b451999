package shard

import (
	"crypto/cipher"
	"iter"
	"net/netip"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mono/entropy"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// A script is one server shard and one client shard on a network in memory, in virtual time. Both run Run, the loop that they have in the real
// world, each as a coroutine that gives way where it would sleep. So what happens is the same on every machine, and can be counted exactly.
// Unlike a world it has the defaults of an endpoint.
type script struct {
	tb             testing.TB
	net            *udp.MemNet
	now            mono.Time
	server, client *end
	turn           *end // whose shard runs
	lossy          bool
	dice           entropy.Source
	units          uint64 // of work done, counted by the applications
}

// An end is a shard with what is counted beside it.
type end struct {
	w      *script
	shard  *Shard
	socket *udp.MemEndpoint
	app    testApp
	resume func() (mono.Duration, bool)
	stop   func()
	due    mono.Time // the end of its sleep
	sleep  func(mono.Duration) bool

	sleeps, emptyReads, clocks uint64
	seals, opens, masks        uint64
	sealedBytes, openedBytes   uint64
	connections                []Ref
	dialed, dialsFailed        int
}

// scriptSocket counts what the memory network does not, and gives way where a thread would sleep.
type scriptSocket struct {
	*udp.MemEndpoint
	e *end
}

func (s scriptSocket) Read(b *udp.ReadBatch) int {
	n := s.MemEndpoint.Read(b)
	if n == 0 {
		s.e.emptyReads++
	}
	return n
}

func (s scriptSocket) Wait(now mono.Time, d mono.Duration) {
	s.e.sleeps++
	s.e.sleep(d)
	s.MemEndpoint.Wait(now, 0)
}

// newScript makes both shards. An end of it is checked when the test is over.
func newScript(tb testing.TB) *script {
	w := &script{tb: tb, now: mono.Time(mono.Second), dice: entropy.New([32]byte{7})}
	w.net = udp.NewMemNet(func(now mono.Time, _, _ udp.Addr, ecn uint8, _ []byte, a []udp.Arrival) []udp.Arrival {
		if w.lossy && w.dice.Uint64n(100) == 0 {
			return a
		}
		return append(a, udp.Arrival{At: now.Add(testDelay), ECN: ecn})
	})
	if protect.Observer != nil {
		tb.Fatal("two scripts at once: what is counted would be of both")
	}
	protect.Observer = w
	tb.Cleanup(func() { protect.Observer = nil }) // over does it earlier
	server := w.config()
	server.IDs = IDs{Key: 77, Server: 5, Shards: 1}
	server.NewSession = func(params []byte) Session { return &fakeSession{params: params} }
	w.server = w.add(server, udp.MemConfig{Addr: serverAddr, GRO: true, Shards: 1})
	w.client = w.add(w.config(), udp.MemConfig{Addr: udp.AddrFrom(netip.MustParseAddrPort("10.0.0.2:0")), Client: true, GRO: true})
	return w
}

// config is what an endpoint with an empty Config resolves to.
func (w *script) config() Config {
	c, p := serverConfig(), testProto()
	p.ECN, p.KeepAlive, p.DeadPeer, p.Linger = true, 20*mono.Second, 30*mono.Second, 5*mono.Second
	c.Proto, c.Slow = &p, func(SlowCall) { w.tb.Error("a slow handler in virtual time") }
	return c
}

func (w *script) add(c Config, at udp.MemConfig) *end {
	socket, err := w.net.Listen(at)
	if err != nil {
		w.tb.Fatal(err)
	}
	e := &end{w: w, socket: socket, due: w.now}
	e.app.open = func(_ *Shard, r Ref) bool {
		e.connections = append(e.connections, r)
		return true
	}
	c.Socket, c.App = scriptSocket{socket, e}, &e.app
	c.Clock = func() mono.Time {
		e.clocks++
		return w.now
	}
	e.shard = New(w.now, c)
	e.shard.SetPeers([]*Shard{e.shard})
	e.resume, e.stop = iter.Pull(func(yield func(mono.Duration) bool) {
		e.sleep = yield
		e.shard.Run()
	})
	return e
}

// ready reports whether the end would not sleep any longer.
func (e *end) ready() bool { return e.socket.Pending() || e.socket.Woken() || e.due <= e.w.now }

// run lets an end do what it has to do, until it sleeps.
func (w *script) run(e *end) {
	w.turn = e
	d, running := e.resume()
	w.turn = nil
	if !running {
		w.tb.Fatal("a shard has ended")
	}
	e.due = mono.Never
	if d >= 0 {
		e.due = w.now.Add(d)
	}
}

// step lets both ends do what is due at this instant, and goes on to the next one at which something is, but not beyond the limit: there it
// returns false.
func (w *script) step(limit mono.Time) bool {
	for range 1000 {
		if w.server.ready() {
			w.run(w.server)
		}
		if w.client.ready() {
			w.run(w.client)
		}
		w.net.Advance(w.now)
		if w.server.ready() || w.client.ready() {
			continue
		}
		at := min(w.net.Next(), w.server.due, w.client.due)
		if at >= limit {
			w.now = max(w.now, limit)
			w.net.Advance(w.now)
			return false
		}
		w.now = max(w.now, at)
		w.net.Advance(w.now)
		return true
	}
	w.tb.Fatal("the shards do not come to rest")
	return false
}

// pass lets so much time pass.
func (w *script) pass(d mono.Duration) {
	for until := w.now.Add(d); w.step(until); {
	}
}

// until lets time pass until so many units of work have been done.
func (w *script) until(units uint64) {
	w.tb.Helper()
	for limit := w.now.Add(mono.Minute); w.units < units; {
		if !w.step(limit) {
			w.tb.Fatalf("%d units of work in a minute, not %d", w.units, units)
		}
	}
}

// connect adds so many connections, one after the other.
func (w *script) connect(n int) {
	w.tb.Helper()
	for want := w.client.dialed + n; w.client.dialed < want; {
		before := w.client.dialed
		w.client.shard.Dial(&Dial{
			App: &w.client.app, Remote: wire.Addr(serverAddr),
			NewSession: func(params []byte) Session { return &fakeSession{client: true, params: params, hello: 300} },
			Done: func(_ Ref, c *Closed) {
				if c != nil {
					w.client.dialsFailed++
				}
				w.client.dialed++
			},
		})
		for limit := w.now.Add(mono.Second); w.client.dialed == before && w.step(limit); {
		}
		if w.client.dialed == before || w.client.dialsFailed > 0 {
			w.tb.Fatal("a dial did not succeed")
		}
	}
}

// over closes everything, looks for what is left, and ends the coroutines.
func (w *script) over() {
	w.tb.Helper()
	w.lossy = false
	w.client.shard.CloseAll(0, "")
	w.pass(mono.Second)
	w.server.shard.CloseAll(0, "")
	w.pass(10 * mono.Second)
	for _, e := range []*end{w.server, w.client} {
		s := e.shard
		if pool, chunks := s.shared.Pool.InUse(), s.chunks.InUse(); s.live != 0 || pool != 0 || chunks != 0 {
			w.tb.Errorf("%d connections, %d blocks and %d chunks are left", s.live, pool, chunks)
		}
		s.Stop()
		e.stop()
	}
	protect.Observer = nil
}

// AEAD and Header have the calls of ciphers counted.
func (w *script) AEAD(a cipher.AEAD) cipher.AEAD     { return countedAEAD{a, w} }
func (w *script) Header(b cipher.Block) cipher.Block { return countedHeader{b, w} }

type countedAEAD struct {
	cipher.AEAD
	w *script
}

func (c countedAEAD) Seal(dst, nonce, plaintext, data []byte) []byte {
	c.w.turn.seals++
	c.w.turn.sealedBytes += uint64(len(plaintext))
	return c.AEAD.Seal(dst, nonce, plaintext, data)
}

func (c countedAEAD) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	c.w.turn.opens++
	c.w.turn.openedBytes += uint64(len(ciphertext))
	return c.AEAD.Open(dst, nonce, ciphertext, data)
}

type countedHeader struct {
	cipher.Block
	w *script
}

func (c countedHeader) Encrypt(dst, src []byte) {
	c.w.turn.masks++
	c.Block.Encrypt(dst, src)
}

// read returns all that was counted so far at one end, by the names that the golden file has.
func (e *end) read() counts {
	s := e.shard
	socket, c, p, m, t := e.socket.Stats(), &s.counters, &s.shared.Stats, s.mailbox.Stats(), s.wheel.Stats()
	return counts{
		"reads": socket.ReadCalls, "reads of nothing": e.emptyReads, "writes": socket.WriteCalls, "sleeps": e.sleeps, "wakes": socket.Wakes,
		"trains in": socket.ReadEntries, "datagrams in": socket.ReadSegments, "bytes in": socket.ReadBytes,
		"trains out": socket.WriteEntries, "datagrams out": socket.WriteSegments, "bytes out": socket.WriteBytes,
		"seals": e.seals, "bytes sealed": e.sealedBytes, "opens": e.opens, "bytes opened": e.openedBytes, "header masks": e.masks,
		"cycles": c.Cycles, "clock readings": e.clocks, "keys evicted": c.KeysEvicted, "rests": c.Rests,
		"commands": m.Items, "bytes copied by senders": m.Bytes, "buffers made": m.Buffers, "bytes copied": p.BytesCopied,
		"timers set": t.Set, "timers moved": t.Moved, "timers visited": t.Visited, "timers fired": t.Fired,
		"packets lost": p.PacketsLost, "packets lost in error": p.PacketsSpurious, "messages repeated": p.MessagesRetransmitted,
		"probes": p.Probes, "acks": p.AcksSent, "packets to be acknowledged": p.AckEliciting,
	}
}
