package godwit_test

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

const (
	floodRate    = 100_000 // datagrams a second
	floodShort   = 2 * time.Second
	floodEnv     = "GODWIT_FLOOD" // a duration: the long form, which also asserts the rate
	floodConns   = 100
	floodRecords = 1 << 10 // datagrams of a live client that are kept
	floodSources = 16      // sockets that the flood comes from
)

// A recorder is a relay between a client and a server that keeps what the client has sent lately.
type recorder struct {
	front, back *net.UDPConn
	mu          sync.Mutex
	kept        [][]byte
	next        int
	running     sync.WaitGroup
}

func newRecorder(t *testing.T, server *net.UDPAddr) *recorder {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp4", nil, server)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{front: front, back: back}
	var client atomic.Value
	r.running.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			client.Store(from)
			r.keep(buf[:n])
			_, _ = back.Write(buf[:n]) // a relay may lose what it likes
		}
	})
	r.running.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			if to, ok := client.Load().(netip.AddrPort); ok {
				_, _ = front.WriteToUDPAddrPort(buf[:n], to)
			}
		}
	})
	t.Cleanup(func() {
		front.Close()
		back.Close()
		r.running.Wait()
	})
	return r
}

func (r *recorder) keep(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) < floodRecords {
		r.kept = append(r.kept, append([]byte(nil), b...))
		return
	}
	// The first ones, those of the handshake, stay.
	at := 32 + r.next%(floodRecords-32)
	r.next++
	r.kept[at] = append(r.kept[at][:0], b...)
}

// sample copies one of the kept datagrams to dst.
func (r *recorder) sample(rng *rand.Rand, dst []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(dst, r.kept[rng.IntN(len(r.kept))]...)
}

// A flood makes datagrams that no server should see.
type flood struct {
	rng      *rand.Rand
	rec      *recorder
	server   udp.Addr
	noise    []byte
	initials [][]byte // that open, and hold noise where a ClientHello should be
	engines  []*udp.Engine
	batch    udp.WriteBatch
	slots    [floodEntries][]byte
	counts   [floodEntries]uint64 // datagrams of a slot
	sent     uint64
}

// A batch of the flood is single datagrams and a few trains of equal ones side by side, which a sender with segmentation offload
// makes: it takes all of a CPU to send 100,000 datagrams a second one by one, and another one has to receive them.
const (
	floodEntries = 32
	floodTrain   = 12
)

func newFlood(t *testing.T, rec *recorder, server udp.Addr) *flood {
	t.Helper()
	f := &flood{rng: rand.New(rand.NewPCG(1, 2)), rec: rec, server: server, noise: make([]byte, 1<<20)}
	source := rand.NewChaCha8([32]byte{3})
	_, _ = source.Read(f.noise) // it cannot fail
	for range 256 {
		f.initials = append(f.initials, f.sealedInitial())
	}
	for i := range floodSources { // each in a network of its own: what one network may begin is bounded apart
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i), 1}), 0)
		e, err := udp.Open(udp.Config{Client: true, Shared: true, Addr: from})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		f.engines = append(f.engines, e)
	}
	for i := range f.slots {
		f.slots[i] = make([]byte, 0, floodTrain*4096)
	}
	return f
}

// some returns n random bytes.
func (f *flood) some(n int) []byte {
	at := f.rng.IntN(len(f.noise) - n)
	return f.noise[at : at+n]
}

// initial begins an Initial of 1,200 bytes.
func (f *flood) initial(dst, token []byte) (b []byte, pnOff int) {
	b, lengthOff := wire.AppendLong(dst, wire.PacketInitial, wire.Version, f.some(8), f.some(8), token, 2)
	pnOff = len(b)
	b = append(b, f.some(wire.MinInitialSize-len(b))...)
	wire.SetLength(b, lengthOff, len(b)-pnOff)
	return b, pnOff
}

