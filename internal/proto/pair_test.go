package proto

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// A pair is two connections joined by a link in virtual time. Packets cross it unprotected: protection is another
// room's. The handshake's session is a script of four flights with the sizes of a TLS handshake.
type pair struct {
	t      testing.TB
	now    mono.Time
	client *side
	server *side
	rng    *rand.Rand
	link   link
	flying []flight
	seq    int
	trace  uint64 // hash of everything sent
}

// link is how the pair's datagrams fare.
type link struct {
	delay     mono.Duration
	jitter    mono.Duration
	loss      float64
	duplicate float64
	drop      func(from *side, d *datagram) bool // a script's own losses
	blackout  bool
	ce        bool // mark everything that is capable with CE
	bleach    bool // erase ECN marks
	mtu       int  // larger datagrams vanish
}

// side is one end of a pair.
type side struct {
	p        *pair
	name     string
	c        Conn
	sh       *Shared
	peer     *side
	addr     wire.Addr
	cid      wire.ConnID
	stage    int
	got      map[wire.Level]int
	messages []string
	outcomes []Outcome
	gaps     int
	closed   *Event
	reason   string
	events   []EventKind
	manual   bool                        // consumed is not called
	asks     bool                        // a server whose application has yet to consent
	mail     []byte                      // the sender's buffer in use
	hook     func(e *Event)              // sees every event first
	written  func(pk *wire.Packet)       // sees every packet sent
	read     func(pk *wire.Packet)       // sees every packet received, afterwards
	pass     func(m *Message) SendResult // hands a message in a chunk to the connection; nil: Send
	opened   [wire.NumLevels]map[uint64]bool
	ptos     uint64 // expirations seen
	past     int    // packets sent into a full window since
	received int    // bytes
	sent     int    // datagrams
	bytes    int
	largest  int
}

// datagram is a train's segment as it crosses the link: opened packets.
type datagram struct {
	from, to wire.Addr
	size     int
	ecn      uint8
	packets  []wire.Packet
}

type flight struct {
	at  mono.Time
	seq int
	to  *side
	d   datagram
}

const (
	helloLen     = 1700 // a post-quantum ClientHello takes two datagrams
	serverHello  = 1200
	serverFlight = 900
	finishedLen  = 52
	ticketLen    = 120
)

func testConfig() *Config {
	cfg := &Config{
		Params: wire.DefaultParams(), MaxMessageSize: 256 << 10, SendBuffer: 1 << 20,
		MaxDatagram: 1200, MaxDatagramCeil: 1452, IdleTimeout: 60 * mono.Second, DeadPeer: 30 * mono.Second,
		Linger: 5 * mono.Second, ReassemblyBytes: 1 << 20, ECN: true,
	}
	for i := range cfg.Channels {
		cfg.Channels[i] = ChannelConfig{Mode: Mode(wire.DefaultMode(uint8(i))), Weight: wire.DefaultWeight}
	}
	return cfg
}

func newPair(t testing.TB, seed uint64, edit func(*Config)) *pair {
	p := &pair{t: t, now: mono.Time(mono.Second), rng: rand.New(rand.NewPCG(seed, 1)), link: link{delay: 5 * mono.Millisecond}}
	p.client = p.newSide("client", 1, seed, edit)
	p.server = p.newSide("server", 2, seed+1000, edit)
	p.client.peer, p.server.peer = p.server, p.client
	p.client.cid, _ = wire.MakeConnID([]byte("client-id"))
	p.server.cid, _ = wire.MakeConnID([]byte("server-id-01"))
	first, _ := wire.MakeConnID([]byte("first-dcid"))
	p.client.c.Init(p.now, p.client.sh, InitParams{
		Client: true, Path: wire.Path{Remote: p.server.addr}, LocalID: p.client.cid, PeerID: first,
		OriginalDst: first, Seed: [32]byte{byte(seed)},
	})
	p.server.c.Init(p.now, p.server.sh, InitParams{
		Path: wire.Path{Remote: p.client.addr}, LocalID: p.server.cid, PeerID: p.client.cid, OriginalDst: first,
		Seed: [32]byte{byte(seed), 1}, CryptoBuf: make([]byte, 0, 4096),
	})
	for _, s := range []*side{p.client, p.server} {
		s.c.InstallKeys(wire.LevelInitial, false, 16)
		s.c.InstallKeys(wire.LevelInitial, true, 16)
		s.c.SetHandshakeDeadline(p.now.Add(10 * mono.Second))
	}
	hello := make([]byte, helloLen)
	hello[0], hello[2], hello[3] = 1, (helloLen-4)>>8, (helloLen-4)&0xff
	p.client.c.SendCrypto(wire.LevelInitial, hello)
	t.Cleanup(func() { p.balance() })
	return p
}

