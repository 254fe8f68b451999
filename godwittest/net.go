package godwittest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mono/entropy"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
)

// Link says what the network does to each datagram, in each direction. It is the same as that of godwit.Config's Impair, which makes a
// real network worse.
type Link = godwit.Link

// Options vary a run. The zero value is what Run uses.
type Options struct {
	// TLS runs real TLS handshakes. The run is then not the same each time.
	TLS bool
	// Limit is the virtual time after which a wait is given up; zero means an hour.
	Limit time.Duration
}

// Net is a simulated network and everything on it. Its methods belong to the goroutine of the test, but for one of Bubble.
type Net struct {
	t  testing.TB
	mu sync.Mutex // in a bubble, where several goroutines use what follows

	mem   *udp.MemNet
	rng   entropy.Source
	now   mono.Time
	limit time.Duration
	link  impair.Config
	dark  []impair.Blackout
	links map[[2]udp.Addr]*impair.Link

	sim        *shard.Simulation
	actors     []*actor
	endpoints  []*godwit.Endpoint
	nextHost   byte
	nextPort   uint16
	nextClient uint16
	running    bool   // a step is under way
	home       uint64 // the goroutine that everything runs on
	later      []func()
	verdicts   []impair.Verdict
	steps      uint64

	// Of a bubble.
	began   time.Time // zero outside
	sockets map[*waitingSocket]bool
	dialed  []godwit.Conn
	timer   *time.Timer // delivers what arrives next
	timerAt mono.Time

	tap func(from, to udp.Addr, data []byte) // sees every datagram sent, for tests of determinism
}

// actor is a shard that is stepped.
type actor struct {
	shard  *shard.Shard
	socket *udp.MemEndpoint
	due    mono.Time
}

// Run calls f with a network whose links all behave as link says and whose randomness follows from seed. When f has returned, or has
// ended the test, what it has left open is closed. f runs once, on the goroutine of the caller, with the caller's t: for several
// seeds, call Run in a loop. If the test has failed when f is over, the seed is logged.
func Run(t testing.TB, seed uint64, link Link, f func(t testing.TB, n *Net)) {
	t.Helper()
	RunOptions(t, seed, link, Options{}, f)
}

// RunOptions is Run with options.
func RunOptions(t testing.TB, seed uint64, link Link, o Options, f func(t testing.TB, n *Net)) {
	t.Helper()
	n := newNet(t, seed, link, o)
	n.sim = &shard.Simulation{
		Listen: n.listen, Client: n.client, Now: func() mono.Time { return n.now }, Seed: n.rng.Fork,
		Start: n.start, Stop: n.stop, Wait: n.wait, Later: func(fn func()) { n.later = append(n.later, fn) }, RealTLS: o.TLS,
	}
	n.home = shard.Goroutine()
	defer n.end()
	defer n.sayFailed(seed, t.Failed())
	f(t, n)
}

// newNet makes a network without anything on it.
func newNet(t testing.TB, seed uint64, link Link, o Options) *Net {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	n := &Net{
		t: t, rng: entropy.New(key), now: epoch, limit: o.Limit, link: impair.Params(link).Config(),
		links: make(map[[2]udp.Addr]*impair.Link), sockets: make(map[*waitingSocket]bool),
	}
	if n.limit <= 0 {
		n.limit = time.Hour
	}
	n.mem = udp.NewMemNet(n.path)
	n.mem.Advance(n.now)
	return n
}

// sayFailed logs the seed if the test has failed, and had not before.
func (n *Net) sayFailed(seed uint64, before bool) {
	if !before && n.t.Failed() {
		n.t.Logf("godwittest: it failed with seed %d, at %v of virtual time", seed, n.Now())
	}
}

// end closes what the test has left open.
func (n *Net) end() {
	for _, e := range n.endpoints {
		_ = e.Close() // it may be closed already
	}
	n.Sleep(0)
}

// Config returns a copy of cfg that belongs to this network, for godwit.Listen and godwit.Dial; nil is the zero Config.
func (n *Net) Config(cfg *godwit.Config) *godwit.Config {
	var c godwit.Config
	if cfg != nil {
		c = *cfg
	}
	c.Tuning.Simulation = n.sim
	if c.Shards == 0 {
		c.Shards = 1
	}
	return &c
}

// Listen opens a server on a host of its own, at port 4242; nil is the zero Config. It has one shard unless cfg says otherwise. It ends
// the test if that fails.
func (n *Net) Listen(cfg *godwit.Config) *godwit.Endpoint {
	n.t.Helper()
	n.mu.Lock()
	n.nextHost++
	host := n.nextHost
	n.mu.Unlock()
	e, err := godwit.Listen(fmt.Sprintf("10.1.0.%d:4242", host), n.Config(cfg))
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.endpoints = append(n.endpoints, e)
	n.mu.Unlock()
	return e
}