// sealedInitial returns an Initial that the server can open: its keys follow from its connection ID, so anyone can make one.
func (f *flood) sealedInitial() []byte {
	b, pnOff := f.initial(nil, nil)
	var h wire.LongHeader
	if !wire.ParseLong(b, &h) {
		panic("BUG: the Initial does not parse")
	}
	keys := protect.NewKeys()
	keys.InstallInitial(h.Dst, true)
	payload := wire.AppendPN(b[:pnOff], 0, 2)
	payload = wire.AppendCrypto(payload, 0, f.some(300))
	clear(b[len(payload) : len(b)-wire.TagLen])
	var scratch protect.Scratch
	scratch.Seal(keys, b, &wire.Outgoing{PNOff: int32(pnOff), End: int32(len(b)), Level: wire.LevelInitial, PNLen: 2, TagLen: wire.TagLen})
	return b
}

// next makes one datagram in dst.
func (f *flood) next(dst []byte) []byte {
	switch kind := f.rng.IntN(100); {
	case kind < 20: // noise
		return append(dst, f.some(1+f.rng.IntN(1500))...)
	case kind < 35: // cut short
		b := f.rec.sample(f.rng, dst)
		return b[:1+f.rng.IntN(len(b))]
	case kind < 60: // a few bits wrong
		b := f.rec.sample(f.rng, dst)
		for range 1 + f.rng.IntN(8) {
			b[f.rng.IntN(len(b))] ^= 1 << f.rng.IntN(8)
		}
		return b
	case kind < 70: // replayed, from an address that is not the client's
		return f.rec.sample(f.rng, dst)
	case kind < 75: // two in one
		b := f.rec.sample(f.rng, dst)
		return f.rec.sample(f.rng, b)
	case kind < 85: // short headers of unknown connections
		b := append(dst, wire.FixedBit|byte(f.rng.IntN(64)))
		return append(b, f.some(f.rng.IntN(1400))...)
	case kind < 92: // short headers of a live connection before noise
		b := f.rec.sample(f.rng, dst)
		return append(b[:min(len(b), 13)], f.some(f.rng.IntN(1400))...)
	case kind < 95: // Initials of noise
		b, _ := f.initial(dst, nil)
		return b
	case kind < 98: // Initials with a token
		b, _ := f.initial(dst, f.some(f.rng.IntN(200)))
		return b
	case kind < 99: // a version that does not exist
		b, _ := f.initial(dst, nil)
		binary.BigEndian.PutUint32(b[len(dst)+1:], f.rng.Uint32())
		return b
	default:
		return append(dst, f.initials[f.rng.IntN(len(f.initials))]...)
	}
}

// fill makes slot i: one datagram, or a train of them, cut or filled up with noise to one length.
func (f *flood) fill(i int) udp.Out {
	if f.rng.IntN(4) != 0 {
		f.slots[i], f.counts[i] = f.next(f.slots[i][:0]), 1
		return udp.Out{Data: f.slots[i], Remote: f.server}
	}
	size := 1 + f.rng.IntN(wire.MinInitialSize)
	b := f.slots[i][:0]
	for range floodTrain {
		one := f.next(b[len(b):])
		if missing := size - len(one); missing > 0 {
			copy(one[len(one):size], f.some(missing))
		}
		b = b[:len(b)+size] // where one lies already
	}
	f.slots[i], f.counts[i] = b, floodTrain
	return udp.Out{Data: b, Segment: size, Remote: f.server}
}

// run sends at the given rate until the time is over. It is its own clock: what it could not send in time it sends later.
func (f *flood) run(rate float64, d time.Duration) {
	start := time.Now()
	for {
		elapsed := time.Since(start)
		if elapsed >= d {
			return
		}
		due := uint64(rate * elapsed.Seconds())
		if due < f.sent+uint64(len(f.slots)) {
			time.Sleep(500 * time.Microsecond)
			continue
		}
		f.batch.Outs = f.batch.Outs[:0]
		for i := range f.slots {
			f.batch.Outs = append(f.batch.Outs, f.fill(i))
		}
		e := f.engines[f.rng.IntN(len(f.engines))]
		n, _ := e.Write(&f.batch)
		for _, count := range f.counts[:n] {
			f.sent += count
		}
		if f.rng.IntN(8) == 0 { // damage that seems to come from the live client itself
			_, _ = f.rec.back.Write(f.next(f.slots[0][:0]))
		}
	}
}

// live is checked traffic on many connections: every message names its connection and its place, and is echoed.
type live struct {
	conns     []godwit.Conn
	sent      []uint64
	back      []atomic.Uint64
	faults    atomic.Uint64 // messages that were changed, repeated or out of their order, at either end
	closed    atomic.Uint64
	firstDead atomic.Pointer[string]
}

