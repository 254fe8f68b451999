package godwit

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/wire"
)

// Stream is a byte stream within a connection, with the semantics of RFC 9000: bytes arrive in order and without loss, each direction ends on
// its own, and a stream that is stalled or waits for a lost packet holds up no other one and no message. It is a net.Conn, safe for use by
// many goroutines. The caller must call Close or Reset in the end, also after both directions have ended: only then does the peer get room
// for another stream.
//
// Errors of its methods: io.EOF where the peer has finished, *StreamError where it has reset its half or asked this end to stop,
// os.ErrDeadlineExceeded, net.ErrClosed after Close, and the error of a connection that is over. They must not be called from a Handler when they
// would have to wait.
type Stream struct {
	table *streamTable
	id    uint64
	local net.Addr
	peer  net.Addr

	reading turn // one reader at a time
	readBy  deadline

	writing turn // one writer at a time
	writeBy deadline
	written uint64

	mu       sync.Mutex
	in       inbox // received from the shard and not taken
	owed     int   // bytes taken that the shard was not told of
	readErr  error // behind in
	writeErr error
	pending  int // bytes written and not acknowledged, 32 a write more
	closed   bool
	readable chan struct{} // one slot: a reader is to look again
	writable chan struct{}
}

// smallWrite is what a stream may write whatever others have, so that none is starved of the buffer.
const smallWrite = 4 << 10

// maxRead is the most that one Read takes: while it copies, the shard cannot put more in.
const maxRead = 32 << 10

func newStream(t *streamTable, id uint64) *Stream {
	s := &Stream{
		table: t, id: id, peer: net.UDPAddrFromAddrPort(t.c.RemoteAddr()), local: net.UDPAddrFromAddrPort(t.c.ep.addr),
		reading: make(turn, 1), writing: make(turn, 1), readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
	s.readBy.init()
	s.writeBy.init()
	return s
}

// Conn returns the connection that the stream belongs to.
func (s *Stream) Conn() Conn { return s.table.c }

// ID returns the stream's number, which is the same at both ends and is not used again on the connection.
func (s *Stream) ID() uint64 { return s.id }

// Read reads what has come, and waits if nothing has.
func (s *Stream) Read(p []byte) (int, error) {
	s.reading.take()
	defer s.reading.leave()
	for {
		n, err := s.take(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		if err := s.wait(&s.readBy, s.readable, s.mayRead); err != nil {
			return 0, err
		}
	}
}

// take reads without waiting. What was taken returns to the peer as credit in portions, and when nothing is left.
func (s *Stream) take(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.readBy.passed(s.table):
		return 0, os.ErrDeadlineExceeded
	case s.in.size == 0:
		return 0, s.readErr
	}
	n := s.in.take(p[:min(len(p), maxRead)])
	s.owed += n
	if s.owed >= debtLimit || s.in.size == 0 {
		s.command(proto.StreamCommand{Ops: proto.StreamRead, Read: s.owed})
		s.owed = 0
	}
	return n, nil
}

func (s *Stream) mayRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.in.size > 0 || s.readErr != nil
}

// Write writes all of p, and waits while the stream's share of the send buffer is full. When it returns, p was copied, not sent.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.writing.take()
	defer s.writing.leave()
	for {
		k, err := s.reserve(len(p) - n)
		if err != nil || len(p) == 0 {
			return n, err
		}
		if k > 0 {
			switch s.table.c.shard().StreamWrite(s.table.c.ref(), s.id, p[n:n+k]) {
			case shard.Sent:
				s.written += uint64(k)
				if n += k; n == len(p) {
					return n, nil // whatever becomes of the stream from here on is for the next call
				}
				continue
			case shard.WouldBlock:
				s.unreserve(k + wire.CreditOverhead)
				err = s.wait(&s.writeBy, s.writable, nil)
			default:
				s.unreserve(k + wire.CreditOverhead)
				err = s.table.c.closedError()
			}
		} else {
			err = s.wait(&s.writeBy, s.writable, s.mayWrite)
		}
		if err != nil {
			return n, err
		}
	}
}

// reserve takes room for up to n bytes; 0 if there is none.
func (s *Stream) reserve(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.writeErr != nil:
		return 0, s.writeErr
	case s.writeBy.passed(s.table):
		return 0, os.ErrDeadlineExceeded
	}
	n = min(n, s.room())
	if n <= 0 {
		return 0, nil
	}
	s.pending += n + wire.CreditOverhead
	s.table.buffered.Add(int64(n + wire.CreditOverhead))
	return n, nil
}

// room is how much may be written at once.
func (s *Stream) room() int {
	buffer := s.table.c.ep.limits.SendBuffer
	room := min(max(buffer/2, smallWrite)-s.pending, buffer-int(s.table.buffered.Load())) - wire.CreditOverhead
	if s.pending == 0 {
		room = max(room, smallWrite)
	}
	return min(room, shard.MaxStreamWrite)
}

func (s *Stream) unreserve(n int) {
	s.mu.Lock()
	s.pending -= n
	s.mu.Unlock()
	s.table.buffered.Add(-int64(n))
}

func (s *Stream) mayWrite() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.writeErr != nil || s.room() > 0
}

