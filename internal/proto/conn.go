package proto

import (
	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mono/entropy"
	"godwit.example/godwit/internal/wire"
)

// State is the life of a connection.
type State uint8

// States, in the order they are passed.
const (
	StateFree        State = iota // the slot holds no connection
	StateHandshaking              // no message may pass
	StateConnected
	StateClosing  // this side said CLOSE; it answers with CLOSE for three PTOs
	StateDraining // the peer said CLOSE, or the connection timed out; nothing is sent
	StateClosed   // over: call Release and free the slot
)

// Conn is one connection.
//
// Inputs are the Handle methods, commands are Send, Consumed, Close and the like, outputs are the shard's event queue
// (Shared.Events), BuildTrain and NextDeadline. Time is an argument and never runs backwards. Many inputs and
// commands may be applied before the outputs are drained; they are drained in the order events, packets, next
// deadline. A Conn is not safe for concurrent use. No method blocks, logs, calls back, or allocates on the steady path:
// queues grow to what a connection needs and stay.
//
// The same inputs in the same order with the same seed give the same bytes. Peer errors close the connection with
// a code; calls that break this contract panic.
type Conn struct {
	sh   *Shared
	hs   *handshake // nil once the handshake is confirmed and its last bytes are acknowledged
	move *migration // nil unless a path change is being validated

	app  space // 1-RTT packets
	msgs messages

	streams     *streams // nil until the first byte stream
	peerStreams uint64   // streams that this end may open in all
	creditKept  uint32   // of the connection's credit that streams leave to messages

	rng  entropy.Source
	rtt  congestion.RTT
	cc   congestion.Controller
	pace congestion.Pacer

	path    wire.Path
	localID wire.ConnID
	peer    peerIDs
	ids     localIDs

	peerIdle      mono.Duration // the peer's max_idle_timeout; 0 = none
	peerAckDelay  mono.Duration // the peer's delay of ACKs as in force
	peerAckShift  uint8         // its ack_delay_exponent
	peerDatagram  uint16        // its max_udp_payload_size
	state         State
	client        bool
	complete      bool // the session is complete: messages may pass
	confirmed     bool // HANDSHAKE_DONE was sent or received
	validated     bool // the peer's address is validated (always true for clients)
	slot          uint32
	bytesInFlight int
	amplify       int // server before validation: bytes that may still be sent

	lastReceived    mono.Time // idle timeout starts here
	lastActive      mono.Time // ... or at the first ack-eliciting packet sent since
	lastEliciting   mono.Time // keep-alive
	silentSince     mono.Time // first unanswered probe; mono.Never while the peer answers
	sentSinceRecv   bool
	ptoCount        uint8
	probes          uint8 // probe packets that may pass the window now
	pingDue         bool
	ackAsk          askState
	skipIn          uint16    // packets until one number is left out
	largestNonProbe int64     // highest number of a non-probing 1-RTT packet, for path changes
	paceBlocked     mono.Time // when pacing allows the next packet; 0 = not blocked

	ecn ecnState
	mtu mtuState
	end ending
}

// InitParams is what a new connection is made of.
type InitParams struct {
	Client           bool
	AddressValidated bool // server: a Retry token proved the address
	Slot             uint32
	Path             wire.Path
	LocalID, PeerID  wire.ConnID // PeerID: the client's source ID, or for a client the random first destination
	OriginalDst      wire.ConnID
	RetrySrc         wire.ConnID // server: the source ID of the Retry that was answered
	ResetToken       [16]byte    // server: stateless reset token of LocalID
	Seed             [32]byte
	CryptoBuf        []byte // server: the half-open entry's buffer that gathers the ClientHello
}

// Init makes c a new connection in the handshaking state.
func (c *Conn) Init(now mono.Time, sh *Shared, p InitParams) {
	*c = Conn{
		sh: sh, slot: p.Slot, client: p.Client, state: StateHandshaking,
		path: p.Path, localID: p.LocalID, rng: entropy.New(p.Seed),
		validated:    p.Client || p.AddressValidated,
		lastReceived: now, lastActive: now, lastEliciting: now, silentSince: mono.Never,
		largestNonProbe: -1,
		peerAckDelay:    defaultAckDelay, peerAckShift: 3, peerDatagram: minDatagram,
	}
	c.hs = newHandshake(now, p)
	c.app.init()
	c.peer.init(p.PeerID)
	c.ids.init(p.LocalID, p.ResetToken)
	c.msgs.init(sh, p.Slot)
	c.cc = congestion.New(congestion.Kind(sh.Config.Congestion), minDatagram)
	c.rtt = congestion.NewRTT()
	c.mtu.init(sh.Config)
	c.ecn.init(sh.Config.ECN)
	c.end.init()
	c.drawSkip()
}

