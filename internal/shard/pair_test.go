package shard

import (
	"fmt"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSession is the least that a connection takes for a handshake: one message each way at each level, secrets that everybody
// knows.
type fakeSession struct {
	client  bool
	params  []byte
	hello   int // bytes of the ClientHello
	fail    bool
	started *int
	ended   *int
}

func fakeSecret(level wire.Level, fromClient bool) (s wire.Secret) {
	s.Suite, s.Len = wire.SuiteAES128GCMSHA256, 32
	s.B[0] = byte(level) + 1
	if fromClient {
		s.B[1] = 1
	}
	return s
}

func (f *fakeSession) install(out *wire.HandshakeOutput, level wire.Level, write bool) {
	out.Secrets = append(out.Secrets, wire.SecretInstall{Level: level, Write: write, Secret: fakeSecret(level, write == f.client)})
}

// message frames bytes like a TLS handshake message, whose length the connection reads.
func message(b []byte) []byte {
	return append([]byte{1, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

func (f *fakeSession) Start(out *wire.HandshakeOutput) {
	out.Alert = -1
	if f.started != nil {
		*f.started++
	}
	if f.client {
		b := append([]byte{byte(len(f.params) >> 8), byte(len(f.params))}, f.params...)
		b = append(b, make([]byte, max(f.hello-len(b), 0))...)
		out.Crypto[wire.LevelInitial] = append(out.Crypto[wire.LevelInitial], message(b)...)
	}
}

func (f *fakeSession) Handle(level wire.Level, data []byte, out *wire.HandshakeOutput) {
	if f.fail {
		out.Alert, out.Err = 40, fmt.Errorf("the fake session was told to fail")
		return
	}
	switch {
	case !f.client && level == wire.LevelInitial:
		n := int(data[4])<<8 | int(data[5])
		out.PeerParams = append([]byte{}, data[6:6+n]...)
		out.Crypto[wire.LevelInitial] = append(out.Crypto[wire.LevelInitial], message([]byte("hello"))...)
		f.install(out, wire.LevelHandshake, true)
		f.install(out, wire.LevelHandshake, false)
		out.Crypto[wire.LevelHandshake] = append(out.Crypto[wire.LevelHandshake], message(f.params)...)
		f.install(out, wire.LevelOneRTT, true)
	case f.client && level == wire.LevelInitial:
		f.install(out, wire.LevelHandshake, true)
		f.install(out, wire.LevelHandshake, false)
	case f.client && level == wire.LevelHandshake:
		out.PeerParams = append([]byte{}, data[4:]...)
		out.Crypto[wire.LevelHandshake] = append(out.Crypto[wire.LevelHandshake], message([]byte("finished"))...)
		f.install(out, wire.LevelOneRTT, true)
		f.install(out, wire.LevelOneRTT, false)
		out.Complete = true
	case level == wire.LevelHandshake:
		f.install(out, wire.LevelOneRTT, false)
		out.Complete = true
	}
}

func (f *fakeSession) Close() {
	if f.ended != nil {
		*f.ended++
	}
}

// testApp records what happens and does what its functions say.
type testApp struct {
	open     func(s *Shard, r Ref) bool
	message  func(s *Shard, r Ref, ev *proto.Event) bool
	writable func(s *Shard, r Ref)
	stream   func(s *Shard, r Ref, ev *proto.Event) bool
	opened   []Ref
	closed   []Closed
	freed    int
	outcomes []proto.Outcome
	messages int
}

func (a *testApp) Open(s *Shard, r Ref) *Refusal {
	a.opened = append(a.opened, r)
	if a.open == nil || a.open(s, r) {
		return nil
	}
	return &Refusal{Code: 9, Reason: "refused", App: true}
}

func (a *testApp) Message(s *Shard, r Ref, ev *proto.Event) bool {
	a.messages++
	return a.message == nil || a.message(s, r, ev)
}
func (a *testApp) Gap(*Shard, Ref, uint16, int) {}
func (a *testApp) Outcome(_ *Shard, _ Ref, _ uint64, o proto.Outcome) {
	a.outcomes = append(a.outcomes, o)
}

func (a *testApp) Stream(s *Shard, r Ref, ev *proto.Event) bool {
	return a.stream == nil || a.stream(s, r, ev)
}

func (a *testApp) Writable(s *Shard, r Ref) {
	if a.writable != nil {
		a.writable(s, r)
	}
}
func (a *testApp) Closed(_ *Shard, _ Ref, c *Closed) { a.closed = append(a.closed, *c) }
func (a *testApp) Freed(*Shard, Ref)                 { a.freed++ }

// world is a memory network with one server and one client shard, or more, in virtual time.
type world struct {
	t       testing.TB
	net     *udp.MemNet
	now     mono.Time
	drop    func(from, to udp.Addr, b []byte) bool
	shards  []*Shard
	sockets []*udp.MemEndpoint
	due     []mono.Time
	server  *Shard
	client  *Shard
	sapp    *testApp
	capp    *testApp
	started int // sessions
	ended   int
	hello   int
	sproto  proto.Config
}

const testDelay = 100 * mono.Microsecond

func testProto() proto.Config {
	c := proto.Config{
		Params: wire.DefaultParams(), MaxMessageSize: 256 << 10, SendBuffer: 1 << 20, MaxDatagram: 1200, MaxDatagramCeil: 1452,
		IdleTimeout: mono.Minute, HandshakeTimeout: 10 * mono.Second, Linger: mono.Second, ReassemblyBytes: 1 << 20,
	}
	for i := range c.Channels {
		c.Channels[i] = proto.ChannelConfig{Mode: proto.Mode(wire.DefaultMode(uint8(i))), Weight: 16}
	}
	return c
}

func serverConfig() Config {
	return Config{
		MaxSlots: 1 << 16, MailboxBytes: 8 << 20, PoolBytes: 64 << 20, CycleMessages: 2500, HalfOpen: 256,
		Pages: func(n int) []byte { return make([]byte, n) }, Seed: [32]byte{1},
	}
}

var serverAddr = udp.AddrFrom(netip.MustParseAddrPort("10.0.0.1:4242"))

// newWorld makes n server shards on one address and a client.
func newWorld(t testing.TB, n int, adjust func(c *Config)) *world {
	w := &world{t: t, now: mono.Time(mono.Second), sapp: new(testApp), capp: new(testApp), hello: 300, sproto: testProto()}
	w.net = udp.NewMemNet(func(now mono.Time, from, to udp.Addr, ecn uint8, b []byte, a []udp.Arrival) []udp.Arrival {
		if w.drop != nil && w.drop(from, to, b) {
			return a
		}
		return append(a, udp.Arrival{At: now.Add(testDelay), ECN: ecn})
	})
	var servers []*Shard
	for i := range n {
		socket, err := w.net.Listen(udp.MemConfig{Addr: serverAddr, GRO: true, Shards: n, ShardIndex: i})
		if err != nil {
			t.Fatal(err)
		}
		c := serverConfig()
		c.Index, c.Socket, c.Proto, c.App = i, socket, &w.sproto, w.sapp
		c.Seed[1] = byte(i)
		c.IDs = IDs{Key: 77, Server: 5, Shards: n}
		c.NewSession = func(params []byte) Session {
			return &fakeSession{params: params, started: &w.started, ended: &w.ended}
		}
		if adjust != nil {
			adjust(&c)
		}
		servers = append(servers, w.add(c, socket))
	}
	for _, s := range servers {
		s.SetPeers(servers)
	}
	w.server = servers[0]
	w.client = w.addClient("10.0.0.2:0")
	return w
}

func (w *world) addClient(addr string) *Shard { return w.addClientOf(addr, false) }

// addClientOf adds a client whose connections have a socket each, or share one.
func (w *world) addClientOf(addr string, shared bool) *Shard {
	socket, err := w.net.Listen(udp.MemConfig{Addr: udp.AddrFrom(netip.MustParseAddrPort(addr)), Client: true, Shared: shared, GRO: true})
	if err != nil {
		w.t.Fatal(err)
	}
	c := serverConfig()
	p := testProto()
	c.Socket, c.Proto = socket, &p
	if shared {
		c.IDs = IDs{Key: 99, Shards: 1}
	}
	return w.add(c, socket)
}

func (w *world) add(c Config, socket *udp.MemEndpoint) *Shard {
	s := New(w.now, c)
	w.shards, w.sockets, w.due = append(w.shards, s), append(w.sockets, socket), append(w.due, w.now)
	return s
}

// settle steps everything that is due at this instant.
func (w *world) settle() {
	for range 10_000 {
		progress := false
		for i, s := range w.shards {
			if w.due[i] <= w.now || w.sockets[i].Pending() || w.sockets[i].Woken() {
				w.sockets[i].Wait(w.now, 0)
				w.due[i] = s.Step(w.now)
				if w.due[i] > w.now && !s.Idle() {
					w.due[i] = w.now
				}
				progress = true
			}
		}
		w.net.Advance(w.now)
		if !progress {
			return
		}
	}
	w.t.Fatal("the shards do not come to rest")
}

// run lets time pass.
func (w *world) run(d mono.Duration) {
	until := w.now.Add(d)
	for {
		w.settle()
		next := w.net.Next()
		for _, at := range w.due {
			next = min(next, at)
		}
		if next > until {
			break
		}
		w.now = max(w.now, next)
		w.net.Advance(w.now)
	}
	w.now = until
	w.net.Advance(w.now)
	w.settle()
}

// dial begins a dial; result is set once it is done.
func (w *world) dial(s *Shard) (result *dialResult) {
	result = new(dialResult)
	s.Dial(&Dial{
		App: w.capp, Remote: wire.Addr(serverAddr),
		NewSession: func(params []byte) Session { return &fakeSession{client: true, params: params, hello: w.hello} },
		Done:       func(r Ref, c *Closed) { result.r, result.end, result.done = r, c, result.done+1 },
	})
	return result
}

type dialResult struct {
	r    Ref
	end  *Closed
	done int
}

// connect dials and expects success.
func (w *world) connect() Ref {
	w.t.Helper()
	d := w.dial(w.client)
	for range 100 {
		if w.run(10 * mono.Millisecond); d.done > 0 {
			break
		}
	}
	if d.done != 1 || d.end != nil {
		w.t.Fatalf("the dial is done %d times: %+v", d.done, d.end)
	}
	return d.r
}

// over closes everything and checks that nothing is left.
func (w *world) over() {
	w.t.Helper()
	for _, s := range w.shards {
		s.CloseAll(0, "")
	}
	w.run(10 * mono.Second)
	for i, s := range w.shards {
		if s.live != 0 || s.halfOpen.used != 0 || s.heldPackets != 0 {
			w.t.Errorf("shard %d: %d connections, %d half open, %d packets held are left", i, s.live, s.halfOpen.used, s.heldPackets)
		}
		if n := s.shared.Pool.InUse(); n != 0 {
			w.t.Errorf("shard %d: %d blocks of the pool are in use", i, n)
		}
		if n, waits := s.chunks.InUse(), s.backlog.count; n != 0 || waits != 0 {
			w.t.Errorf("shard %d: %d chunks are in use, %d messages wait for groups", i, n, waits)
		}
		for slot := range uint32(len(s.peers) * slotChunk) {
			if a := s.slots.at(slot).account.Load(); a != 0 {
				w.t.Errorf("shard %d: the account of slot %d ends at %#x", i, slot, a)
			}
		}
	}
}
