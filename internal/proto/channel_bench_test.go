package proto

import (
	"testing"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// A lane carries messages from one end's channels to another's without loss, and allocates nothing itself.
type lane struct {
	from, to   messages
	fsh, tsh   *Shared
	log        sentLog
	now        mono.Time
	buf        []byte
	lost       int // every so many packets one is lost; 0 = none
	packets    int
	chunk      mem.ChunkID
	fill       int
	spare      [][]byte
	msg        Message
	delivered  int
	bytesTaken int
}

func newLane(cfg *Config) *lane {
	pages := func(n int) []byte { return make([]byte, n) }
	l := &lane{now: mono.Time(mono.Second), buf: make([]byte, 1500)}
	l.fsh = &Shared{Config: cfg, Pool: mem.NewPool(pages, 0), Chunks: new(mem.Chunks)}
	l.tsh = &Shared{Config: cfg, Pool: mem.NewPool(pages, 0), Chunks: new(mem.Chunks)}
	l.from.init(l.fsh, 1)
	l.to.init(l.tsh, 2)
	l.from.setPeerParams(&cfg.Params)
	l.to.setPeerParams(&cfg.Params)
	return l
}

func laneConfig() *Config {
	cfg := pipeConfig()
	cfg.Params = wire.DefaultParams()
	cfg.MaxMessageSize = 256 << 10
	cfg.SendBuffer = 4 << 20
	cfg.ReassemblyBytes = 1 << 20
	return cfg
}

// queue sends a message that lies in a chunk.
func (l *lane) queue(channel uint16, key uint64, size int) SendResult {
	if l.chunk == 0 || l.fill+size > mem.ChunkSize {
		l.fsh.Chunks.Release(l.chunk)
		if len(l.spare) == 0 {
			l.spare = l.fsh.Chunks.TakeSpare(l.spare)
		}
		var b []byte
		if n := len(l.spare); n > 0 {
			b, l.spare = l.spare[n-1][:mem.ChunkSize], l.spare[:n-1]
		} else {
			b = make([]byte, mem.ChunkSize)
		}
		l.chunk, l.fill = l.fsh.Chunks.Add(b), 0
	}
	l.msg = Message{
		Channel: channel, Key: key, Chunk: l.chunk, Offset: uint32(l.fill),
		Payload: l.fsh.Chunks.Bytes(l.chunk)[l.fill : l.fill+size],
	}
	l.fill += size
	return l.from.send(l.now, &l.msg)
}

// cross builds packets while there is something to say, has them received and acknowledged or lost, and the messages consumed. The
// way back is without loss.
func (l *lane) cross() {
	for l.from.wantsToSend() || l.to.wantsToSend() {
		l.one(&l.from, &l.to, l.tsh, l.lost)
		l.one(&l.to, &l.from, l.fsh, 0)
	}
	l.fsh.Events = l.fsh.Events[:0]
}

func (l *lane) one(from, to *messages, tsh *Shared, lost int) {
	b := from.appendFrames(l.now, l.buf[:0], 1400, &l.log)
	if len(b) == 0 {
		return
	}
	l.packets++
	gone := lost > 0 && l.packets%lost == 0
	for f := b; len(f) > 0 && !gone; {
		n, code := to.handleFrame(l.now, uint64(f[0]), f[1:])
		if n < 0 {
			panic(code.String())
		}
		f = f[1+n:]
	}
	for i := range tsh.Events {
		e := &tsh.Events[i]
		if e.Kind == EventMessage {
			l.delivered++
			l.bytesTaken += len(e.Payload)
			to.consumed(l.now, e.Channel, len(e.Payload))
			tsh.Pool.Put(e.Ref)
		}
	}
	tsh.Events = tsh.Events[:0]
	n := l.log.records.len()
	for i := range n {
		if r := l.log.records.at(i); gone {
			from.onLost(l.now, r)
		} else {
			from.onAcked(l.now, r)
		}
	}
	l.log.records.popFront(n)
}

func benchmarkLane(b *testing.B, channel uint16, size, burst, lost int) {
	l := newLane(laneConfig())
	l.lost = lost
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for n := 0; n < b.N; n += burst {
		for i := range burst {
			if r := l.queue(channel, uint64(i), size); r != SendOK {
				b.Fatalf("send answered %d", r)
			}
		}
		l.cross()
	}
}

// The whole way of a message through this room on both ends: send, appendFrames, handleFrame, consumed, onAcked.
func BenchmarkMessageOrdered64(b *testing.B)      { benchmarkLane(b, 0, 64, 64, 0) }
func BenchmarkMessageOrdered64Loss1(b *testing.B) { benchmarkLane(b, 0, 64, 64, 100) }
func BenchmarkMessageOrdered1(b *testing.B)       { benchmarkLane(b, 0, 64, 1, 0) }
func BenchmarkMessageUnordered64(b *testing.B)    { benchmarkLane(b, 1, 64, 64, 0) }
func BenchmarkMessageLatest64(b *testing.B)       { benchmarkLane(b, 2, 64, 64, 0) }
func BenchmarkMessageSequenced64(b *testing.B)    { benchmarkLane(b, 3, 64, 64, 0) }
func BenchmarkMessageUnreliable64(b *testing.B)   { benchmarkLane(b, 4, 64, 64, 0) }
func BenchmarkMessage64K(b *testing.B)            { benchmarkLane(b, 0, 60<<10, 4, 0) }

// BenchmarkMessageSend is what the shard pays for each message that it takes from its mailbox.
func BenchmarkMessageSend(b *testing.B) {
	l := newLane(laneConfig())
	for n := 0; n < b.N; n += 64 {
		for range 64 {
			l.queue(0, 0, 64)
		}
		b.StopTimer()
		l.cross()
		b.StartTimer()
	}
}
