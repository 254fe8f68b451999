package proto

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// A pipe joins the channels of two ends without the rest of a connection: packets with a number, random loss, delay and
// duplication, and acknowledgments that are lost as well. Each end's application sends at random and checks what it gets
// against the promise of the channel's mode.
type pipe struct {
	t    testing.TB
	rng  *rand.Rand
	now  mono.Time
	ends [2]*pipeEnd
	air  []flyingFrame
	loss float64
	dup  float64
	size int // bytes of a packet
	pack bool
	dark bool // now and then nothing passes for a while
	lost mono.Time
}

// flyingFrame is a packet or an acknowledgment on its way.
type flyingFrame struct {
	at     mono.Time
	to     int
	number int
	bytes  []byte
	acks   []int
}

// pipePacket is what an end remembers of a packet it sent.
type pipePacket struct {
	records []record
	at      mono.Time
	settled bool
	lost    bool
}

type pipeEnd struct {
	p    *pipe
	me   int
	m    messages
	sh   *Shared
	log  sentLog
	twin *twin // what m's packed form became, with everything done to it that is done to m
	sent []pipePacket
	low  int // packets below are settled
	seen map[int]bool
	fly  int

	chunk   mem.ChunkID
	fill    int
	free    int // bytes of the send buffer by the events
	sends   int // messages that the application still wants to send
	inRuns  bool
	taken   map[uint64]*sentMessage
	tags    uint64
	out     [numChannels]outModel
	in      [numChannels]inModel
	waiting []consumption // delivered, and in the application's hands
}

// sentMessage is a message as the application remembers it.
type sentMessage struct {
	channel uint16
	n       uint64 // it was the n-th of its channel
	outcome Outcome
}

type consumption struct {
	channel uint16
	size    int
}

func pipeConfig() *Config {
	cfg := &Config{
		Params: wire.DefaultParams(), MaxMessageSize: 40_000, SendBuffer: 100_000, ReassemblyBytes: 70_000,
		MaxDatagram: 1452, MaxDatagramCeil: 1472,
	}
	for i := range cfg.Channels {
		cfg.Channels[i] = ChannelConfig{Mode: Mode(wire.DefaultMode(uint8(i))), Weight: wire.DefaultWeight}
	}
	cfg.Params.MaxMessageSize = 40_000
	cfg.Params.InitialMaxData = 60_000
	cfg.Params.InitialMaxChannel = 45_000
	return cfg
}

func newPipe(t testing.TB, seed uint64, cfg *Config) *pipe {
	p := &pipe{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: mono.Time(mono.Second), size: 1200}
	for i := range cfg.Channels {
		c := cfg.Channels[i]
		if uint8(c.Mode) != uint8(wire.DefaultMode(uint8(i))) || c.Priority != 0 || c.Weight != wire.DefaultWeight {
			cfg.Params.Channels = append(cfg.Params.Channels, wire.ChannelParam{
				Channel: uint8(i), Mode: wire.Mode(c.Mode), Priority: c.Priority, Weight: c.Weight, InitialMax: cfg.Params.InitialMaxChannel,
			})
		}
	}
	for i := range p.ends {
		e := &pipeEnd{p: p, me: i, seen: map[int]bool{}, taken: map[uint64]*sentMessage{}, free: cfg.SendBuffer}
		e.sh = newShared(cfg)
		e.m.init(e.sh, uint32(i))
		if ch := e.m.setPeerParams(&cfg.Params); ch >= 0 {
			t.Fatalf("channel %d mismatches", ch)
		}
		for c := range numChannels {
			e.out[c] = outModel{newest: map[uint64]uint64{}, sure: map[uint64]bool{}, keys: map[uint64]uint64{}, tags: map[uint64]uint64{}}
			e.in[c] = inModel{got: map[uint64]bool{}, newest: map[uint64]uint64{}, highest: -1}
		}
		p.ends[i] = e
	}
	return p
}

func newShared(cfg *Config) *Shared {
	return &Shared{Config: cfg, Pool: poolOf(1 << 30), Chunks: new(mem.Chunks), HashKey: 0x5bd1e995}
}

