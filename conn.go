package godwit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
)

// Conn is a connection. It is a small comparable value and may be copied, stored in maps and used by any goroutine; it keeps
// nothing alive. When the connection is gone, methods of what is left of the value return an error that is net.ErrClosed.
// The zero Conn is such a value.
type Conn struct {
	// Two words, so that a Conn and a Message together are passed in registers.
	ep *Endpoint
	id uint64 // generation<<32 | shard<<24 | slot
}

// ConnState is where a connection is in its life.
type ConnState uint8

// The states of a connection.
const (
	StateGone    ConnState = iota // over and forgotten
	StateOpening                  // the handshake is not complete
	StateOpen
	StateClosing // closed by this end, which still delivers what was sent
	StateClosed  // over; Err says why
)

var stateNames = [...]string{"gone", "opening", "open", "closing", "closed"}

// String returns the state's name.
func (s ConnState) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

func (c Conn) ref() shard.Ref { return shard.Ref{Slot: uint32(c.id), Gen: uint32(c.id >> 32)} }

func (c Conn) gen() uint32 { return uint32(c.id >> 32) }

// shard returns the shard that the connection lives on.
func (c Conn) shard() *shard.Shard { return c.ep.engine.shards[uint32(c.id)>>slotBits] }

// sides returns the table that the connection's side is in.
func (c Conn) sides() *sideTable { return &c.ep.engine.sides[uint32(c.id)>>slotBits] }

// slot returns what is known of the connection outside its shard.
func (c Conn) slot() *shard.Slot { return c.shard().Slot(c.ref()) }

// Send queues p on a channel. It copies p, never blocks, and may be called from anywhere. Errors: ErrWouldBlock,
// *TooLargeError, and those of a connection that is closed or gone. ErrWouldBlock is for reliable modes: on an unreliable channel a message
// that finds no room takes the place of the oldest unsent one, or is dropped and counted (Stats.Evicted, Stats.SendsDropped). Nil
// means that the message is queued, not that the peer has it. Dial and Open give out connections whose handshake is complete, so sends
// never wait for one.
func (c Conn) Send(ch Channel, p []byte) error {
	if c.ep == nil {
		return errStale
	}
	if ch >= maxChannels {
		return errChannel(ch)
	}
	var m shard.Outbound // filled in place: a literal is put together elsewhere and copied
	m.Payload, m.Channel, m.Reliable = p, uint16(ch), c.ep.limits.reliable[ch]
	s := c.shard()
	if status := s.Send(c.ref(), &m); status != shard.Sent {
		return c.sendError(s, status, len(p), m.Reliable)
	}
	return nil
}

// SendMessage is Send for a message with a key, a tag or a time to live.
func (c Conn) SendMessage(m Message) error {
	if c.ep == nil {
		return errStale
	}
	if m.Channel >= maxChannels {
		return errChannel(m.Channel)
	}
	if m.Key > maxKey {
		return errKey(m.Key)
	}
	var o shard.Outbound
	o.Payload, o.Channel, o.Key, o.Tag, o.TTL = m.Payload, uint16(m.Channel), m.Key, m.Tag, max(m.TTL, 0)
	o.Reliable = c.ep.limits.reliable[m.Channel]
	s := c.shard()
	if status := s.Send(c.ref(), &o); status != shard.Sent {
		return c.sendError(s, status, len(m.Payload), o.Reliable)
	}
	return nil
}

func errKey(key uint64) error { return fmt.Errorf("godwit: key %#x is not below 2^62", key) }

func errChannel(ch Channel) error {
	return fmt.Errorf("godwit: there is no channel %d, the highest is %d", ch, maxChannels-1)
}

func (c Conn) sendError(s *shard.Shard, status shard.Status, size int, reliable bool) error {
	switch status {
	case shard.WouldBlock:
		return ErrWouldBlock
	case shard.TooLarge:
		return &TooLargeError{Size: size, Max: s.Slot(c.ref()).MaxSend(reliable)}
	case shard.NotYet:
		return ErrWouldBlock
	}
	return c.closedError()
}

