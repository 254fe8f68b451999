package netem

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/impair"
)

// Link says what the network does to each datagram in one direction. It is the same as that of godwit.Config's Impair and of godwittest,
// but MTU may be as small as one likes. The zero value passes everything on at once.
type Link = godwit.Link

// Defaults of Config.
const (
	DefaultMaxFlows    = 1024
	DefaultIdleTimeout = 5 * time.Minute // as RFC 4787, section 4.3, recommends for NATs
	DefaultBuffer      = 64 << 20
)

const (
	maxFlows  = 1 << 16
	minBuffer = 1 << 20
	maxBuffer = 1 << 36
)

// Config says what Listen opens. Only Target must be set.
type Config struct {
	// Listen is the UDP address that clients send to, such as 127.0.0.1:5000, or :5000 for every address, IPv4 and IPv6; empty is a free
	// port of 127.0.0.1. Target is the server's, host:port; the name is resolved once.
	Listen, Target string
	// Up is what happens to datagrams on the way from the clients to the target, Down to those on the way back. For a round trip of 50 ms each has
	// a Delay of 25 ms. All clients share the two links, the bottlenecks included.
	Up, Down Link
	// Seed chooses the misfortunes: with the same seed, the datagrams of the same numbers are lost.
	Seed uint64
	// MaxFlows bounds the clients at a time, by address and port; 0 means 1,024, the most is 65,536. What others send is dropped and counted.
	MaxFlows int
	// IdleTimeout is how long a client is remembered that neither sends nor is sent to; 0 means five minutes, negative means for ever.
	IdleTimeout time.Duration
	// Buffer bounds the bytes of the datagrams that are under way, both directions together; 0 means 64 MiB, the least is 1 MiB. What is beyond is
	// dropped and counted. It is to hold what the links are to hold: rate times delay, and the queues. Datagrams under way are also at most one for
	// 128 bytes of it.
	Buffer int64
	// DisableOffload receives and sends each datagram by itself even where its sender made many of them with one call.
	DisableOffload bool
}

// resolve fills in the defaults, checks the rest and looks up the addresses.
func (c *Config) resolve() (listen, target netip.AddrPort, err error) {
	setDefault(&c.Listen, "127.0.0.1:0")
	setDefault(&c.MaxFlows, DefaultMaxFlows)
	setDefault(&c.IdleTimeout, DefaultIdleTimeout)
	setDefault(&c.Buffer, DefaultBuffer)
	switch {
	case c.Target == "":
		err = fmt.Errorf("netem: Config.Target is empty, it must be the address of a server")
	case c.MaxFlows < 0 || c.MaxFlows > maxFlows:
		err = badField("MaxFlows", c.MaxFlows, fmt.Sprintf("1 to %d, or 0 for %d", maxFlows, DefaultMaxFlows))
	case c.Buffer < minBuffer || c.Buffer > maxBuffer:
		err = badField("Buffer", c.Buffer, fmt.Sprintf("%d to %d bytes, or 0 for %d", minBuffer, maxBuffer, DefaultBuffer))
	default:
		err = checkLinks(c.Up, c.Down)
	}
	if err != nil {
		return listen, target, err
	}
	if listen, err = lookUp("Listen", c.Listen); err != nil {
		return listen, target, err
	}
	target, err = lookUp("Target", c.Target)
	if err == nil && (!target.Addr().IsValid() || target.Port() == 0) {
		err = badField("Target", c.Target, "the address and port of a server")
	}
	return listen, target, err
}

// lookUp resolves an address; one without a host is every address.
func lookUp(name, text string) (netip.AddrPort, error) {
	a, err := net.ResolveUDPAddr("udp", text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("netem: Config.%s: %w", name, err)
	}
	ap := a.AddrPort()
	if a.IP == nil && name == "Listen" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port()), nil
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

func checkLinks(up, down Link) error {
	for _, l := range []struct {
		name string
		p    impair.Params
	}{{"Up", impair.Params(up)}, {"Down", impair.Params(down)}} {
		if field, value, want := l.p.Check(); field != "" {
			return badField(l.name+"."+field, value, want)
		}
	}
	return nil
}

func badField(name string, v any, want string) error {
	return fmt.Errorf("netem: Config.%s is %v, it must be %s", name, v, want)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
