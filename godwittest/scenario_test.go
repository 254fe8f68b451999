package godwittest_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

// A scenario is drawn from a seed: links, clients and what they send. It keeps the promises of each channel's mode in mind and checks them.
type scenario struct {
	t       testing.TB
	n       *godwittest.Net
	rng     *rand.Rand
	server  *godwit.Endpoint
	clients []*player
	byTag   map[uint64]*player
	nextTag uint64
}

// player is one connection, seen from both ends. What each end sends carries its channel's running number.
type player struct {
	conn, peer godwit.Conn
	up, down   flow // client to server, server to client
	closed     bool
}

// flow is one direction of one connection.
type flow struct {
	sent     [5]uint32 // messages sent a channel
	next     uint32    // ordered: the number expected
	seen     map[uint32]bool
	keys     map[uint64]uint32 // latest: newest number seen of each key, plus one
	wanted   map[uint64]uint32 // ... and sent
	newest   uint32            // sequenced: number last seen plus one
	received int
}

func newFlow() flow {
	return flow{seen: map[uint32]bool{}, keys: map[uint64]uint32{}, wanted: map[uint64]uint32{}}
}

// send sends a message of a random channel and size.
func (s *scenario) send(c godwit.Conn, f *flow) {
	ch := godwit.Channel(s.rng.IntN(5))
	size := 8
	switch s.rng.IntN(10) {
	case 0:
		size += s.rng.IntN(20_000)
	case 1, 2, 3:
		size += s.rng.IntN(1500)
	default:
		size += s.rng.IntN(100)
	}
	key := uint64(s.rng.IntN(5))
	p := make([]byte, size)
	binary.LittleEndian.PutUint32(p, f.sent[ch])
	binary.LittleEndian.PutUint32(p[4:], uint32(size))
	m := godwit.Message{Channel: ch, Payload: p}
	if ch == godwit.LatestChannel {
		m.Key = key
	}
	if err := c.SendMessage(m); err != nil {
		if !errors.Is(err, godwit.ErrWouldBlock) && !errors.Is(err, net.ErrClosed) {
			s.t.Fatalf("send: %v", err)
		}
		return
	}
	f.sent[ch]++
	if ch == godwit.LatestChannel {
		f.wanted[key] = f.sent[ch]
	}
}

// receive checks a message against the promise of its channel.
func (s *scenario) receive(f *flow, m godwit.Message) {
	f.received++
	if len(m.Payload) < 8 || binary.LittleEndian.Uint32(m.Payload[4:]) != uint32(len(m.Payload)) {
		s.t.Fatalf("channel %d: a message of %d bytes is damaged", m.Channel, len(m.Payload))
	}
	n := binary.LittleEndian.Uint32(m.Payload)
	if n >= f.sent[m.Channel] {
		s.t.Fatalf("channel %d: message %d was never sent", m.Channel, n)
	}
	switch m.Channel {
	case godwit.OrderedChannel:
		if n != f.next {
			s.t.Fatalf("ordered: message %d came instead of %d", n, f.next)
		}
		f.next++
	case godwit.UnorderedChannel:
		if f.seen[n] {
			s.t.Fatalf("unordered: message %d came twice", n)
		}
		f.seen[n] = true
	case godwit.LatestChannel:
		if n < f.keys[m.Key] {
			s.t.Fatalf("latest: message %d of key %d came after %d", n, m.Key, f.keys[m.Key]-1)
		}
		f.keys[m.Key] = n + 1
	case godwit.SequencedChannel:
		if n < f.newest {
			s.t.Fatalf("sequenced: message %d came after %d", n, f.newest-1)
		}
		f.newest = n + 1
	}
}

// settled checks that everything reliable has arrived.
func (s *scenario) settled(name string, f *flow) {
	if f.next != f.sent[0] {
		s.t.Errorf("%s: %d of %d ordered messages arrived", name, f.next, f.sent[0])
	}
	if len(f.seen) != int(f.sent[1]) {
		s.t.Errorf("%s: %d of %d unordered messages arrived", name, len(f.seen), f.sent[1])
	}
	for key, want := range f.wanted {
		if f.keys[key] != want {
			s.t.Errorf("%s: the newest message of key %d is %d, %d arrived", name, key, want-1, int(f.keys[key])-1)
		}
	}
}

