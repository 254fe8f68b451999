package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/wire"
)

// Limits of byte streams (docs/SPEC.md, "Byte streams").
const (
	streamStep     = 4        // from the number of one end's stream to that of its next
	streamShare    = 8        // while messages have something to send, streams get one byte of this many
	streamRoom     = 64       // bytes of data that a STREAM frame at the end of a packet is worth
	mostCreditKept = 64 << 10 // of the connection's credit that streams leave to messages, if an eighth of it is more
	minPieces      = 256      // pieces of a stream that may lie apart ...
	pieceBytes     = 64       // ... and one more for this many bytes
	noOffset       = ^uint64(0)
	maxStreamBytes = 1 << 30 // that one stream holds in its send buffer
)

var markStreamCredit = mark.Register("proto: credit stalled a stream")

// streams is everything that a connection knows about byte streams, in both directions. A connection has it from the first stream on.
type streams struct {
	m      *messages
	client bool
	busy   bool // counted in m.ready
	maxDue bool // MAX_STREAMS is to be sent
	owed   int32
	keep   uint64 // credit of the connection that is left to messages

	list    []*stream // in an order that only operations determine
	index   map[uint64]*stream
	control ring[*stream] // with a control frame due
	data    ring[*stream] // with data to send, whose turn it is first

	opened     uint64 // streams of this end, ever
	seen       uint64 // streams of the peer, ever
	retired    uint64 // ... that are over and let go by the application
	advertised uint64 // what MAX_STREAMS said last
}

// progress is how far a FIN or a RESET_STREAM got.
type progress uint8

const (
	notAsked progress = iota
	isDue
	isSent
	isAcked
)

// Control frames of a stream that are due, beside dueMax and dueBlocked.
const (
	dueReset uint8 = 1 << (iota + 3)
	dueStop
)

// stream is one byte stream.
type stream struct {
	id uint64

	// Sending. queue holds what was written from the oldest piece that is not wholly acknowledged.
	queue     ring[segment]
	base      uint64 // offset of the first byte of queue
	end       uint64 // offset behind the last byte written
	sent      uint64 // offset behind the last byte that was sent once
	limit     uint64 // the peer's MAX_CHANNEL
	blockedAt uint64 // limit + 1 for which CHANNEL_BLOCKED was said
	finAt     uint64 // length of the stream, or noOffset
	sendCode  uint64 // of RESET_STREAM
	acked     rangeset
	lost      rangeset // both counted from base
	fin       progress
	reset     progress

	// Receiving.
	pieces      []piece // beyond next, sorted; they do not overlap
	next        uint64  // offset behind the last byte delivered
	highest     uint64  // offset behind the last byte that the peer has taken credit for
	final       uint64  // length of the stream, or noOffset
	consumed    uint64
	advertised  uint64 // what MAX_CHANNEL said last
	advertNext  uint64 // consumed at which it is due again
	stopCode    uint64
	peerBlocked bool
	over        bool // the application was told of the end: FIN, or reset
	stopped     bool

	announce  bool // an empty frame is to tell the peer of the stream
	announced bool // some frame of the stream was acknowledged
	released  bool // the application has let go
	holding   bool // counted in m.unresolved
	inControl bool
	inData    bool
	gone      bool // out of the list
	due       uint8
	waits     waiting
	at        int // in list
}

// segment is one write on its way out, without pointers.
type segment struct {
	start uint64 // offset of its first byte
	where uint32 // its chunk, or a pool block if entryPooled
	off   uint32 // in the chunk
	size  uint32
	flags uint8
}

// piece is data that arrived before what comes in front of it.
type piece struct {
	from uint64
	n    uint32
	ref  mem.Ref
}

func (p *piece) end() uint64 { return p.from + uint64(p.n) }

// local reports whether this end opens the streams of that number.
func (st *streams) local(id uint64) bool { return id&1 == 0 == st.client }

// ordinal is which of its opener's streams a number is, counted from 0.
func ordinal(id uint64) uint64 { return (id - wire.MinStream) / streamStep }

// streamSet returns the connection's streams.
func (c *Conn) streamSet() *streams {
	if c.streams == nil {
		c.streams = &streams{
			m: &c.msgs, client: c.client, keep: uint64(c.creditKept),
			index: map[uint64]*stream{}, advertised: c.sh.Config.Params.InitialMaxStreams,
		}
	}
	return c.streams
}

// add makes the record of a stream.
func (st *streams) add(id uint64) *stream {
	s := &stream{
		id: id, limit: st.m.peerChannel, finAt: noOffset, final: noOffset,
		advertised: st.m.sh.Config.Params.InitialMaxChannel, at: len(st.list),
	}
	st.setAdvertNext(s)
	st.list = append(st.list, s)
	st.index[id] = s
	return s
}

// own returns a stream that the application names, nil if it is over. Streams of this end come to be at their first command.
func (c *Conn) own(id uint64) *stream {
	if id < wire.MinStream || id&2 != 0 {
		return nil
	}
	st := c.streamSet()
	if st.local(id) {
		if ordinal(id) >= c.peerStreams {
			return nil
		}
		for ordinal(id) >= st.opened {
			s := st.add(wire.MinStream + st.opened*streamStep + id&1)
			st.opened++
			c.sh.Stats.StreamsOpened++
			s.announce = true
			st.settle(s)
		}
	}
	return st.index[id]
}

