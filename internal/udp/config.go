package udp

import (
	"errors"
	"net/netip"

	"godwit.example/godwit/internal/mono"
)

// Config says how to open an engine. The zero value is a dual-stack server
// socket on a port of the host's choice with everything switched on.
type Config struct {
	// Addr is the local address. An invalid or unspecified IPv6 address makes
	// one dual-stack socket (an IPv4 one where the host has no IPv6); an IPv4
	// address makes an IPv4 socket. A client's connected sockets are bound to
	// its IP and port where it is not zero.
	Addr netip.AddrPort
	// Client opens no socket of its own: Connect adds connected ones. With
	// Shared the client's connections use one unconnected socket instead; a
	// Portable has up to eight of each address family.
	Client, Shared bool
	// Bound gives a client one more socket, number 0, bound to this address and
	// connected to nobody: the side of a proxy that its own clients see. Not with
	// Shared.
	Bound netip.AddrPort

	// The socket is number ShardIndex of Shards that share Addr by
	// SO_REUSEPORT. They must be opened in the order of their index, for the
	// kernel numbers them so; OpenGroup does. Ignored when Shards < 2.
	Shards, ShardIndex int

	// ReceiveBuffer and SendBuffer ask for socket buffers of so many bytes, as
	// setsockopt counts them (the kernel doubles the figure for its own
	// bookkeeping). 0 means 4 MiB and 2 MiB, for connected client sockets 1 MiB
	// and 512 KiB; negative leaves the host's default.
	ReceiveBuffer, SendBuffer int
	// ExactReceiveBuffer is passed to SO_RCVBUF as it is, without trying
	// SO_RCVBUFFORCE: a test sees the host it describes, such as one with the
	// usual net.core.rmem_max of 212,992.
	ExactReceiveBuffer int

	// IPv6Only keeps an IPv6 socket on every address from hearing IPv4 too.
	IPv6Only bool

	// DisableGSO and DisableGRO switch the offloads off. DisablePacketInfo
	// leaves Datagram.Local unknown.
	DisableGSO, DisableGRO, DisablePacketInfo bool
	// MaxDatagram is the largest datagram to be received without GRO; 0 means
	// 2 KiB. A longer one is dropped and counted.
	MaxDatagram int
	// ReadEntries bounds the entries of one ReadBatch; 0 means 16 with GRO, 64
	// without.
	ReadEntries int
	// DSCP is the code point of what is sent, on Linux where the host allows it.
	DSCP int
	// BusyPoll lets the kernel poll the network card for so long before a wait
	// sleeps (SO_BUSY_POLL, SO_PREFER_BUSY_POLL), where the host permits it.
	BusyPoll mono.Duration
}

// What Config's zero means. The kernel charges a 64-byte datagram with about
// 800 bytes, so 4 MiB (8 MiB after its doubling) hold some 10,000: half a second
// at 20,000 a second.
const (
	serverReceiveBuffer = 4 << 20
	serverSendBuffer    = 2 << 20
	clientReceiveBuffer = 1 << 20
	clientSendBuffer    = 512 << 10
)

// check finds fields that contradict each other.
func (c *Config) check() error {
	if c.Bound.IsValid() && (!c.Client || c.Shared) {
		return errBound
	}
	return nil
}

// buffers gives the bytes of buffer to ask of the host for a socket.
func (c *Config) buffers(connected bool) (receive, send int) {
	receive, send = serverReceiveBuffer, serverSendBuffer
	if connected {
		receive, send = clientReceiveBuffer, clientSendBuffer
	}
	if c.ReceiveBuffer != 0 {
		receive = c.ReceiveBuffer
	}
	if c.SendBuffer != 0 {
		send = c.SendBuffer
	}
	return receive, send
}

// ErrSteering is wrapped by the error of OpenGroup and Open when the host
// refuses SO_REUSEPORT or the steering program: the caller may open one engine
// without Shards instead.
var ErrSteering = errors.New("udp: the host refuses to steer datagrams between sockets")

// ErrTooManySockets is returned by Connect at the limit of sockets.
var ErrTooManySockets = errors.New("udp: too many sockets in one engine")

// errors that are programmer's mistakes or the host's limits
var (
	errClosed    = errors.New("udp: engine is closed")
	errNotClient = errors.New("udp: Connect on an engine that is no client")
	errBound     = errors.New("udp: Bound is for clients with connected sockets")
)
