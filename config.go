package godwit

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"godwit.example/godwit/internal/shard"
)

// Config configures an Endpoint or a Dial. The zero value, like a nil *Config, is safe and fast. A Config is copied when it is
// used and may be changed or used again afterwards. Where a field says nothing else, zero means the default, a negative
// duration switches the feature off, and a negative number is an error.
type Config struct {
	// Handler is what the application does about its connections. Serve ignores it and takes its own argument.
	Handler Handler

	// Channels configures channels that shall differ from the default: 0 ordered, 1 unordered, 2 latest, 3 sequenced,
	// 4 unreliable, all others ordered. Both ends must agree.
	Channels map[Channel]ChannelConfig

	// TLS is the base of the handshake's TLS configuration: certificates, client authentication, root certificates, server
	// name. Its versions and application protocols are not used: a handshake is TLS 1.3 with the protocol "godwit/1".
	TLS *tls.Config
	// CertFile and KeyFile are PEM files with the server's certificate chain and its key. They are read again when they change.
	CertFile, KeyFile string
	// Pins are the fingerprints of public keys that a client accepts, whatever their certificate says. With pins set, names and
	// certificate authorities are not looked at.
	Pins []Pin
	// Identity is the directory of the development identity: the key and self-signed certificate that a server without
	// certificates makes for itself and that clients of the same user trust on loopback addresses. The default is "godwit" in
	// the user's state directory ($XDG_STATE_HOME, or ~/.local/state).
	Identity string
	// Plain replaces the encryption of messages by a checksum, for networks that are trusted as a whole. The handshake stays
	// TLS 1.3. Both ends must ask for it.
	Plain bool
	// Authorize, if it is set, decides which clients may come in, by what their handshake has proven. It is called for each handshake of a
	// server that is complete, before Handler.Open, on a goroutine of its own: it may ask a database. An error, also a late one, closes
	// the connection with the TLS alert access_denied and the error's text. ctx ends when HandshakeTimeout has passed and when the
	// endpoint is closed. Up to 1,024 calls of an endpoint run at once; clients beyond that are denied
	// (Stats.AuthorizeRefused).
	Authorize func(ctx context.Context, p Peer) error
	// KeyLog receives the TLS secrets in the NSS key log format, for decryption by Wireshark. Whoever reads it can read
	// the messages.
	KeyLog io.Writer

	// Network is "udp" (dual stack where the address allows it), "udp4" or "udp6". The default is "udp".
	Network string
	// Engine is what moves datagrams between the endpoint and the host: "linux" moves many with each system call, with segmentation
	// offload, and gives each shard a socket; "portable" is made of package net, runs everywhere, makes a call for each
	// (on Linux for each train), has no ECN, one shard, and a goroutine for each socket: one for a server, up to eight of each address family
	// for all connections of Dial, which share them. The default is the best one that the platform has; Stats.Engine names it. An engine that the platform does not have is an error.
	Engine string
	// Impair makes the network worse on purpose, for development. Nil, the default, leaves it as it is. Stats.Impaired and a warning
	// to the Logger tell that it is on.
	Impair *Impair
	// Shards is the number of sockets and goroutines of a server, at most 32. The default is GOMAXPROCS, which Go takes from the CPUs and the
	// CPU quota; where the host cannot steer datagrams between sockets there is one. Dial always uses one, shared with other dials of equal configuration.
	Shards int
	// MaxConnections bounds the connections of an endpoint. The default is 1,000,000.
	MaxConnections int

	// MaxMessageSize is the largest message accepted, in bytes. The default is 256 KiB, the most is 16 MiB. What may be sent is bounded by the peer's
	// value, by SendBuffer less 32, and on channels of the modes Sequenced and Unreliable by 64 KiB.
	MaxMessageSize int
	// SendBuffer bounds what one connection has queued and unacknowledged, in bytes; each message counts 32 bytes more than its
	// payload. The default is 1 MiB. Sends beyond it return ErrWouldBlock.
	SendBuffer int
	// ReceiveBuffer bounds what the peer may have sent and the application has not taken, in bytes counted as for SendBuffer.
	// The default is 1.5 MiB; it must have room for one message of MaxMessageSize. One channel may fill two thirds of it.
	ReceiveBuffer int

	// MaxStreams is how many byte streams the peer may have open at once on a connection. The default is 100, the most is 65,536; negative means none.
	// What streams have written and not delivered is bounded by SendBuffer, half of it for each, beside what messages take of theirs.
	MaxStreams int

	// MaxSendRate bounds what each connection sends, in bytes a second of UDP payload, acknowledgments and repetitions included; bursts
	// of up to 16 datagrams or a millisecond's worth pass. MaxTotalSendRate bounds what an endpoint sends on all its connections, with bursts of
	// up to 64 KiB or two milliseconds' worth; connections take turns. Both are 0 by default: no limit but congestion control's. For Dial the
	// smaller of the two counts, for each connection.
	MaxSendRate, MaxTotalSendRate int64
	// DSCP is the differentiated services code point of what is sent, 0 to 63 (RFC 2474), for networks that know it; 46 is expedited
	// forwarding. It is set by the engine of Linux where the host allows it. The default is 0, best effort.
	DSCP int

	// IdleTimeout ends a connection that hears nothing from its peer. The smaller value of the two ends counts. The
	// default is 60 s; negative means never. A peer that leaves everything that was sent to it unacknowledged for half of this end's
	// value is asked again, and taken for dead if it is still silent an eighth of that half later, 33.75 s by default. An outage of the
	// network that is not longer than half of the smaller value, 30 s, thus never ends a connection that is kept alive.
	IdleTimeout time.Duration
	// KeepAlive is the silence after which a client asks the server for a sign of life. It also bounds how long a client that only
	// receives is unreachable after its address has changed: the server learns the new one from the next packet. The default is the smaller one of 20 s and a third of the
	// idle timeout; negative means never.
	KeepAlive time.Duration
	// HandshakeTimeout bounds a handshake. The default is 10 s.
	HandshakeTimeout time.Duration
	// Linger bounds how long a closing connection waits until the peer has acknowledged what was sent. The default is 5 s;
	// negative means not at all.
	Linger time.Duration
	// TickInterval is the period of Handler.Tick. The default is 33.333 ms, thirty times a second.
	TickInterval time.Duration

	// Panic, if it is set, is called with the value of a panic in a function of the Handler instead of ending the process; the
	// connection that was being served is closed with the transport code INTERNAL_ERROR. In Tick there is none.
	Panic func(c Conn, value any)
	// Logger receives the endpoint's life at Info, with a summary each minute in which anything happened, connections that open and
	// close at Debug, and each kind of warning at most once a minute. The default discards them.
	Logger *slog.Logger
	// Tuning is for measurements.
	Tuning Tuning
}