// named returns the stream that a frame names, nil if it is over, and what to close with if there can be none. The first frame of a stream
// opens it and those below (RFC 9000 §3.2).
func (c *Conn) named(id uint64) (*stream, wire.ErrorCode) {
	if id < wire.MinStream {
		return nil, wire.FrameEncodingError
	}
	st := c.streamSet()
	switch n := ordinal(id); {
	case st.local(id):
		if id&2 != 0 || n >= st.opened {
			return nil, wire.StreamStateError
		}
	case id&2 != 0 || n >= st.advertised:
		return nil, wire.StreamLimitError
	default:
		for n >= st.seen {
			s := st.add(wire.MinStream + st.seen*streamStep + id&1)
			st.seen++
			c.sh.Stats.StreamsAccepted++
			st.m.event(Event{Kind: EventStreamOpen, ID: s.id})
		}
	}
	return st.index[id], wire.NoError
}

// arrived reports whether the peer has everything that this end will send.
func (s *stream) arrived() bool {
	return s.reset == isAcked || s.reset == notAsked && s.fin == isAcked && s.base == s.end
}

// retire forgets a stream of which nothing is left: each direction has ended and the application has let go.
func (st *streams) retire(s *stream) {
	if s.gone || !s.released || !s.over || !s.arrived() {
		return
	}
	s.gone, s.due = true, 0
	remove(&st.control, s)
	remove(&st.data, s)
	st.sync()
	last := st.list[len(st.list)-1]
	st.list[s.at], last.at = last, s.at
	st.list = st.list[:len(st.list)-1]
	delete(st.index, s.id)
	if st.local(s.id) {
		return
	}
	st.retired++
	limit := st.m.sh.Config.Params.InitialMaxStreams
	if st.advertised-st.seen <= limit/2 && st.retired+limit > st.advertised {
		st.maxDue = true
		st.sync()
	}
}

// remove takes a stream out of a queue; rare.
func remove(q *ring[*stream], s *stream) {
	for n := q.len(); n > 0; n-- {
		x := *q.at(0)
		q.popFront(1)
		if x != s {
			q.push(x)
		}
	}
}

// sync has the connection know whether streams have something to send.
func (st *streams) sync() {
	busy := st.maxDue || st.control.len() > 0 || st.data.len() > 0
	if busy == st.busy {
		return
	}
	st.busy = busy
	if busy {
		st.m.ready++
	} else {
		st.m.ready--
	}
}

// want notes that a stream has a control frame to send.
func (st *streams) want(s *stream, what uint8) {
	if s.gone {
		return
	}
	s.due |= what
	if !s.inControl {
		s.inControl = true
		st.control.push(s)
	}
	st.sync()
}

// releaseStreams forgets all streams. What they counted in messages goes with those.
func (c *Conn) releaseStreams() {
	if c.streams != nil {
		c.streams.release()
		c.streams = nil
	}
}

// release returns every block and every reference to a chunk.
func (st *streams) release() {
	for _, s := range st.list {
		st.dropQueue(s)
		st.dropPieces(s)
	}
}

// StreamOps says what a command does to a stream; they are done in this order.
type StreamOps uint8

// Operations on a stream.
const (
	StreamOpen    StreamOps = 1 << iota // the peer is to know of it
	StreamRead                          // Read bytes were taken by the application
	StreamFinish                        // its length is Size, which may not be written yet
	StreamReset                         // what was not sent is dropped; the peer is told Code
	StreamStop                          // the peer is asked to send no more, with Code
	StreamRelease                       // the application has let go
)

// StreamCommand is a command about a stream.
type StreamCommand struct {
	ID   uint64
	Size uint64
	Code uint64
	Read int
	Ops  StreamOps
}

// StreamLimit returns an EventStreamLimit: how many streams this end may open in all, and the first of them.
func (c *Conn) StreamLimit() Event {
	first := uint64(wire.MinStream)
	if !c.client {
		first++
	}
	return Event{Kind: EventStreamLimit, ID: c.peerStreams, Key: first}
}

// Streams returns how many streams there are, of both ends.
func (c *Conn) Streams() int {
	if c.streams == nil {
		return 0
	}
	return len(c.streams.list)
}

// Stream does what a command says. A stream that is over is left alone.
func (c *Conn) Stream(cmd *StreamCommand) {
	if c.state != StateConnected {
		return
	}
	s := c.own(cmd.ID)
	st := c.streams
	if cmd.Ops&StreamRead != 0 && st != nil {
		st.consumed(s, uint64(cmd.Read))
	}
	if s == nil {
		return
	}
	if cmd.Ops&StreamFinish != 0 && s.finAt == noOffset && s.reset == notAsked && cmd.Size >= s.end {
		s.finAt, s.fin = cmd.Size, isDue
	}
	if cmd.Ops&StreamReset != 0 {
		st.resetSend(s, cmd.Code)
	}
	if cmd.Ops&StreamStop != 0 && !s.stopped && s.final == noOffset {
		s.stopped, s.stopCode = true, cmd.Code
		st.want(s, dueStop)
	}
	if cmd.Ops&StreamRelease != 0 {
		s.released = true
	}
	st.settle(s)
	st.retire(s)
}