// liveMessage writes message seq of connection k to b.
func liveMessage(b []byte, k int, seq uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b[:0], uint32(k))
	b = binary.LittleEndian.AppendUint64(b, seq)
	for range seq % 40 {
		b = binary.LittleEndian.AppendUint64(b, seq*0x9e3779b97f4a7c15+uint64(len(b)))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// take checks a message against what has to come next.
func (l *live) take(p []byte, want uint64) (k int, ok bool) {
	n := len(p) - 4
	if n < 12 || crc32.ChecksumIEEE(p[:n]) != binary.LittleEndian.Uint32(p[n:]) || binary.LittleEndian.Uint64(p[4:]) != want {
		l.faults.Add(1)
		return 0, false
	}
	return int(binary.LittleEndian.Uint32(p)), true
}

// serverHandler echoes. The tag of a connection is the number that has to come next.
func (l *live) serverHandler() godwit.Handler {
	return godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
		if _, ok := l.take(m.Payload, c.Tag()); ok {
			c.SetTag(c.Tag() + 1)
		}
		if c.Send(m.Channel, m.Payload) != nil {
			l.faults.Add(1)
		}
	}}
}

func (l *live) clientHandler() godwit.Handler {
	return godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) {
			if k, ok := l.take(m.Payload, l.back[c.Tag()].Load()); ok && k == int(c.Tag()) {
				l.back[k].Add(1)
			} else if ok {
				l.faults.Add(1)
			}
		},
		Close: func(_ godwit.Conn, err error) {
			l.closed.Add(1)
			text := err.Error()
			l.firstDead.CompareAndSwap(nil, &text)
		},
	}
}

// connect dials n connections, the first one through the recorder.
func (l *live) connect(t *testing.T, n int, server, recorder string) {
	t.Helper()
	l.conns, l.sent, l.back = make([]godwit.Conn, n), make([]uint64, n), make([]atomic.Uint64, n)
	cfg := &godwit.Config{Handler: l.clientHandler()}
	for k := range l.conns {
		addr := server
		if k == 0 {
			addr = recorder
		}
		c, err := godwit.Dial(deadline(t, 20*time.Second), addr, cfg)
		if err != nil {
			t.Fatalf("connection %d: %v", k, err)
		}
		c.SetTag(uint64(k))
		l.conns[k] = c
	}
}

// send sends on every connection every interval until the time is over.
func (l *live) send(t *testing.T, interval, d time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var buf []byte
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		for k, c := range l.conns {
			buf = liveMessage(buf, k, l.sent[k])
			if err := c.SendWait(t.Context(), godwit.Message{Payload: buf}); err != nil {
				t.Errorf("connection %d: %v", k, err)
				return
			}
			l.sent[k]++
		}
	}
}

// close ends the connections.
func (l *live) close() {
	for _, c := range l.conns {
		_ = c.CloseWithError(0, "")
	}
	for _, c := range l.conns {
		<-c.Done()
	}
}

