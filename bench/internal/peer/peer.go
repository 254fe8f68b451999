// Package peer has the transports that are compared: both ends of each, made
// alike, so that only the transport differs.
package peer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"godwit.example/godwit"
	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
)

// A Peer is one transport with its settings.
type Peer struct {
	Name string
	// About is what a reader must know beside its figures: version, protection,
	// settings that are not the defaults.
	About string
	// Mode is what it promises of messages.
	Mode      godwit.Mode
	Encrypted bool
	// Handshake says that opening a connection takes the server's part.
	Handshake bool
	// TCP says that it sends no datagrams of its own.
	TCP bool
	// MaxMessage is the largest message, 0 if there is no bound that matters here.
	MaxMessage int
	// MaxConnections is how many connections a server takes, 0 if there is no bound that matters here.
	MaxConnections int
	// Procs is the client's GOMAXPROCS, on one CPU in any case; 0 means 1. A
	// transport that works with goroutines needs 2: the generator's thread, which
	// waits on time, keeps one of them.
	Procs int

	// Serve answers messages until ctx ends. It calls ready once, with its address
	// and what clients must know besides: a pin, a certificate.
	Serve func(ctx context.Context, answer Answer, ready func(addr netip.AddrPort, secret string)) error
	// Transport prepares the client's end. It is nil for godwit itself, which
	// Client configures.
	Transport func(addr netip.AddrPort, secret string) load.Transport
	Client    func(secret string) *godwit.Config

	// Room is Serve for the application of a room, and Members its clients' end. Both
	// are nil if the peer has none.
	Room    func(ctx context.Context, app room.App, ready func(addr netip.AddrPort, secret string)) error
	Members func(l *room.Load, addr netip.AddrPort, secret string) room.Transport

	// serveLinks calls each on a goroutine of its own for every connection. A peer that
	// has it needs neither Serve nor Room nor Members; its Transport returns links.
	serveLinks func(ctx context.Context, each func(link), ready func(addr netip.AddrPort, secret string)) error
}

// listen is where servers of this process listen, at a port that is free.
var listen = netip.MustParseAddrPort("127.0.0.1:0")

// ListenAt lets servers of this process listen at another address than 127.0.0.1. It
// is called before any of them serves.
func ListenAt(ip netip.Addr) { listen = netip.AddrPortFrom(ip, 0) }

// Answer appends what a server returns for a message to dst. It keeps neither.
type Answer func(dst, message []byte) []byte

// Answers are what servers can do, by name.
var Answers = map[string]Answer{
	"echo": func(dst, message []byte) []byte { return append(dst, message...) },
	"sink": load.AppendReceipt,
}

// ServeApp serves the application of a name: one of Answers, or a room.
func (p *Peer) ServeApp(ctx context.Context, name string, ready func(addr netip.AddrPort, secret string)) error {
	if answer := Answers[name]; answer != nil {
		return p.Serve(ctx, answer, ready)
	}
	app, ok := room.ParseApp(name)
	switch {
	case !ok:
		return fmt.Errorf("there is no application %q", name)
	case p.Room == nil:
		return fmt.Errorf("%s has no server of rooms", p.Name)
	}
	return p.Room(ctx, app, ready)
}

// Absent is a peer that this program was built without, or that nobody can build here.
type Absent struct{ Name, Why string }

var (
	all    []*Peer
	absent []Absent
)

func register(list ...*Peer) {
	for _, p := range list {
		if p.serveLinks != nil {
			p.overLinks()
		}
		all = append(all, p)
	}
}

func registerAbsent(name, why string) { absent = append(absent, Absent{name, why}) }

// All returns the peers by name, godwit's own first.
func All() []*Peer {
	list := slices.Clone(all)
	slices.SortFunc(list, func(a, b *Peer) int {
		if own := strings.HasPrefix(a.Name, "godwit"); own != strings.HasPrefix(b.Name, "godwit") {
			if own {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// NotHere returns the peers that cannot run, and why.
func NotHere() []Absent {
	return slices.SortedFunc(slices.Values(absent), func(a, b Absent) int { return strings.Compare(a.Name, b.Name) })
}

// Named returns a peer; NAME+WAY is one that is sabotaged.
func Named(name string) (*Peer, error) {
	if strings.Contains(name, "+") {
		return sabotaged(name)
	}
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	for _, a := range absent {
		if a.Name == name {
			return nil, fmt.Errorf("%s does not run here: %s", name, a.Why)
		}
	}
	var names []string
	for _, p := range All() {
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("there is no peer %q; there are %s", name, strings.Join(names, ", "))
}

// Run loads p's server. Of cfg it sets Client and Addr.
func (p *Peer) Run(ctx context.Context, cfg load.Config, addr netip.AddrPort, secret string) (*load.Result, error) {
	cfg.Addr = addr.String()
	if p.MaxConnections > 0 && cfg.Connections > p.MaxConnections {
		return nil, fmt.Errorf("%d connections: a server of %s takes at most %d", cfg.Connections, p.Name, p.MaxConnections)
	}
	if p.Client != nil {
		cfg.Client = p.Client(secret)
		return load.Run(ctx, cfg)
	}
	return load.RunPeer(ctx, cfg, load.Peer{Name: p.Name, Transport: p.Transport(addr, secret), Mode: p.Mode, Handshake: p.Handshake})
}