// SendWait is SendMessage that waits for room. Errors are those of Send but ErrWouldBlock, and the context's. It must not be
// called from a Handler.
func (c Conn) SendWait(ctx context.Context, m Message) error {
	err := c.SendMessage(m)
	if err != ErrWouldBlock { //nolint:errorlint // Send returns it bare
		return err
	}
	side := c.ep.side(c)
	if side == nil {
		return c.closedError()
	}
	for {
		room := side.room()
		if err := c.SendMessage(m); err != ErrWouldBlock { //nolint:errorlint // as above
			return err
		}
		if sim := c.ep.engine.sim; sim != nil {
			if err := sim.Wait(func() bool { return isClosed(room) || isClosed(side.done) || ctx.Err() != nil }); err != nil {
				return err
			}
		}
		if err := side.mayWait(c); err != nil {
			return err
		}
		select {
		case <-room:
		case <-side.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Receive waits for the next message and copies its payload into buf[:0], growing it if need be. It is for endpoints without
// Handler.Message. Messages that came before the connection ended are returned first, then its error. If ctx ends first, its error is
// returned bare and no message is lost; the connection goes on. A context that has ended already may still be given a message that
// is at hand. In a Handler it returns an error where it would have to wait.
func (c Conn) Receive(ctx context.Context, buf []byte) (Message, error) {
	if c.ep == nil {
		return Message{}, errStale
	}
	if c.ep.handler.Message != nil || c.ep.workers != nil {
		return Message{}, errHandled
	}
	side := c.ep.side(c)
	if side == nil {
		return Message{}, c.closedError()
	}
	m, err := side.receive(ctx, c, buf)
	if err != nil && ctx.Err() == nil && side.cause() != nil { // nothing is left to take
		c.sides().drop(c.ref(), side)
	}
	return m, err
}

// Tag returns the number that the application has put on the connection; zero at first.
func (c Conn) Tag() uint64 {
	if c.ep == nil {
		return 0
	}
	return c.slot().Tag(c.gen())
}

// SetTag puts a number on the connection, such as an index into the application's own table. A stale Conn is left alone.
func (c Conn) SetTag(tag uint64) {
	if c.ep != nil {
		c.slot().SetTag(c.gen(), tag)
	}
}

// ID returns a number that no other connection of the endpoint has or had, for logs.
func (c Conn) ID() uint64 { return c.id }

// String returns the ID and the address for logs.
func (c Conn) String() string {
	if c.ep == nil {
		return "godwit.Conn(none)"
	}
	return fmt.Sprintf("godwit.Conn(%x %v)", c.ID(), c.RemoteAddr())
}

// RemoteAddr returns the peer's address. It changes when the peer moves.
func (c Conn) RemoteAddr() netip.AddrPort {
	if c.ep == nil {
		return netip.AddrPort{}
	}
	a, ok := c.slot().Remote(c.gen())
	if !ok {
		return netip.AddrPort{}
	}
	return udp.Addr(a).AddrPort()
}

// State returns where the connection is in its life.
func (c Conn) State() ConnState {
	if c.ep == nil {
		return StateGone
	}
	return ConnState(c.slot().State(c.gen()))
}

// Endpoint returns the endpoint that the connection belongs to, nil for the zero Conn.
func (c Conn) Endpoint() *Endpoint { return c.ep }

// Done returns a channel that is closed when the connection has ended.
func (c Conn) Done() <-chan struct{} {
	if c.ep != nil {
		if side := c.ep.side(c); side != nil {
			return side.done
		}
	}
	return closedChan
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Err returns nil while the connection lives, and afterwards why it ended: a *CloseError, an *IdleTimeoutError, or another
// error that is net.ErrClosed.
func (c Conn) Err() error {
	if c.ep == nil {
		return errStale
	}
	switch c.State() {
	case StateOpening, StateOpen, StateClosing:
		return nil
	}
	return c.closedError()
}

// closedError is the error of a connection that is over.
func (c Conn) closedError() error {
	if c.State() == StateClosing {
		return errClosing
	}
	if side := c.sides().get(c.ref()); side != nil {
		if err := side.cause(); err != nil {
			return err
		}
	}
	end, ok := c.slot().End(c.gen())
	if !ok {
		return errStale
	}
	return endError(&end)
}

// Close ends the connection in good order: further sends fail, what was sent reliably is delivered first, for at most
// Config.Linger. It returns at once; Done says when all is over.
func (c Conn) Close() error {
	if c.ep == nil {
		return errStale
	}
	if st := c.State(); st != StateOpen && st != StateOpening {
		return c.closedError()
	}
	c.shard().Close(c.ref(), true, 0, "")
	return nil
}

// CloseWithError ends the connection at once. The peer sees the code and the reason; what it has not received yet may be lost.
func (c Conn) CloseWithError(code uint64, reason string) error {
	if c.ep == nil {
		return errStale
	}
	if st := c.State(); st != StateOpen && st != StateOpening {
		return c.closedError()
	}
	c.shard().Close(c.ref(), false, code, reason)
	return nil
}

// Ping asks the peer for an acknowledgment, which also keeps the connection alive.
func (c Conn) Ping() {
	if c.ep != nil {
		c.shard().Ping(c.ref())
	}
}

// endError makes the error of a connection from how it ended.
func endError(end *shard.Closed) error {
	if end.Idle {
		return &IdleTimeoutError{After: end.Silent}
	}
	return &CloseError{Code: end.Code, Reason: end.Reason, Remote: end.Remote, Transport: !end.App}
}

// ConnStats are the figures of one connection at one moment.
type ConnStats struct {
	RTT    time.Duration // smoothed
	MinRTT time.Duration
	RTTVar time.Duration
	// Window is the congestion window, InFlight what is sent and not acknowledged, MaxDatagram the largest datagram that the path is known
	// to carry: all in bytes of UDP payload.
	Window, InFlight, MaxDatagram int
	// Rate is what SuggestedRate returns.
	Rate int64
	// Queued is what is sent by the application and not acknowledged, in bytes as Config.SendBuffer counts them.
	Queued int
	// Streams is how many byte streams there are, of both ends: one counts until both directions have ended and Close was called.
	Streams int
}

// Stats returns the connection's figures. It takes a turn of the shard, a few microseconds when that is idle, and waits for it. In a Handler
// it answers at once for connections of the same shard; for those of other shards and endpoints it returns an error there, since shards that
// wait for each other would wait for ever.
func (c Conn) Stats() (ConnStats, error) {
	if c.ep == nil {
		return ConnStats{}, errStale
	}
	st, ok, err := c.shard().ConnStats(context.Background(), c.ref())
	if errors.Is(err, shard.ErrOtherShard) {
		return ConnStats{}, errInHandler
	}
	if err != nil {
		return ConnStats{}, err
	}
	if !ok {
		return ConnStats{}, c.closedError()
	}
	return ConnStats{
		RTT: st.RTT, MinRTT: st.MinRTT, RTTVar: st.RTTVar,
		Window: st.Window, InFlight: st.InFlight, MaxDatagram: st.Datagram, Rate: st.Rate, Queued: st.Queued, Streams: st.Streams,
	}, nil
}

// SuggestedRate returns how many bytes a second the connection may be expected to get through, as congestion control sees it: a window for
// each round trip, at most Config.MaxSendRate. An encoder of video or a snapshot that keeps below it finds room on the path. It is
// 0 where nothing is known: before the first acknowledgment, when the connection is over, and where Stats would return an error. It takes what
// Stats takes.
func (c Conn) SuggestedRate() int64 {
	st, err := c.Stats()
	if err != nil {
		return 0
	}
	return st.Rate
}

// Flush has the shard look at once. It is hardly ever needed: nothing waits for more to come, what is sent wakes a sleeping shard, and
// leaves in the cycle in which the shard takes it; what a Handler sends leaves when the shard has called the other handlers of that cycle. What is held back
// by congestion control, the peer's credit or Config.MaxSendRate stays.
func (c Conn) Flush() {
	if c.ep != nil {
		c.shard().Socket().Wake()
	}
}