// Dial connects to a server of this network and returns when the handshake is complete; nil is the zero Config. Each connection has
// an address of its own. It ends the test if that fails; TryDial does not.
func (n *Net) Dial(e *godwit.Endpoint, cfg *godwit.Config) godwit.Conn {
	n.t.Helper()
	c, err := n.TryDial(e, cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// TryDial is Dial for tests of failure; its errors are those of godwit.Dial.
func (n *Net) TryDial(e *godwit.Endpoint, cfg *godwit.Config) (godwit.Conn, error) {
	c, err := godwit.Dial(context.Background(), e.Addr().String(), n.Config(cfg))
	if err == nil && n.bubble() {
		n.mu.Lock()
		n.dialed = append(n.dialed, c)
		n.mu.Unlock()
	}
	return c, err
}

// bubble reports whether the network is one of Bubble.
func (n *Net) bubble() bool { return !n.began.IsZero() }

// epoch is what the clock shows when a network begins.
const epoch = mono.Time(time.Hour)

// clock returns the virtual time.
func (n *Net) clock() mono.Time {
	if n.bubble() {
		return epoch.Add(time.Since(n.began))
	}
	return n.now
}

// Now returns the virtual time since the network began.
func (n *Net) Now() time.Duration { return n.clock().Sub(epoch) }

// SetLink changes all links from now on. Datagrams under way arrive as they would have, and blackouts go on.
func (n *Net) SetLink(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = impair.Params(l).Config()
	n.link.Blackouts = n.dark
	for _, link := range n.links {
		link.SetConfig(n.link)
	}
}

// Blackout loses everything that is sent from now on for a while.
func (n *Net) Blackout(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock()
	n.dark = append(n.dark, impair.Blackout{From: now, To: now.Add(d)})
	n.link.Blackouts = n.dark
	for _, link := range n.links {
		link.SetConfig(n.link)
	}
}

// Sleep lets virtual time pass: everything due until then happens, handlers are called, timers fire. Like all that lets time pass it must not
// be called in a handler.
func (n *Net) Sleep(d time.Duration) {
	n.t.Helper()
	if n.bubble() {
		time.Sleep(d)
		return
	}
	if n.running {
		n.t.Fatal("godwittest: Sleep was called from a handler")
	}
	until := n.now.Add(max(d, 0))
	for {
		n.settle()
		next := n.next()
		if next > until {
			break
		}
		n.advance(next)
	}
	n.advance(until)
	n.settle()
}

// Until lets virtual time pass until ready returns true. It ends the test if that takes longer than the limit of the run.
func (n *Net) Until(ready func() bool) {
	n.t.Helper()
	wait := n.wait
	if n.bubble() {
		wait = n.waitBubble
	}
	if err := wait(ready); err != nil {
		n.t.Fatal(err)
	}
}

// Steps returns how many duty cycles of shards have run, for tests of determinism; 0 in a bubble.
func (n *Net) Steps() uint64 { return n.steps }

// Rebind gives the client end of a dialed connection another port, as a NAT does that has forgotten a binding. The connection goes on.
func (n *Net) Rebind(c godwit.Conn) {
	n.t.Helper()
	n.move(c, false)
}

// Move gives the client end of a dialed connection another IP address, as a device does that changes networks.
func (n *Net) Move(c godwit.Conn) {
	n.t.Helper()
	n.move(c, true)
}

var errBlocked = errors.New("godwittest: a blocking method was called from a handler")

// astray says what to do to a caller that waits on a goroutine of its own.
func (n *Net) astray() string {
	if shard.Goroutine() == n.home {
		return ""
	}
	return "; it was called from another goroutine than the one of Run: use Bubble"
}

// wait is what blocking methods of endpoints and connections do.
func (n *Net) wait(ready func() bool) error {
	if n.running {
		return errBlocked
	}
	until := n.now.Add(n.limit)
	for {
		n.settle()
		if ready() {
			return nil
		}
		next := n.next()
		if next == mono.Never {
			return errors.New("godwittest: nothing is going to happen any more, and what was waited for has not" + n.astray())
		}
		if next > until {
			return fmt.Errorf("godwittest: what was waited for has not happened in %v of virtual time%s", n.limit, n.astray())
		}
		n.advance(next)
	}
}

// maxSteps bounds the duty cycles within one instant.
const maxSteps = 100_000

// settle runs everything that is due now.
func (n *Net) settle() {
	for steps := 0; ; {
		progress := false
		for i := 0; i < len(n.actors); i++ {
			if a := n.actors[i]; a.due <= n.now || a.socket.Pending() || a.socket.Woken() {
				n.step(a)
				progress = true
				if steps++; steps > maxSteps {
					n.t.Fatalf("godwittest: no end at %v: a shard is busy without time passing", n.Now())
				}
			}
		}
		for len(n.later) > 0 {
			fn := n.later[0]
			n.later = n.later[1:]
			fn()
			progress = true
		}
		n.mem.Advance(n.now)
		if !progress {
			return
		}
	}
}

// step runs one duty cycle.
func (n *Net) step(a *actor) {
	n.steps++
	n.running = true
	a.socket.Wait(0, 0) // forgets wake-ups
	a.due = a.shard.Step(n.now)
	if a.due > n.now && !a.shard.Idle() {
		a.due = n.now
	}
	n.running = false
}

// next is when something happens again.
func (n *Net) next() mono.Time {
	at := n.mem.Next()
	for _, a := range n.actors {
		at = min(at, a.due)
	}
	return max(at, n.now)
}

func (n *Net) advance(to mono.Time) {
	n.now = max(n.now, to)
	n.mem.Advance(n.now)
}

// path decides what becomes of a datagram. Every pair of addresses has a link of its own in each direction.
func (n *Net) path(now mono.Time, from, to udp.Addr, ecn uint8, data []byte, arrivals []udp.Arrival) []udp.Arrival {
	if n.tap != nil {
		n.tap(from, to, data)
	}
	key := [2]udp.Addr{from, to}
	link := n.links[key]
	if link == nil {
		link = impair.New(n.link, n.rng.Fork())
		n.links[key] = link
	}
	n.verdicts = link.Send(now, len(data), n.verdicts[:0])
	for _, v := range n.verdicts {
		a := udp.Arrival{At: v.At, ECN: ecn}
		if v.CorruptBit >= 0 {
			a.Data = append([]byte(nil), data...)
			a.Data[v.CorruptBit/8] ^= 1 << (v.CorruptBit % 8)
		}
		arrivals = append(arrivals, a)
	}
	return arrivals
}