func (p *pair) newSide(name string, host byte, seed uint64, edit func(*Config)) *side {
	cfg := testConfig()
	if edit != nil {
		edit(cfg)
	}
	s := &side{p: p, name: name, got: map[wire.Level]int{}}
	s.mail = make([]byte, 0, 4096)
	s.addr = wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: host, 16: 0x10, 17: byte(host)}
	s.sh = &Shared{
		Config: cfg, Pool: mem.NewPool(func(n int) []byte { return make([]byte, n) }, 64<<20),
		Chunks: &mem.Chunks{},
		NewID: func(slot uint32, r uint64) wire.ConnID {
			id, _ := wire.MakeConnID(binary.BigEndian.AppendUint64([]byte(name[:4]), r))
			return id
		},
		ResetToken: func(id wire.ConnID) (tok [16]byte) { copy(tok[:], id.Bytes()); return tok },
	}
	_ = seed
	return s
}

// balance checks that closed connections hold nothing.
func (p *pair) balance() {
	for _, s := range []*side{p.client, p.server} {
		s.c.Release()
		if n := s.sh.Pool.InUse(); n != 0 {
			p.t.Errorf("%s: %d blocks of the pool leaked", s.name, n)
		}
		if n := s.sh.Chunks.InUse(); n != 0 {
			p.t.Errorf("%s: %d chunks leaked", s.name, n)
		}
	}
}

// params are the transport parameters a side announces.
func (s *side) params() []byte {
	q := s.sh.Config.Params
	q.HasInitialSrc, q.InitialSrc = true, s.cid
	q.PlainMode = s.sh.Config.Plain
	if !s.c.client {
		q.HasOriginalDst = true
		q.OriginalDst, _ = wire.MakeConnID([]byte("first-dcid"))
		q.HasResetToken = true
	}
	for i, ch := range s.sh.Config.Channels {
		def := ChannelConfig{Mode: Mode(wire.DefaultMode(uint8(i))), Weight: wire.DefaultWeight}
		if ch != def {
			q.Channels = append(q.Channels, wire.ChannelParam{
				Channel: uint8(i), Mode: wire.Mode(ch.Mode), Priority: ch.Priority, Weight: ch.Weight, InitialMax: q.InitialMaxChannel,
			})
		}
	}
	return q.Append(nil)
}

// session plays the script when CRYPTO bytes arrive.
func (s *side) session(level wire.Level, n int) {
	c, now := &s.c, s.p.now
	s.got[level] += n
	keys := func(l wire.Level, write bool) { c.InstallKeys(l, write, 16) }
	switch {
	case !c.client && s.stage == 0 && s.got[wire.LevelInitial] == helloLen:
		s.stage = 1
		c.SetPeerParams(now, s.peer.params())
		c.SendCrypto(wire.LevelInitial, make([]byte, serverHello))
		keys(wire.LevelHandshake, false)
		keys(wire.LevelHandshake, true)
		c.SendCrypto(wire.LevelHandshake, make([]byte, serverFlight))
		keys(wire.LevelOneRTT, true)
	case c.client && s.stage == 0 && s.got[wire.LevelInitial] == serverHello:
		s.stage = 1
		keys(wire.LevelHandshake, false)
		keys(wire.LevelHandshake, true)
	case c.client && s.stage == 1 && s.got[wire.LevelHandshake] == serverFlight:
		s.stage = 2
		if !c.SetPeerParams(now, s.peer.params()) {
			return
		}
		c.SendCrypto(wire.LevelHandshake, make([]byte, finishedLen))
		keys(wire.LevelOneRTT, true)
		keys(wire.LevelOneRTT, false)
		c.HandshakeComplete(now)
	case !c.client && s.stage == 1 && s.got[wire.LevelHandshake] == finishedLen && !s.asks:
		s.stage = 2
		keys(wire.LevelOneRTT, false)
		c.HandshakeComplete(now)
		c.SendCrypto(wire.LevelOneRTT, make([]byte, ticketLen))
	}
}