// wait waits until woken, or until the deadline has passed, which the caller sees then. A simulation lets its time pass instead.
func (s *Stream) wait(by *deadline, woken <-chan struct{}, ready func() bool) error {
	e := s.table.c.ep.engine
	if e.sim != nil {
		return e.sim.Wait(func() bool { return by.passed(s.table) || ready != nil && ready() || ready == nil && len(woken) > 0 })
	}
	if err := s.table.side.mayWait(s.table.c); err != nil {
		return err
	}
	select {
	case <-woken:
	case <-by.done():
	}
	return nil
}

// turn lets one goroutine at a time read or write. It is a channel, not a Mutex, because the one whose turn it is may wait for the network, and
// the virtual time of testing/synctest stands still while somebody waits for a Mutex.
type turn chan struct{}

func (t turn) take()  { t <- struct{}{} }
func (t turn) leave() { <-t }

func wakeOne(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// command sends a command about the stream to its shard.
func (s *Stream) command(cmd proto.StreamCommand) {
	cmd.ID = s.id
	s.table.c.shard().Stream(s.table.c.ref(), cmd)
}

// CloseWrite ends the writing half: the peer reads io.EOF behind what was written. It does not wait for that.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	err := s.writeErr
	if s.closed {
		err = net.ErrClosed
	}
	if err == nil {
		s.writeErr = net.ErrClosed
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	wakeOne(s.writable)
	s.writing.take() // a writer that waited leaves now
	defer s.writing.leave()
	s.command(proto.StreamCommand{Ops: proto.StreamFinish, Size: s.written})
	return nil
}

// Close ends both halves. What was written is still delivered; what the peer sends from now on is dropped, and it is asked to stop. Close does
// not wait for any of that.
func (s *Stream) Close() error { return s.close(proto.StreamFinish, 0) }

// Reset ends both halves at once: what was written and not acknowledged may be lost, and the peer sees a *StreamError with the code.
func (s *Stream) Reset(code uint64) error { return s.close(proto.StreamReset, code) }

func (s *Stream) close(how proto.StreamOps, code uint64) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	read := s.owed + s.in.size
	s.in.drop()
	s.owed = 0
	s.mu.Unlock()
	s.readBy.set(s.table, time.Time{}) // their timers have nobody to wake any more
	s.writeBy.set(s.table, time.Time{})
	wakeOne(s.readable)
	wakeOne(s.writable)
	s.writing.take()
	defer s.writing.leave()
	s.table.forget(s)
	s.command(proto.StreamCommand{
		Ops: proto.StreamRead | how | proto.StreamStop | proto.StreamRelease, Size: s.written, Code: code, Read: read,
	})
	return nil
}

// LocalAddr returns the address of the endpoint; it is zero on the dialing side.
func (s *Stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr returns the peer's address as it was when the stream was opened.
func (s *Stream) RemoteAddr() net.Addr { return s.peer }

// SetDeadline sets the deadlines of reading and writing; the zero time means none.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline sets when Read fails with os.ErrDeadlineExceeded, also one that waits already.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.setDeadline(&s.readBy, t) }

// SetWriteDeadline does the same for Write.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadline(&s.writeBy, t) }

func (s *Stream) setDeadline(d *deadline, t time.Time) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	d.set(s.table, t)
	return nil
}

// event takes an event of the shard. Of data it reports whether they are dropped.
func (s *Stream) event(ev *proto.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ev.Kind {
	case proto.EventStreamData:
		if s.closed {
			return true
		}
		s.in.put(ev.Payload)
		wakeOne(s.readable)
	case proto.EventStreamEnd:
		s.failRead(io.EOF)
	case proto.EventStreamReset:
		s.failRead(&StreamError{Stream: s.id, Code: ev.Code})
	case proto.EventStreamStop:
		s.failWrite(&StreamError{Stream: s.id, Code: ev.Code, Stopped: true})
	case proto.EventStreamWritable:
		s.pending -= int(ev.N)
		wakeOne(s.writable)
	}
	return false
}

func (s *Stream) failRead(err error) {
	if s.readErr == nil {
		s.readErr = err
	}
	wakeOne(s.readable)
}

func (s *Stream) failWrite(err error) {
	if s.writeErr == nil {
		s.writeErr = err
	}
	wakeOne(s.writable)
}

// end says that the connection is over.
func (s *Stream) end(err error) {
	s.mu.Lock()
	s.failRead(err)
	s.failWrite(err)
	s.mu.Unlock()
}

// Stream opens a stream, which the peer gets from AcceptStream or its endpoint's NetListener. The net.Conn is a *Stream. The peer hears of
// it at once, before anything is written. Stream waits while as many streams are open as the peer allows (Config.MaxStreams of
// the peer); the context bounds only that. Errors: ErrNoStreams, the context's, and those of a connection that is gone.
func (c Conn) Stream(ctx context.Context) (net.Conn, error) {
	t, err := c.streams()
	if err != nil {
		return nil, err
	}
	s, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// AcceptStream waits for the next stream that the peer opens. The net.Conn is a *Stream. While the endpoint has a NetListener, new streams go there;
// those that were opened before are still got here.
// Errors are the context's and those of a connection that is gone.
func (c Conn) AcceptStream(ctx context.Context) (net.Conn, error) {
	t, err := c.streams()
	if err != nil {
		return nil, err
	}
	s, err := t.accept(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}
