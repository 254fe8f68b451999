package shard

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// Socket is what a shard sends and receives through: udp.Engine, or an endpoint of udp's memory network. All methods but
// Wake belong to the shard's goroutine.
type Socket interface {
	// Read fills b without blocking and returns how many entries came.
	Read(b *udp.ReadBatch) int
	// Write sends b.Outs without blocking. It returns how many were settled (sent, or dropped and counted) and whether the
	// socket is full.
	Write(b *udp.WriteBatch) (sent int, blocked bool)
	// Wait returns when a datagram or a Wake came, when a socket that was full can take more, or after d; for ever if d is
	// negative. It begins at now.
	Wait(now mono.Time, d mono.Duration)
	Wake()
	Connect(remote udp.Addr) (socket uint32, err error)
	CloseSocket(socket uint32)
	LocalAddr() udp.Addr
	Stats() udp.Stats
	Close() error
}

// Session is the handshake of one connection: bytes in, bytes and secrets out. Its methods run on workers, never two at once for one
// session; output accumulates.
type Session interface {
	Start(out *wire.HandshakeOutput)
	Handle(level wire.Level, data []byte, out *wire.HandshakeOutput)
	Close()
}

// Ref names a connection: its slot, with the shard's number in the upper eight bits, and the slot's generation.
type Ref struct{ Slot, Gen uint32 }

const (
	slotBits = 24
	slotMask = 1<<slotBits - 1
)

// Shard returns the number of the shard that the connection lives on.
func (r Ref) Shard() int { return int(r.Slot >> slotBits) }

// Closed says why a connection ended.
type Closed struct {
	Code   uint64
	Reason string
	App    bool // the code is the application's
	Remote bool
	Idle   bool          // the idle timeout, or the handshake's
	Open   bool          // the connection had been opened
	Err    error         // of the session, if the handshake failed there
	Silent mono.Duration // Idle: for how long nothing had been heard; 0 = not known any more
}

// Refusal says how a connection is closed that the application does not want.
type Refusal struct {
	Code   uint64
	Reason string
	App    bool // the code is the application's
}

// App is the application of a connection. Its methods run on the shard's goroutine.
type App interface {
	// Open is called when the handshake is complete. A refusal closes the connection.
	Open(s *Shard, r Ref) *Refusal
	// Message delivers a message; ev.Payload is borrowed. It reports whether the application is done with it, so that its
	// credit may return; if not, the application says Consumed later.
	Message(s *Shard, r Ref, ev *proto.Event) (done bool)
	Gap(s *Shard, r Ref, channel uint16, n int)
	Outcome(s *Shard, r Ref, tag uint64, o proto.Outcome)
	Writable(s *Shard, r Ref)
	// Stream is called for events about streams; ev.Payload is borrowed. Of EventStreamData it reports whether the application is done
	// with the bytes, so that their credit may return; if not, the application says so later with StreamRead.
	Stream(s *Shard, r Ref, ev *proto.Event) (done bool)
	// Closed is called once for every connection for which Open was called, and for every Dial.
	Closed(s *Shard, r Ref, c *Closed)
	// Freed says that the slot of the connection is about to be used again.
	Freed(s *Shard, r Ref)
}