// drain handles the events of a side.
func (s *side) drain() {
	for i := 0; i < len(s.sh.Events); i++ {
		e := s.sh.Events[i]
		s.events = append(s.events, e.Kind)
		if s.hook != nil {
			s.hook(&e)
		}
		switch e.Kind {
		case EventMessage:
			s.messages = append(s.messages, string(e.Payload))
			if !s.manual {
				s.c.Consumed(s.p.now, e.Channel, len(e.Payload))
			}
		case EventCrypto:
			s.session(e.Level, len(e.Payload))
		case EventOutcome:
			s.outcomes = append(s.outcomes, e.Outcome)
		case EventGap:
			s.gaps++
		case EventClosed:
			if s.closed != nil {
				s.p.t.Errorf("%s: closed twice", s.name)
			}
			s.closed, s.reason = &e, string(e.Payload)
		}
		if e.Ref != 0 {
			s.sh.Pool.Put(e.Ref)
		}
	}
	s.sh.Events = s.sh.Events[:0]
}

// flush sends what a side has to say.
func (s *side) flush() {
	var buf [maxTrain * 1500]byte
	var t wire.Train
	for i := 0; ; i++ {
		if i > 1000 {
			s.p.t.Fatalf("%s: BuildTrain does not end", s.name)
		}
		before, window, probes, eliciting := s.c.bytesInFlight, s.c.cc.Window(), int(s.c.probes), s.sh.Stats.AckEliciting
		if n := s.sh.Stats.Probes; n != s.ptos {
			s.ptos, s.past = n, 0
		}
		if !s.c.BuildTrain(s.p.now, buf[:], &t) {
			break
		}
		before = min(before, s.c.bytesInFlight-t.Len) // less, if keys were dropped meanwhile
		if n := int(s.sh.Stats.AckEliciting - eliciting); n > 0 && before >= window && !s.validatedPath() {
			if s.past += n; n > probes || s.past > maxProbes {
				s.p.t.Errorf("%s: flight rule broken: %d of %d bytes in flight before %d ack-eliciting packets, %d since the last PTO",
					s.name, before, window, n, s.past)
			}
		}
		s.transmit(buf[:t.Len], &t)
		s.drain()
	}
	s.drain()
}

// transmit cuts a train into datagrams and puts them on the link.
func (s *side) transmit(buf []byte, t *wire.Train) {
	p := s.p
	if t.Len != (t.Segments-1)*t.SegmentSize+(t.Len-(t.Segments-1)*t.SegmentSize) || t.Len > t.Segments*t.SegmentSize || t.Segments < 1 {
		p.t.Fatalf("train of %d segments of %d in %d bytes", t.Segments, t.SegmentSize, t.Len)
	}
	k := 0
	for off := 0; off < t.Len; off += t.SegmentSize {
		end := min(off+t.SegmentSize, t.Len)
		d := datagram{from: s.addr, to: t.Path.Remote, size: end - off, ecn: t.ECN}
		at := off
		for ; k < t.N && int(t.Packets[k].Off) < end; k++ {
			o := &t.Packets[k]
			if int(o.Off) != at {
				p.t.Fatalf("%s: packet at %d, expected at %d", s.name, o.Off, at)
			}
			at = int(o.End)
			payload := slices.Clone(buf[int(o.Off)+int(o.PNOff)+int(o.PNLen) : int(o.End)-int(o.TagLen)])
			d.packets = append(d.packets, wire.Packet{Payload: payload, Number: o.Number, Level: o.Level, Size: d.size, ECN: d.ecn})
			if s.written != nil {
				s.written(&d.packets[len(d.packets)-1])
			}
			h := fnv.New64a()
			_ = binary.Write(h, binary.LittleEndian, []uint64{p.trace, uint64(o.Number), uint64(p.now)})
			h.Write(payload)
			p.trace = h.Sum64()
		}
		if at != end {
			p.t.Fatalf("%s: datagram ends at %d, its packets at %d", s.name, end, at)
		}
		s.sent++
		s.bytes += d.size
		s.largest = max(s.largest, d.size)
		p.send(s, &d)
	}
}

// send lets the link decide about one datagram.
func (p *pair) send(from *side, d *datagram) {
	l := &p.link
	if l.blackout || l.mtu > 0 && d.size > l.mtu || l.drop != nil && l.drop(from, d) {
		return
	}
	copies := 1
	if p.rng.Float64() < l.loss {
		copies--
	}
	if p.rng.Float64() < l.duplicate {
		copies++
	}
	if l.bleach {
		d.ecn = 0
	} else if l.ce && d.ecn != 0 {
		d.ecn = wire.ECNCE
	}
	for range copies {
		at := p.now.Add(l.delay)
		if l.jitter > 0 {
			at = at.Add(mono.Duration(p.rng.Int64N(int64(l.jitter))))
		}
		p.seq++
		p.flying = append(p.flying, flight{at: at, seq: p.seq, to: from.peer, d: *d})
	}
}

