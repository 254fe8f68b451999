package godwittest

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/udp"
)

var (
	seedCount = flag.Uint64("seeds", 300, "how many seeds TestSeeds runs")
	oneSeed   = flag.Int64("seed", -1, "run TestSeeds with this seed alone")
)

// Channels of a simulation. The first five have their default modes; messages of the last may expire.
const (
	simOrdered = iota
	simUnordered
	simLatest
	simSequenced
	simUnreliable
	simExpiring
	simChannels
)

// simHibernate is how soon the server's connections hibernate, by seed: never, at once, after a while, as everywhere.
var simHibernate = []time.Duration{-1, 2 * time.Millisecond, 30 * time.Millisecond, 0}

const (
	simHeader = 16
	simKeys   = 5
)

// stream is one direction of one channel of one connection: what was sent and what has arrived.
type stream struct {
	sent     uint32
	next     uint32            // ordered: expected; sequenced: lowest still allowed
	seen     map[uint32]bool   // unordered, unreliable
	newest   map[uint64]uint32 // latest: newest delivered, by key
	lastSent map[uint64]uint32 // latest: newest sent, by key
	arrived  uint32
}

// simConn is one connection of a simulation with both its ends.
type simConn struct {
	client, server godwit.Conn
	known          bool // the server has seen its first message
	dirs           [2][simChannels]stream
}

// simulation draws a network, a configuration and a schedule of calls from a seed and checks what the library promises.
type simulation struct {
	t     testing.TB
	n     *Net
	rng   *rand.Rand
	seed  uint64
	conns []*simConn
	ended int
}

func (s *simulation) fatal(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d at %v: %s (replay: make sim SEED=%d)",
		s.seed, s.n.Now(), fmt.Sprintf(format, args...), s.seed)
}

// drawLink draws what the network does to datagrams.
func drawLink(r *rand.Rand) Link {
	l := Link{Delay: time.Duration(1+r.IntN(80)) * time.Millisecond, Jitter: time.Duration(r.IntN(15)) * time.Millisecond}
	faults := r.Uint32()
	for i, set := range []func(){
		func() { l.Loss = r.Float64() * 0.3 },
		func() { l.Burst, l.BurstLength = r.Float64()*0.1, 2+r.Float64()*6 },
		func() { l.Reorder, l.ReorderDelay = r.Float64()*0.2, time.Duration(1+r.IntN(300))*time.Millisecond },
		func() { l.Duplicate = r.Float64() * 0.2 },
		func() { l.Corrupt = r.Float64() * 0.1 },
		func() { l.Rate, l.Queue = 50_000+r.Int64N(2_000_000), 20_000+r.Int64N(200_000) },
		func() { l.MTU = 1252 + r.IntN(250) },
	} {
		if faults>>i&1 != 0 {
			set()
		}
	}
	return l
}

// encode writes a message that says where it belongs: connection, direction, channel, number, and a pattern of them.
func encode(conn, dir, ch int, seq uint32, size int) []byte {
	b := make([]byte, simHeader+size)
	binary.BigEndian.PutUint16(b, uint16(conn))
	b[2], b[3] = byte(dir), byte(ch)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], uint32(size))
	for i := range size {
		b[simHeader+i] = byte(uint32(i)*7 + seq*31 + uint32(conn+dir+ch))
	}
	return b
}

// message checks one that arrived.
func (s *simulation) message(dir int, c godwit.Conn, m godwit.Message) {
	p := m.Payload
	if len(p) < simHeader {
		s.fatal("a message of %d bytes", len(p))
	}
	k, ch, seq := int(binary.BigEndian.Uint16(p)), int(p[3]), binary.BigEndian.Uint32(p[4:])
	if k >= len(s.conns) || int(p[2]) != dir || ch != int(m.Channel) ||
		string(p) != string(encode(k, dir, ch, seq, len(p)-simHeader)) {
		s.fatal("a damaged message on channel %d: %x", m.Channel, p[:simHeader])
	}
	conn := s.conns[k]
	if dir == 0 {
		if conn.known && conn.server != c {
			s.fatal("a message of connection %d came on another", k)
		}
		conn.server, conn.known = c, true
	} else if conn.client != c {
		s.fatal("a message for connection %d came to another", k)
	}
	s.promise(&conn.dirs[dir][ch], k, ch, seq, m.Key)
}

// promise checks a delivery against the mode of its channel.
func (s *simulation) promise(d *stream, k, ch int, seq uint32, key uint64) {
	d.arrived++
	if seq >= d.sent {
		s.fatal("connection %d, channel %d: message %d was never sent", k, ch, seq)
	}
	switch ch {
	case simOrdered:
		if seq != d.next {
			s.fatal("connection %d: ordered message %d instead of %d", k, seq, d.next)
		}
		d.next++
	case simSequenced, simExpiring:
		if seq < d.next {
			s.fatal("connection %d, channel %d: message %d after %d", k, ch, seq, d.next-1)
		}
		d.next = seq + 1
	case simLatest:
		if last, ok := d.newest[key]; ok && seq <= last {
			s.fatal("connection %d: key %d went back from %d to %d", k, key, last, seq)
		}
		d.newest[key] = seq
	default:
		if d.seen[seq] {
			s.fatal("connection %d, channel %d: message %d came twice", k, ch, seq)
		}
		d.seen[seq] = true
	}
}