func (s *scenario) link() godwittest.Link {
	l := godwittest.Link{Delay: time.Duration(s.rng.IntN(50)) * time.Millisecond}
	if s.rng.IntN(2) == 0 {
		l.Jitter = time.Duration(s.rng.IntN(30)) * time.Millisecond
	}
	if s.rng.IntN(2) == 0 {
		l.Loss = s.rng.Float64() * 0.2
	}
	if s.rng.IntN(4) == 0 {
		l.Burst, l.BurstLength = s.rng.Float64()*0.1, 1+s.rng.Float64()*8
	}
	if s.rng.IntN(3) == 0 {
		l.Reorder, l.ReorderDelay = s.rng.Float64()*0.2, time.Duration(s.rng.IntN(100))*time.Millisecond
	}
	if s.rng.IntN(3) == 0 {
		l.Duplicate = s.rng.Float64() * 0.2
	}
	if s.rng.IntN(4) == 0 {
		l.Corrupt = s.rng.Float64() * 0.05
	}
	return l
}

func (s *scenario) start() {
	s.server = s.n.Listen(&godwit.Config{
		Shards: 1 + s.rng.IntN(3), SendBuffer: 64 << 10, ReceiveBuffer: 96 << 10, MaxMessageSize: 64 << 10,
		Handler: godwit.Handler{
			Open: func(c godwit.Conn) error {
				s.nextTag++
				c.SetTag(s.nextTag)
				return nil
			},
			Message: func(c godwit.Conn, m godwit.Message) {
				p := s.byTag[c.Tag()]
				if p == nil { // the first message says whose connection it is
					p = s.clients[binary.LittleEndian.Uint32(m.Payload)]
					p.peer = c
					s.byTag[c.Tag()] = p
					return
				}
				s.receive(&p.up, m)
			},
		},
	})
	for i := range 1 + s.rng.IntN(6) {
		p := &player{up: newFlow(), down: newFlow()}
		s.clients = append(s.clients, p)
		var err error
		for range 5 {
			p.conn, err = s.n.TryDial(s.server, &godwit.Config{
				SendBuffer: 64 << 10, ReceiveBuffer: 96 << 10, MaxMessageSize: 64 << 10,
				Handler: godwit.Handler{Message: func(_ godwit.Conn, m godwit.Message) { s.receive(&p.down, m) }},
			})
			if err == nil {
				break
			}
		}
		if err != nil {
			s.t.Fatalf("client %d: %v", i, err)
		}
		if err := p.conn.Send(5, binary.LittleEndian.AppendUint32(nil, uint32(i))); err != nil {
			s.t.Fatal(err)
		}
	}
	s.n.Until(func() bool {
		for _, p := range s.clients {
			if p.peer.Endpoint() == nil && p.conn.State() == godwit.StateOpen {
				return false
			}
		}
		return true
	})
}

// act does something at random.
func (s *scenario) act() {
	p := s.clients[s.rng.IntN(len(s.clients))]
	if err := p.conn.Err(); err != nil {
		s.t.Fatalf("a client's connection ended at %v: %v", s.n.Now(), err)
	}
	switch s.rng.IntN(40) {
	case 0:
		s.n.Blackout(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
	case 1:
		s.n.Rebind(p.conn)
	case 2:
		s.n.Move(p.conn)
	case 3:
		s.n.SetLink(s.link())
	default:
		for range s.rng.IntN(20) {
			s.send(p.conn, &p.up)
			s.send(p.peer, &p.down)
		}
	}
	s.n.Sleep(time.Duration(s.rng.IntN(100)) * time.Millisecond)
}

func runScenario(t *testing.T, seed uint64) {
	defer func() {
		if t.Failed() {
			t.Logf("that was seed %d", seed)
		}
	}()
	s := &scenario{rng: rand.New(rand.NewPCG(seed, 1)), byTag: map[uint64]*player{}}
	link := s.link()
	calm := link
	calm.Burst = 0 // few datagrams are sent to begin with: a burst of losses could take half a minute
	godwittest.Run(t, seed, calm, func(t testing.TB, n *godwittest.Net) {
		s.t, s.n = t, n
		s.start()
		n.SetLink(link)
		for range 60 {
			s.act()
		}
		n.SetLink(godwittest.Link{Delay: 10 * time.Millisecond}) // the faults heal
		n.Sleep(30 * time.Second)
		for i, p := range s.clients {
			if err := p.conn.Err(); err != nil {
				t.Errorf("client %d: %v", i, err)
				continue
			}
			if err := p.peer.Err(); err != nil {
				t.Errorf("server's end %d: %v", i, err)
				continue
			}
			s.settled("up", &p.up)
			s.settled("down", &p.down)
		}
	})
}

func TestScenariosKeepEveryPromise(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		runScenario(t, seed)
		if t.Failed() {
			return
		}
	}
}