// poolOf returns a pool that holds at most so many bytes.
func poolOf(limit int) *mem.Pool {
	return mem.NewPool(func(n int) []byte {
		if n > limit {
			return nil
		}
		return make([]byte, n)
	}, 0)
}

func (e *pipeEnd) peer() *pipeEnd { return e.p.ends[1-e.me] }

// payloadOf makes the content of a message: its number, and bytes that follow from it.
func payloadOf(dst []byte, channel uint16, n uint64, size int) []byte {
	b := binary.BigEndian.AppendUint64(dst[:0], n<<8|uint64(channel))
	for i := 8; i < size; i++ {
		b = append(b, byte(uint64(i)*(n+uint64(channel)+3)>>2))
	}
	return b[:size]
}

// place puts a payload into the end's chunk, as the mailbox would.
func (e *pipeEnd) place(payload []byte) (mem.ChunkID, uint32, []byte) {
	if len(payload) > mem.ChunkSize/2 || e.p.rng.IntN(20) == 0 {
		return 0, 0, payload
	}
	if e.chunk == 0 || e.fill+len(payload) > mem.ChunkSize {
		e.sh.Chunks.Release(e.chunk)
		e.chunk, e.fill = e.sh.Chunks.Add(make([]byte, mem.ChunkSize)), 0
	}
	b := e.sh.Chunks.Bytes(e.chunk)
	off := e.fill
	copy(b[off:], payload)
	e.fill += len(payload)
	return e.chunk, uint32(off), b[off:e.fill:e.fill]
}

// say sends one random message.
func (e *pipeEnd) say() {
	rng := e.p.rng
	channels := []uint16{0, 1, 2, 3, 4, 7, 9}
	c := channels[rng.IntN(len(channels))]
	size := 8 + rng.IntN(100)
	switch rng.IntN(20) {
	case 0:
		size = 8 + rng.IntN(20_000)
	case 1, 2:
		size = 8 + rng.IntN(3000)
	}
	o := &e.out[c]
	msg := &Message{Channel: c}
	if e.sh.Config.Channels[c].Mode == Latest {
		msg.Key = uint64(rng.IntN(6))
	}
	if rng.IntN(3) == 0 {
		msg.TTL = mono.Duration(1+rng.IntN(80)) * mono.Millisecond
	}
	if rng.IntN(2) == 0 {
		e.tags++
		msg.Tag = e.tags
	}
	chunk, off, payload := e.place(payloadOf(make([]byte, size), c, o.n, size))
	msg.Chunk, msg.Offset, msg.Payload = chunk, off, payload
	switch r := e.send(msg); r {
	case SendOK:
	case SendBlocked:
		if msg.Tag != 0 {
			e.tags--
		}
		return
	default:
		e.p.t.Fatalf("send answered %d", r)
	}
	e.sends--
	e.free -= size + messageOverhead
	o.keys[o.n] = msg.Key
	if msg.TTL == 0 {
		o.sure[o.n] = true
	}
	o.newest[msg.Key] = o.n
	if msg.Tag != 0 {
		e.taken[msg.Tag] = &sentMessage{channel: c, n: o.n}
		o.tags[o.n] = msg.Tag
	}
	o.n++
}

// transmit builds packets while there is something to say and room in a pretended window.
func (e *pipeEnd) transmit(window int) {
	for e.fly < window && e.m.wantsToSend() {
		before := e.log.records.len()
		limit := e.p.size - e.p.rng.IntN(200)
		b := e.appendFrames(limit)
		if len(b) == 0 {
			limit = e.p.size // the train ends, and the next one begins with a full packet
			b = e.appendFrames(limit)
		}
		if len(b) > limit {
			e.p.t.Fatalf("a packet of %d bytes", len(b))
		}
		if len(b) == 0 {
			if e.log.records.len() != before {
				e.p.t.Fatalf("a record without a frame")
			}
			if e.m.wantsToSend() {
				e.p.dump()
				e.p.t.Fatalf("end %d has something to say but does not say it", e.me)
			}
			return
		}
		pkt := pipePacket{at: e.p.now}
		for i := before; i < e.log.records.len(); i++ {
			pkt.records = append(pkt.records, *e.log.records.at(i))
		}
		if len(pkt.records) == 0 {
			e.p.t.Fatalf("a frame without a record")
		}
		e.fly++
		e.p.launch(flyingFrame{to: 1 - e.me, number: len(e.sent), bytes: b})
		e.sent = append(e.sent, pkt)
	}
}