// Tuning holds switches for measurements and unusual machines. It is exempt from compatibility: fields may change
// meaning or go in any release.
type Tuning struct {
	NoGSO          bool          // send one datagram a system call entry
	NoGRO          bool          // receive datagrams one by one
	NoECN          bool          // do not set or read ECN
	MaxDatagram    int           // ceiling of path MTU discovery in bytes; default 1,452
	SocketBuffer   int           // bytes asked of the kernel for each buffer of a socket; default 4 MiB to receive and 2 MiB to send, a quarter for a dialed one; negative leaves the host's
	MailboxBytes   int           // bytes that may wait for a shard; default 8 MiB
	HalfOpen       int           // unauthenticated handshakes a shard; default 256
	Workers        int           // handshakes computed at once; default GOMAXPROCS
	PoolBytes      int           // bytes of a shard's buffer pool; default 256 MiB
	Spin           time.Duration // how long a shard of the Linux engine without work looks for more before it sleeps, while work comes more often than that and nobody else wants the CPU; default 200 µs, at most 1 ms; negative is never
	Hibernate      time.Duration // idle time after which a server's connection is packed into a record of half a kilobyte, until a packet, a message or a timer wakes it; default 2 s; negative is never
	CycleMessages  int           // messages after which a shard turns from receiving to sending; default 2,500
	Congestion     string        // "adaptive", "newreno" or "fixed"; default "adaptive"
	AlwaysRetry    bool          // ask every client for a Retry token
	ServerID       int           // identifies the server in connection IDs, 0 to 2^24-1
	AcceptBacklog  int           // connections that may wait for Accept; default 1,024
	ReceiveBacklog int           // unreliable messages a connection keeps for Receive; default 1,024

	Simulation *shard.Simulation // set by package godwittest: nil is the real world
}

// clone returns a copy that shares nothing mutable with c; nil gives the zero value.
func (c *Config) clone() *Config {
	if c == nil {
		return &Config{}
	}
	d := *c
	d.Channels = maps.Clone(c.Channels)
	d.Pins = slices.Clone(c.Pins)
	if c.Impair != nil {
		impair := *c.Impair
		d.Impair = &impair
	}
	if c.TLS != nil {
		d.TLS = c.TLS.Clone()
	}
	return &d
}
