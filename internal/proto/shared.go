package proto

import (
	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// Shared is what all connections of one shard have in common: limits, memory and the event queue. It belongs to
// the shard's goroutine, like every connection that points to it.
type Shared struct {
	Config *Config
	Pool   *mem.Pool   // reassembly, messages that arrived out of order, stragglers
	Chunks *mem.Chunks // the senders' buffers that queued messages lie in
	Events []Event     // appended by connections, drained and truncated by the shard after each packet
	Stats  Stats

	HashKey uint64 // secret of the tables of message keys, which peers choose
	Trace   *Trace // nil: off

	NewID      func(slot uint32, random uint64) wire.ConnID // makes a further ID for a slot; nil: none are issued
	ResetToken func(id wire.ConnID) [16]byte                // its stateless reset token

	offered *Message // within a SendTrain: counts as ready in its connection

	ackRanges [wire.MaxAckRanges]wire.AckRange // scratch of the ACK parser
}

// Stats counts what connections of a shard did. Plain counters: the shard publishes snapshots.
type Stats struct {
	MessagesSent, MessagesReceived uint64 // application messages put on the wire first / delivered
	BytesSent, BytesReceived       uint64 // payload bytes of those
	PacketsSent, PacketsReceived   uint64
	AckEliciting                   uint64 // ack-eliciting packets sent
	PacketsLost                    uint64 // declared lost
	PacketsSpurious                uint64 // acknowledged after having been declared lost
	MessagesRetransmitted          uint64 // messages or fragments put on the wire again
	Probes                         uint64 // PTO expirations
	AcksSent                       uint64 // ACK frames
	AcksWithheld                   uint64 // ACKs not sent because the peer acknowledges nothing
	Expired, Superseded, Evicted   uint64 // messages given up by TTL, by a newer value of their key, by a full buffer
	StaleDropped                   uint64 // sequenced or latest messages dropped as old on arrival
	Duplicates                     uint64 // messages that had arrived before
	Gaps                           uint64 // SKIP notices delivered
	ReassemblyEvicted              uint64 // unreliable messages thrown out of a full or stale reassembly
	PoolRefused                    uint64 // the memory pool had no block
	PathChanges, PathRejected      uint64
	CryptoOverflow                 uint64 // connections closed by a full CRYPTO buffer
	BytesCopied                    uint64 // of payloads, wherever they were copied; counted with -tags godwitdebug only

	StreamsOpened, StreamsAccepted       uint64 // byte streams of this end; of the peer
	StreamsReset                         uint64 // directions of streams that were given up: RESET_STREAM frames due, and received
	StreamBytesSent, StreamBytesReceived uint64 // put on the wire first / delivered
	StreamBytesRetransmitted             uint64
}

// copied counts n bytes of payloads that were copied. Whoever copies them calls it, for the gate of performance.
func (sh *Shared) copied(n int) {
	if invariant.Enabled {
		sh.Stats.BytesCopied += uint64(n)
	}
}

// Mode says what a channel promises for its messages.
type Mode uint8

// The modes of a channel; the numbers are those of the channels transport parameter.
const (
	Ordered    Mode = iota // reliable, delivered in the order sent
	Unordered              // reliable, delivered as they arrive
	Latest                 // reliable, only the newest value of each key
	Sequenced              // unreliable, older than the newest delivered is dropped
	Unreliable             // unreliable, delivered as they arrive
)

// Reliable reports whether messages of the mode are repeated until acknowledged.
func (m Mode) Reliable() bool { return m <= Latest }

// ChannelConfig is the agreed shape of one channel.
type ChannelConfig struct {
	Mode     Mode
	Priority int8  // higher first
	Weight   uint8 // share inside a priority, 1-255, default 16
}

// Config holds the resolved limits of all connections of an endpoint. It is not changed after the first connection.
type Config struct {
	Channels         [256]ChannelConfig
	Params           wire.Params   // local transport parameters, without the connection IDs
	MaxMessageSize   int           // largest message accepted and announced
	SendBuffer       int           // bytes (length + 32 a message) that may be queued and unacknowledged in one connection
	MaxDatagram      int           // largest datagram sent before path MTU discovery finds more, 1,200-1,452
	MaxDatagramCeil  int           // the ceiling of path MTU discovery
	KeepAlive        mono.Duration // client: PING after this much silence; 0 = off
	DeadPeer         mono.Duration // unanswered probes for so long, and for the last call after it, end the connection; 0 = only the idle timeout does
	IdleTimeout      mono.Duration
	HandshakeTimeout mono.Duration
	Linger           mono.Duration // how long a graceful close waits for acknowledgments
	Congestion       uint8         // congestion.Kind
	MaxSendRate      int64         // bytes a second of one connection; 0 = what congestion control allows
	ReassemblyBytes  int           // bytes of unreliable reassembly and of messages out of order per connection
	Plain            bool
	ECN              bool // mark packets with ECT(0) and react to congestion marks
}

// Message is one application message on its way into a connection. The payload lies in a sender's chunk.
type Message struct {
	Channel uint16
	Key     uint64        // latest mode only
	Tag     uint64        // 0: no outcome is reported
	TTL     mono.Duration // 0: for ever
	Chunk   mem.ChunkID   // retained by the connection while the message is queued; 0: Payload is copied into the pool
	Offset  uint32        // of the payload in the chunk
	Payload []byte
}

// Piece is where the payload of a message lies in a sender's chunk.
type Piece struct{ Offset, Size uint32 }

// Outcome is what became of a tagged message.
type Outcome uint8

// Outcomes of a tagged message.
const (
	Delivered  Outcome = iota + 1 // acknowledged by the peer
	Expired                       // its TTL passed first; it may have been delivered
	Superseded                    // a newer value of its key took its place
	Unknown                       // the connection ended first
	Refused                       // the connection did not take it; only the shard says so
)

// EventKind says what an Event is about.
type EventKind uint8

// Kinds of events, in no order.
const (
	EventMessage        EventKind = iota + 1 // Channel, ID, Key, Payload; answer with Conn.Consumed when the application is done
	EventGap                                 // Channel, ID = first ID after the gap, N = messages abandoned by the peer (at most)
	EventOutcome                             // Tag, Outcome
	EventWritable                            // credit came back: N = bytes released since the last drain
	EventCrypto                              // Level, Payload: in-order handshake bytes for the session
	EventConfirmed                           // the handshake is confirmed (HANDSHAKE_DONE sent or received)
	EventDropKeys                            // Level: packet protection keys of the level are to be dropped
	EventPath                                // the connection now sends to Conn.Path, or to another connection ID
	EventNewID                               // ConnID: a local connection ID that must be routed to this slot
	EventRetireID                            // ConnID: no longer
	EventClosed                              // Code, Remote, Payload = reason, Key = nanoseconds of silence before a timeout: no message will be delivered any more
	EventTicket                              // Payload: NEW_TOKEN's token (client)
	EventStreamOpen                          // ID: a stream that the peer has opened
	EventStreamData                          // ID, Payload: the next bytes of a stream; answer with StreamRead when the application has taken them
	EventStreamEnd                           // ID: there are no more
	EventStreamReset                         // ID, Code: the peer has given up its half
	EventStreamStop                          // ID, Code: the peer wants no more; this end's half was reset
	EventStreamWritable                      // ID, N: bytes of the stream's send buffer released, 32 a write more than its payload
	EventStreamLimit                         // ID: the number of streams that this end may open in all has become this; Key: the first one of them
)

// Event is one output of a connection. Fields that EventKind does not name for its kind may hold anything. Payload is borrowed: it is valid until the shard drains the event; if Ref is
// set the shard returns that block to the pool afterwards.
type Event struct {
	Kind    EventKind
	Level   wire.Level
	Outcome Outcome
	Remote  bool
	App     bool // EventClosed: the code is the application's
	Channel uint16
	Slot    uint32
	Ref     mem.Ref
	N       uint32
	ID      uint64
	Key     uint64
	Tag     uint64
	Code    uint64
	ConnID  wire.ConnID
	Payload []byte
}

// maxAckDelay is how long this end may hold an ACK back.
func (cfg *Config) maxAckDelay() mono.Duration {
	return mono.Duration(cfg.Params.MaxAckDelay) * mono.Millisecond
}