// State returns where the connection is in its life.
func (c *Conn) State() State { return c.state }

// Slot returns the number the shard knows the connection by.
func (c *Conn) Slot() uint32 { return c.slot }

// Client reports whether this end dialled.
func (c *Conn) Client() bool { return c.client }

// Complete reports whether the handshake is complete, so that messages may pass.
func (c *Conn) Complete() bool { return c.complete }

// Confirmed reports whether the handshake is confirmed (RFC 9001 §4.1.2).
func (c *Conn) Confirmed() bool { return c.confirmed }

// Path returns where the connection sends to.
func (c *Conn) Path() *wire.Path { return &c.path }

// LocalID returns the first connection ID of this end.
func (c *Conn) LocalID() wire.ConnID { return c.localID }

// RTT returns the round-trip estimator.
func (c *Conn) RTT() *congestion.RTT { return &c.rtt }

// Congestion returns the congestion controller.
func (c *Conn) Congestion() *congestion.Controller { return &c.cc }

// BytesInFlight returns the bytes sent, neither acknowledged nor lost.
func (c *Conn) BytesInFlight() int { return c.bytesInFlight }

// MaxDatagram returns the largest datagram the path is known to carry.
func (c *Conn) MaxDatagram() int { return int(c.mtu.size) }

// LastReceived returns when the newest authentic packet came; before there was one, when the connection began.
func (c *Conn) LastReceived() mono.Time { return c.lastReceived }

// LargestAcked returns the highest packet number acknowledged by the peer at a level, or -1.
func (c *Conn) LargestAcked(level wire.Level) int64 {
	if s := c.space(level); s != nil {
		return s.largestAcked
	}
	return -1
}

// PeerMaxMessage returns the largest message that the peer accepts.
func (c *Conn) PeerMaxMessage() int { return c.msgs.maxSend() }

// space returns the packet-number space of a level, or nil once it is discarded.
func (c *Conn) space(level wire.Level) *space {
	if level == wire.LevelOneRTT {
		return &c.app
	}
	if c.hs == nil || c.hs.dropped[level] {
		return nil
	}
	return &c.hs.spaces[level]
}

// Send queues a message. It needs a complete handshake.
func (c *Conn) Send(now mono.Time, m *Message) SendResult {
	if c.state != StateConnected || c.end.graceful {
		return SendClosed
	}
	r := c.msgs.send(now, m)
	if m.TTL > 0 && r == SendOK {
		c.askForShortTTL(m)
	}
	return r
}

// SendRun is Send for many messages of one channel that lie in one chunk and have neither key nor tag nor TTL. It returns how many of the
// first ones it took: it stops at what it has no room for, and takes none where messages need more than to be queued. Those are for Send.
func (c *Conn) SendRun(channel uint16, chunk mem.ChunkID, run []Piece) int {
	if c.state != StateConnected || c.end.graceful {
		return 0
	}
	return c.msgs.sendRun(channel, chunk, run)
}

// Consumed says that the application is done with a delivered message of that many payload bytes, so that its
// credit returns to the peer.
func (c *Conn) Consumed(now mono.Time, channel uint16, payload int) {
	if c.state == StateConnected {
		c.msgs.consumed(now, channel, payload)
	}
}

// Ping asks for an ack-eliciting packet, which also keeps the connection alive.
func (c *Conn) Ping(mono.Time) { c.pingDue = true }

// Release returns every block and buffer of the connection. It may be called in any state, once or more.
func (c *Conn) Release() {
	c.releaseStreams()
	c.msgs.release()
	c.app.release()
	c.hs, c.move = nil, nil
	c.state = StateFree
}

// event appends an event about this connection to the shard's queue.
func (c *Conn) event(e Event) {
	e.Slot = c.slot
	c.sh.Events = append(c.sh.Events, e)
}

const (
	minDatagram     = 1200 // RFC 9000 §14
	defaultAckDelay = 25 * mono.Millisecond
)