func (p *pipe) launch(f flyingFrame) {
	for range 1 + btoi(p.rng.Float64() < p.dup) {
		if p.rng.Float64() < p.loss || p.now < p.lost {
			continue
		}
		f.at = p.now.Add(mono.Duration(5+p.rng.IntN(10)) * mono.Millisecond)
		p.air = append(p.air, f)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// receive takes a packet that has not been there before, as the replay window sees to.
func (e *pipeEnd) receive(f flyingFrame) {
	if f.acks != nil {
		for _, n := range f.acks {
			e.acked(n)
		}
		return
	}
	if !e.seen[f.number] {
		e.seen[f.number] = true
		b := bytes.Clone(f.bytes)
		for len(b) > 0 {
			n, code := e.handleFrame(uint64(b[0]), b[1:])
			if n < 0 {
				e.p.t.Fatalf("end %d: frame %#x closes with %v", e.me, b[0], code)
			}
			b = b[1+n:]
		}
		e.drain()
	}
	acks := make([]int, 0, 8)
	for n := range e.seen {
		if n > f.number-20 {
			acks = append(acks, n)
		}
	}
	slices.Sort(acks)
	e.p.launch(flyingFrame{to: 1 - e.me, acks: acks})
}

func (e *pipeEnd) acked(n int) {
	k := &e.sent[n]
	if k.settled {
		if e.p.rng.IntN(10) > 0 {
			return // now and then an acknowledgment is taken twice
		}
	} else {
		k.settled = true
		if !k.lost {
			e.fly--
		}
	}
	for i := range k.records {
		e.onAcked(&k.records[i])
	}
	for e.low < len(e.sent) && e.sent[e.low].settled {
		e.low++
	}
}

// recover declares packets lost by time, and sometimes repeats one that is not.
func (e *pipeEnd) recover() {
	for n := e.low; n < len(e.sent); n++ {
		k := &e.sent[n]
		if k.settled || k.lost {
			continue
		}
		late := k.at.Add(35*mono.Millisecond) <= e.p.now
		if !late && e.p.rng.IntN(100) > 0 {
			continue
		}
		if late {
			k.lost = true
			e.fly--
		}
		for i := range k.records {
			e.onLost(&k.records[i])
		}
	}
}

// drain takes the events, as the shard does.
func (e *pipeEnd) drain() {
	e.sameEvents()
	for i := range e.sh.Events {
		ev := &e.sh.Events[i]
		switch ev.Kind {
		case EventMessage:
			e.message(ev)
			e.sh.Pool.Put(ev.Ref)
		case EventGap:
			e.gap(ev)
		case EventOutcome:
			s := e.taken[ev.Tag]
			if s == nil || s.outcome != 0 {
				e.p.t.Fatalf("tag %d has a second outcome", ev.Tag)
			}
			s.outcome = ev.Outcome
		case EventWritable:
			e.free += int(ev.N)
		default:
			e.p.t.Fatalf("event %d", ev.Kind)
		}
	}
	e.sh.Events = e.sh.Events[:0]
	if cfg := e.sh.Config; e.free != cfg.SendBuffer-e.m.buffered {
		e.p.t.Fatalf("%d bytes of the send buffer are free by the events, %d in truth", e.free, cfg.SendBuffer-e.m.buffered)
	}
}

// consume has the application done with some messages.
func (e *pipeEnd) consume(all bool) {
	for len(e.waiting) > 0 && (all || e.p.rng.IntN(3) > 0) {
		i := e.p.rng.IntN(len(e.waiting))
		e.consumed(e.waiting[i].channel, e.waiting[i].size)
		e.waiting[i] = e.waiting[len(e.waiting)-1]
		e.waiting = e.waiting[:len(e.waiting)-1]
	}
}

// tick lets a millisecond pass.
func (p *pipe) tick() {
	p.now = p.now.Add(mono.Millisecond)
	air := p.air
	p.air = nil
	for _, f := range air {
		if f.at > p.now {
			p.air = append(p.air, f)
			continue
		}
		p.ends[f.to].receive(f)
	}
	if p.dark && p.loss > 0 && p.rng.IntN(300) == 0 {
		p.lost = p.now.Add(mono.Duration(p.rng.IntN(200)) * mono.Millisecond)
	}
	if p.rng.IntN(200) == 0 { // path MTU discovery
		p.size = 600 + p.rng.IntN(900)
		for _, e := range p.ends {
			e.setFullPacket(p.size)
		}
	}
	for _, e := range p.ends {
		for range p.rng.IntN(20) {
			if e.sends > 0 {
				e.say()
			}
		}
		if e.m.deadline() <= p.now && p.rng.IntN(3) > 0 { // timers may be late
			e.handleTimeout()
			if e.m.deadline() <= p.now {
				p.t.Fatalf("handleTimeout left its deadline in the past")
			}
		}
		e.recover()
		e.consume(e.sends == 0)
		e.drain()
		if p.pack && p.rng.IntN(30) == 0 {
			e.repack()
		} else if p.pack && p.rng.IntN(30) == 0 {
			e.fork()
		}
		e.transmit(1 + p.rng.IntN(30))
		e.drain()
		checkCounts(p.t, &e.m, nil)
		if e.twin != nil {
			checkCounts(p.t, &e.twin.m, nil)
		}
	}
}

// run lets both applications send n messages and the link heal, and checks that everything reliable arrived and that nothing
// is held any more.
func (p *pipe) run(n int) {
	p.ends[0].sends, p.ends[1].sends = n, n
	for range 30_000 {
		p.tick()
		if p.ends[0].sends+p.ends[1].sends == 0 {
			p.loss, p.dup = 0, 0
			if p.quiet() {
				break
			}
		}
	}
	for range 3000 {
		p.tick() // unreliable reassembly ends
	}
	if !p.quiet() {
		p.dump()
		p.t.Fatalf("after all messages were sent the pipe does not come to rest: %d, %d unresolved, ready %d, %d",
			p.ends[0].m.unresolved, p.ends[1].m.unresolved, p.ends[0].m.ready, p.ends[1].m.ready)
	}
	for _, e := range p.ends {
		e.promises()
		e.credit()
	}
	for _, e := range p.ends {
		e.endTwin()
		e.m.abort()
		e.drain()
		e.m.release()
		e.sh.Chunks.Release(e.chunk)
		if e.sh.Pool.InUse() != 0 || e.sh.Chunks.InUse() != 0 {
			p.t.Fatalf("%d blocks and %d chunks are still in use", e.sh.Pool.InUse(), e.sh.Chunks.InUse())
		}
		for tag := range e.taken {
			if e.taken[tag].outcome == 0 {
				p.t.Fatalf("tag %d has no outcome", tag)
			}
		}
	}
}

func (p *pipe) quiet() bool {
	for _, e := range p.ends {
		if !e.m.flushed() || e.m.wantsToSend() || len(e.waiting) > 0 || e.sends > 0 || e.fly > 0 {
			return false
		}
	}
	return len(p.air) == 0
}

// dump prints where both ends stand.
func (p *pipe) dump() {
	for _, e := range p.ends {
		m := &e.m
		p.t.Logf("end %d: ready %d due %x control %x unresolved %d buffered %d limit %d reserved %d in flight %d", e.me, m.ready, m.due,
			m.control.words, m.unresolved, m.buffered, m.limit, m.reserved, e.fly)
		for i := range m.chans {
			ch := &m.chans[i]
			p.t.Logf("  channel %d mode %d: armed %x due %x waits %d sent %d of %d settled %d skip %d base %d repeats %d credit %d of %d",
				ch.number, ch.mode, ch.armed, ch.due, ch.waits, ch.sent, ch.queue.len(), ch.settled, ch.skip, ch.base, ch.repeats, ch.reserved, ch.limit)
			p.t.Logf("    next %d window %d counted %d consumed %d of %d", ch.next, ch.window.len(), ch.counted, ch.consumed, ch.advertised)
		}
	}
}
