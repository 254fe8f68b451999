package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/mono"
)

// Transport carries the messages of a run over a protocol other than godwit's, so
// that the same generator loads and judges it. Its methods are called in the
// order in which they stand here, Send from within Load's Turn and Message.
type Transport interface {
	// Connect opens all connections, numbered from 0, and returns when each can
	// carry messages.
	Connect(ctx context.Context, connections int) error
	// Drive calls l.Turn again and again, and l.Message for what comes back, until
	// Turn says that the run is over. Then it returns nil; an error breaks the run
	// off. Calls of l must not overlap.
	Drive(ctx context.Context, l *Load) error
	// Send takes a copy of p as the next message of a connection, or refuses it
	// for want of room: then it is offered again after the next message has come
	// back, or at the next Turn.
	Send(conn int, p []byte) bool
	// Close ends all connections. It is called after a failed Connect, too.
	Close()
}

// Peer is a protocol to be measured beside godwit.
type Peer struct {
	Name      string // for Progress
	Transport Transport
	// Mode is what it promises of messages, and what they are held to.
	Mode godwit.Mode
	// Handshake says that opening connections takes the server's part, so that
	// handshakes a second mean something.
	Handshake bool
}

// RunPeer is Run over another protocol. Of cfg, Client, Channel, Varz and
// Reference have no effect; Addr is an IP address and a port.
func RunPeer(ctx context.Context, cfg Config, p Peer) (*Result, error) {
	c, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if p.Transport == nil {
		return nil, errors.New("load: a peer without a transport")
	}
	addr, err := netip.ParseAddrPort(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("load: the address of %s must be an IP address and a port: %w", p.Name, err)
	}
	r := &run{cfg: &c, name: p.Name, order: orderOf(p.Mode), lossy: !p.Mode.Reliable(), handshake: p.Handshake, server: c.server()}
	return r.measure(ctx, peerTransport{p.Transport, addr.Addr()})
}

// peerTransport is a Transport that says nothing of its packets.
type peerTransport struct {
	Transport

	server netip.Addr
}

func (t peerTransport) remote() netip.Addr            { return t.server }
func (t peerTransport) packets() (packetCounts, bool) { return packetCounts{}, false }

// Load is the generator of a run in the hands of a Transport.
type Load struct {
	g     *generator
	cfg   *Config
	start mono.Time
	begun bool
	now   mono.Time // when the messages came that Message is called for
}

// Turn sends what is due. Nothing more will be for the time of wait, unless
// messages come back: the transport may sleep so long. done says that the run is
// over.
func (l *Load) Turn() (wait time.Duration, done bool) {
	next, done := l.turn(mono.Now())
	if done {
		return 0, true
	}
	return max(next.Sub(mono.Now()), 0), false
}

// Spins reports that a wait is so short that a transport which has a thread to
// itself should look for messages rather than sleep; it has yielded to other
// goroutines then.
func (l *Load) Spins(wait time.Duration) bool { return l.cfg.spins(wait) }

func (l *Load) turn(now mono.Time) (next mono.Time, done bool) {
	if now < l.start {
		return l.start, false
	}
	l.begin(now)
	next = l.g.turn(now)
	return next, l.g.finished
}

func (l *Load) begin(now mono.Time) {
	if !l.begun {
		l.begun = true
		l.g.begin(now, l.cfg.Warmup, l.cfg.Duration)
	}
}

// Arrived says that messages came just now: latency of those that Message is
// called for next ends here. One call for all that came together is enough.
func (l *Load) Arrived() { l.now = mono.Now() }

// Message takes a message that came back on a connection. It is not kept.
func (l *Load) Message(conn int, p []byte) { l.g.message(conn, p, l.now) }

var noReceipt = [headerSize]byte{0xff, 0xff, 0xff, 0xff} // of a connection that is not there

// AppendReceipt appends to dst what a server returns in the place of the message
// p when Config.Receipts is set. A message that was changed on the way to the
// server has a receipt that counts as corrupted.
func AppendReceipt(dst, p []byte) []byte {
	var h header
	if h.decode(p, len(p)) {
		return append(dst, p[:headerSize]...)
	}
	return append(dst, noReceipt[:]...)
}