// finish waits until every message is back and reports what went wrong.
func (l *live) finish(t *testing.T, patience time.Duration) (total uint64) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		missing := 0
		total = 0
		for k := range l.conns {
			total += l.sent[k]
			if l.back[k].Load() < l.sent[k] {
				missing++
			}
		}
		if missing == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d of %d connections miss messages", missing, len(l.conns))
			for k, c := range l.conns {
				if n := l.back[k].Load(); n < l.sent[k] {
					t.Logf("%v has %d of %d back, %v, %v", c, n, l.sent[k], c.State(), c.Err())
				}
			}
			break
		}
	}
	if n := l.faults.Load(); n > 0 {
		t.Errorf("%d messages were changed, repeated or out of order", n)
	}
	if n := l.closed.Load(); n > 0 {
		t.Errorf("%d live connections ended, the first one with %s", n, *l.firstDead.Load())
	}
	return total
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestFloodLeavesLiveConnectionsAlone(t *testing.T) {
	d, long := floodShort, false
	if text := os.Getenv(floodEnv); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", floodEnv, err)
		}
		long = true
	}
	l := new(live)
	e := listen(t, godwit.Config{Handler: l.serverHandler(), Shards: 1})
	rec := newRecorder(t, net.UDPAddrFromAddrPort(e.Addr()))
	l.connect(t, floodConns, e.Addr().String(), rec.front.LocalAddr().String())
	l.send(t, 10*time.Millisecond, 300*time.Millisecond) // something to record
	l.finish(t, 10*time.Second)
	time.Sleep(200 * time.Millisecond)
	defer l.close()
	heap, before, goroutines := heapInUse(), e.Stats(), runtime.NumGoroutine()
	clientBefore := l.conns[0].Endpoint().Stats()

	f := newFlood(t, rec, udp.AddrFrom(e.Addr()))
	var work sync.WaitGroup
	work.Go(func() { f.run(floodRate, d) })
	stop := make(chan struct{})
	var mostHalfOpen, mostConns int
	var mostHeld int64
	work.Go(func() {
		for {
			st := e.Stats()
			mostHalfOpen, mostConns, mostHeld = max(mostHalfOpen, st.HalfOpen), max(mostConns, st.Connections), max(mostHeld, st.PoolHeld)
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	l.send(t, 10*time.Millisecond, d)
	close(stop)
	work.Wait()
	total := l.finish(t, 20*time.Second)
	time.Sleep(200 * time.Millisecond)

	after := e.Stats()
	arrived := after.DatagramsReceived - before.DatagramsReceived - (l.conns[0].Endpoint().Stats().DatagramsSent - clientBefore.DatagramsSent)
	rate := float64(f.sent) / d.Seconds()
	t.Logf("flood %d datagrams (%.0f/s), %d reached the server, %d overflowed its socket; %d live messages; half open at most %d, connections %d, pool %d B",
		f.sent, rate, arrived, after.KernelDrops-before.KernelDrops, total, mostHalfOpen, mostConns, mostHeld)
	floodCounted(t, &before, &after, arrived)
	floodBounded(t, mostHalfOpen, mostConns, mostHeld)
	if rate < 0.95*floodRate && long {
		t.Errorf("the flood reached %.0f datagrams a second of %d: too little of the machine was free for this test to say anything", rate, floodRate)
	}

	// What handshakes that lead nowhere hold is gone when their time is over.
	waitFor(t, 15*time.Second, "the server is as before", func() bool {
		st := e.Stats()
		return st.HalfOpen == 0 && st.Connections == floodConns && runtime.NumGoroutine() <= goroutines+2
	})
	if grown := heapInUse() - heap; grown > 6<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// floodCounted checks that the counters say what became of the flood.
func floodCounted(t *testing.T, before, after *godwit.Stats, arrived uint64) {
	t.Helper()
	strays := after.Strays - before.Strays
	malformed := after.Malformed - before.Malformed
	failed := after.FailedPackets - before.FailedPackets
	repeated := after.DuplicatePackets - before.DuplicatePackets
	retries := after.RetriesSent + after.RetriesSuppressed - before.RetriesSent - before.RetriesSuppressed
	full := after.HalfOpenFull - before.HalfOpenFull
	t.Logf("strays %d, malformed %d, not authentic %d, repeated %d, retries %d, half-open table full %d, resets %d",
		strays, malformed, failed, repeated, retries, full, after.ResetsSent-before.ResetsSent)
	if strays == 0 || malformed == 0 || failed == 0 || repeated == 0 {
		t.Error("one of the counters stands still")
	}
	if sum := strays + malformed + failed + repeated + retries + full; float64(sum) < 0.8*float64(arrived) {
		t.Errorf("the counters tell of %d of the %d datagrams that arrived", sum, arrived)
	}
	if n := after.Panics - before.Panics; n > 0 {
		t.Errorf("%d panics", n)
	}
}

// floodBounded checks what the flood may hold while it lasts.
func floodBounded(t *testing.T, halfOpen, conns int, held int64) {
	t.Helper()
	const table = 256 // Tuning.HalfOpen's default, one shard
	if halfOpen > table || conns > floodConns+table {
		t.Errorf("%d half open in a table of %d; %d connections of which %d are live", halfOpen, table, conns, floodConns)
	}
	if held > 16<<20 {
		t.Errorf("the buffers have grown to %d bytes", held)
	}
}