// send lets one end of a connection send a message.
func (s *simulation) send(k, dir, ch, size int) {
	conn := s.conns[k]
	from := conn.client
	if dir == 1 {
		if !conn.known {
			return
		}
		from = conn.server
	}
	d := &conn.dirs[dir][ch]
	m := godwit.Message{Channel: godwit.Channel(ch), Payload: encode(k, dir, ch, d.sent, size)}
	if ch == simLatest {
		m.Key = uint64(s.rng.IntN(simKeys))
	}
	if ch == simExpiring {
		m.TTL = time.Duration(1+s.rng.IntN(400)) * time.Millisecond
	}
	switch err := from.SendMessage(m); {
	case err == nil:
		if ch == simLatest {
			d.lastSent[m.Key] = d.sent
		}
		d.sent++
	case !errors.Is(err, godwit.ErrWouldBlock):
		s.fatal("connection %d cannot send: %v", k, err)
	}
}

// act does one thing of the schedule.
func (s *simulation) act() {
	k := s.rng.IntN(len(s.conns))
	switch s.rng.IntN(40) {
	case 0:
		s.n.Rebind(s.conns[k].client)
	case 1:
		s.n.Move(s.conns[k].client)
	case 2:
		s.n.Blackout(time.Duration(s.rng.Int64N(int64(5 * time.Second))))
	case 3:
		s.n.SetLink(drawLink(s.rng))
	case 4:
		s.send(k, s.rng.IntN(2), s.rng.IntN(2), 2000+s.rng.IntN(60_000))
	default:
		for range 1 + s.rng.IntN(8) {
			s.send(k, s.rng.IntN(2), s.rng.IntN(simChannels), s.rng.IntN(1200))
		}
	}
	if s.rng.IntN(3) == 0 {
		s.n.Sleep(time.Duration(s.rng.Int64N(int64(60 * time.Millisecond))))
	}
}

// complete checks, once the network has healed, that nothing reliable is missing.
func (s *simulation) complete() {
	for k, conn := range s.conns {
		for dir := range conn.dirs {
			for ch := range conn.dirs[dir] {
				d := &conn.dirs[dir][ch]
				if (ch == simOrdered || ch == simUnordered) && d.arrived != d.sent {
					s.fatal("connection %d, direction %d, channel %d: %d of %d messages arrived", k, dir, ch, d.arrived, d.sent)
				}
				for key, seq := range d.lastSent {
					if ch == simLatest && d.newest[key] != seq {
						s.fatal("connection %d, direction %d: key %d stands at %d, newest sent %d", k, dir, key, d.newest[key], seq)
					}
				}
			}
		}
	}
}

// balanced checks that closed connections left nothing behind.
func (s *simulation) balanced() {
	for _, a := range s.n.actors {
		if st := a.shard.Stats(); st.PoolInUse != 0 || st.Connections != 0 {
			s.fatal("a shard holds %d pool blocks and %d connections after the end", st.PoolInUse, st.Connections)
		}
	}
}

// simulate runs a seed and returns a hash of all its datagrams.
func simulate(t testing.TB, seed uint64) uint64 {
	digest := fnv.New64a()
	rng := rand.New(rand.NewPCG(seed, 7))
	Run(t, seed, Link{Delay: 5 * time.Millisecond}, func(t testing.TB, n *Net) {
		n.tap = func(from, to udp.Addr, data []byte) {
			var now [8]byte
			binary.BigEndian.PutUint64(now[:], uint64(n.now))
			digest.Write(now[:])
			digest.Write(from[:])
			digest.Write(to[:])
			digest.Write(data)
		}
		s := &simulation{t: t, n: n, rng: rng, seed: seed}
		closing := false
		ended := func(c godwit.Conn, err error) {
			if s.ended++; !closing {
				s.fatal("a connection ended: %v", err)
			}
		}
		server := n.Listen(&godwit.Config{
			Shards:  1 + int(seed%3),
			Tuning:  godwit.Tuning{Hibernate: simHibernate[seed%uint64(len(simHibernate))]},
			Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) { s.message(0, c, m) }, Close: ended},
		})
		client := &godwit.Config{
			Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) { s.message(1, c, m) }, Close: ended},
		}
		for k := range 2 + rng.IntN(8) {
			conn := &simConn{}
			for dir := range conn.dirs {
				for ch := range conn.dirs[dir] {
					conn.dirs[dir][ch] = stream{seen: map[uint32]bool{}, newest: map[uint64]uint32{}, lastSent: map[uint64]uint32{}}
				}
			}
			s.conns = append(s.conns, conn)
			conn.client = n.Dial(server, client)
			s.send(k, 0, simOrdered, 10)
		}
		n.SetLink(drawLink(rng))
		for range 60 + rng.IntN(140) {
			s.act()
		}
		// A server that was left behind by a rebinding while the link was dark hears from its client again when that sends
		// its keep-alive, at most 20 s later.
		n.SetLink(Link{Delay: 10 * time.Millisecond})
		n.Sleep(28 * time.Second)
		s.complete()
		closing = true
		for _, conn := range s.conns {
			_ = conn.client.Close()
		}
		n.Sleep(10 * time.Second)
		if s.ended != 2*len(s.conns) {
			s.fatal("%d of %d ends were told of the close", s.ended, 2*len(s.conns))
		}
		s.balanced()
		simWakes += server.Stats().Wakes
	})
	return digest.Sum64()
}

// simWakes counts hibernating connections that were woken, in all simulations so far.
var simWakes uint64

func TestSeeds(t *testing.T) {
	if *oneSeed >= 0 {
		a, b := simulate(t, uint64(*oneSeed)), simulate(t, uint64(*oneSeed))
		if a != b {
			t.Fatalf("seed %d: two runs sent different bytes", *oneSeed)
		}
		return
	}
	for seed := range *seedCount {
		sum := simulate(t, seed)
		if seed%20 == 0 && sum != simulate(t, seed) {
			t.Fatalf("seed %d: two runs sent different bytes", seed)
		}
	}
	if simWakes == 0 && *seedCount >= 20 {
		t.Error("no connection has hibernated and woken")
	}
	t.Logf("%d hibernating connections were woken", simWakes)
}