// receive hands a datagram's packets to a side.
func (s *side) receive(d *datagram) {
	path := wire.Path{Remote: d.from, Local: s.addr}
	if d.to != s.addr {
		return // sent to an address that this side no longer has
	}
	s.received += d.size
	s.c.HandleDatagram(s.p.now, &path, d.size)
	for i := range d.packets {
		pk := d.packets[i]
		pk.Path, pk.ECN = &path, d.ecn
		if sp := s.c.space(pk.Level); sp == nil || !sp.canRead || s.seen(pk.Level, pk.Number) {
			continue // package protect would not open it
		}
		s.c.PeerIDSeen(s.peer.cid.Bytes())
		s.c.HandlePacket(s.p.now, &pk)
		s.drain()
		if s.read != nil {
			s.read(&pk)
		}
	}
}

// seen stands in for the replay window of package protect: it reports whether a packet was opened before, and notes it.
func (s *side) seen(level wire.Level, pn uint64) bool {
	if s.opened[level] == nil {
		s.opened[level] = map[uint64]bool{}
	}
	was := s.opened[level][pn]
	s.opened[level][pn] = true
	return was
}

// step advances to the next thing that happens, at most to end. It returns false when nothing does.
func (p *pair) step(end mono.Time) bool {
	p.client.flush()
	p.server.flush()
	next := min(p.client.c.NextDeadline(), p.server.c.NextDeadline())
	for i := range p.flying {
		next = min(next, p.flying[i].at)
	}
	if next > end {
		p.now = max(p.now, end)
		return false
	}
	p.now = max(p.now, next)
	slices.SortFunc(p.flying, func(a, b flight) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return a.seq - b.seq
	})
	for len(p.flying) > 0 && p.flying[0].at <= p.now {
		f := p.flying[0]
		p.flying = p.flying[1:]
		f.to.receive(&f.d)
	}
	for _, s := range []*side{p.client, p.server} {
		if s.c.NextDeadline() <= p.now {
			s.c.HandleTimeout(p.now)
			s.drain()
		}
	}
	return true
}

// run lets d pass. Steps are bounded: a livelock fails the test.
func (p *pair) run(d mono.Duration) {
	p.t.Helper()
	end := p.now.Add(d)
	for i := 0; p.step(end); i++ {
		if i > 200_000 {
			p.t.Fatal("livelock")
		}
	}
}

// until runs until ok, for at most d.
func (p *pair) until(d mono.Duration, what string, ok func() bool) {
	p.t.Helper()
	end := p.now.Add(d)
	for i := 0; !ok(); i++ {
		if !p.step(end) || i > 2_000_000 {
			p.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// connect completes the handshake.
func (p *pair) connect() {
	p.t.Helper()
	p.until(10*mono.Second, "handshake", func() bool { return p.client.c.Confirmed() && p.server.c.Confirmed() })
}

// say queues a message.
func (s *side) say(channel uint16, payload string) SendResult {
	return s.send(&Message{Channel: channel, Payload: []byte(payload)})
}

// send queues a message whose payload lies in a sender's buffer, as the mailbox hands it over: several messages share
// a buffer, which is used again when all of them are settled.
func (s *side) send(m *Message) SendResult {
	n := len(m.Payload)
	if n == 0 || n > cap(s.mail)/2 {
		return s.c.Send(s.p.now, m)
	}
	if len(s.mail)+n > cap(s.mail) {
		if spares := s.sh.Chunks.TakeSpare(nil); len(spares) > 0 {
			s.mail = spares[0]
		} else {
			s.mail = make([]byte, 0, 4096)
		}
	}
	at := len(s.mail)
	s.mail = append(s.mail, m.Payload...)
	m.Chunk = s.sh.Chunks.Add(s.mail[at:])
	m.Payload = s.sh.Chunks.Bytes(m.Chunk)
	pass := s.pass
	if pass == nil {
		pass = func(m *Message) SendResult { return s.c.Send(s.p.now, m) }
	}
	r := pass(m)
	s.sh.Chunks.Release(m.Chunk)
	return r
}

// expect checks the messages that arrived.
func (s *side) expect(want ...string) {
	s.p.t.Helper()
	if !slices.Equal(s.messages, want) {
		s.p.t.Errorf("%s got %d messages, want %d: %.60q", s.name, len(s.messages), len(want), s.messages)
	}
}

// text makes n bytes that tell themselves apart.
func text(i, n int) string {
	b := bytes.Repeat([]byte{byte('a' + i%26)}, n)
	if n >= 8 {
		binary.BigEndian.PutUint64(b, uint64(i))
	}
	return string(b)
}
