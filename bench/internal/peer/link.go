package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"godwit.example/godwit/load"
)

// A link is one end of a connection of a transport that works with goroutines:
// one of them receives, another one sends.
type link interface {
	// receive waits for messages and calls take for each that came together.
	receive(take func(message []byte)) error
	// send sends messages that are framed one after another.
	send(framed []byte) error
	Close() error
}

// frameHeader is the length of a message, in streams and between goroutines.
const frameHeader = 4

func appendFrame(b, message []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(message)))
	return append(b, message...)
}

// beginFrame makes room for a length, which endFrame fills in.
func beginFrame(b []byte) []byte { return append(b, 0, 0, 0, 0) }

func endFrame(b []byte, begin int) {
	binary.LittleEndian.PutUint32(b[begin:], uint32(len(b)-begin-frameHeader))
}

// frames cuts a byte stream into messages.
type frames struct {
	buf      []byte
	from, to int // of what has come and has not been given out
}

// A buffer begins small, because most connections of a server say little, and
// doubles when a read has filled it, up to mostRoom and what a long message takes.
const (
	leastRoom = 4 << 10
	mostRoom  = 64 << 10
)

// room returns where to read to; what next returned before is lost.
func (f *frames) room() []byte {
	full := f.to == len(f.buf)
	if f.from > 0 {
		f.to = copy(f.buf, f.buf[f.from:f.to])
		f.from = 0
	}
	if len(f.buf)-f.to < leastRoom || full && len(f.buf) < mostRoom {
		f.buf = append(f.buf, make([]byte, max(len(f.buf), leastRoom))...)
	}
	return f.buf[f.to:]
}

// next returns the next complete message, nil if there is none yet.
func (f *frames) next() []byte {
	have := f.buf[f.from:f.to]
	if len(have) < frameHeader {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(have))
	if n > len(have)-frameHeader {
		return nil
	}
	f.from += frameHeader + n
	return have[frameHeader : frameHeader+n : frameHeader+n]
}

// streamLink carries messages over a byte stream, as many in a write as there are.
type streamLink struct {
	io.ReadWriteCloser

	in frames
}

func (l *streamLink) receive(take func([]byte)) error {
	n, err := l.Read(l.in.room())
	l.in.to += n
	for m := l.in.next(); m != nil; m = l.in.next() {
		take(m)
	}
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

func (l *streamLink) send(framed []byte) error {
	_, err := l.Write(framed)
	return err
}

// packets sends and receives whole messages.
type packets interface {
	ReadMessage() ([]byte, error) // valid until the next call
	WriteMessage(message []byte) error
	Close() error
}

// messageLink carries messages over a transport that keeps them apart.
type messageLink struct{ packets }

func (l messageLink) receive(take func([]byte)) error {
	m, err := l.ReadMessage()
	if err == nil {
		take(m)
	}
	return err
}

func (l messageLink) send(framed []byte) error {
	for len(framed) > 0 {
		n := frameHeader + int(binary.LittleEndian.Uint32(framed))
		if err := l.WriteMessage(framed[frameHeader:n]); err != nil {
			return err
		}
		framed = framed[n:]
	}
	return nil
}

// answerLink serves a connection until it ends: what came together is answered together.
func answerLink(l link, answer Answer) {
	defer l.Close()
	var out []byte
	for {
		out = out[:0]
		if err := l.receive(func(m []byte) {
			begin := len(out)
			out = answer(beginFrame(out), m)
			endFrame(out, begin)
		}); err != nil {
			return
		}
		if len(out) > 0 && l.send(out) != nil {
			return
		}
	}
}

// links is the client's end over links: load.Transport for whoever can dial.
type links struct {
	dial func(ctx context.Context, k int) (link, error)
	stop func() // what the connections have in common

	ends []*linkEnd

	mu     sync.Mutex // of l: its calls must not overlap
	l      turns
	over   bool
	failed chan error
}

// linkEnd is one connection and what is to be sent on it.
type linkEnd struct {
	link

	mu     sync.Mutex
	queue  []byte        // framed
	filled chan struct{} // there is something in queue
}

// mostQueued bounds what waits for one connection, unless it is a single message.
const mostQueued = 256 << 10

// dialsAtOnce is how many connections are opened at a time.
const dialsAtOnce = 32

func (t *links) Connect(ctx context.Context, connections int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.ends = make([]*linkEnd, connections)
	turns := make(chan int)
	var dialing sync.WaitGroup
	for range min(dialsAtOnce, connections) {
		dialing.Go(func() {
			for k := range turns {
				l, err := t.dial(ctx, k)
				if err != nil {
					cancel(fmt.Errorf("connection %d: %w", k, err))
					continue
				}
				t.ends[k] = &linkEnd{link: l, filled: make(chan struct{}, 1)}
			}
		})
	}
	for k := range connections {
		if ctx.Err() != nil {
			break
		}
		turns <- k
	}
	close(turns)
	dialing.Wait()
	return context.Cause(ctx)
}

func (t *links) Send(k int, p []byte) bool {
	e := t.ends[k]
	e.mu.Lock()
	if len(e.queue) > 0 && len(e.queue)+len(p) > mostQueued {
		e.mu.Unlock()
		return false
	}
	e.queue = appendFrame(e.queue, p)
	e.mu.Unlock()
	select {
	case e.filled <- struct{}{}:
	default:
	}
	return true
}

// turns is who makes the load: load.Load, or room.Members.
type turns interface {
	Turn() (wait time.Duration, done bool)
	Arrived()
	Message(conn int, p []byte)
}

func (t *links) Drive(ctx context.Context, l *load.Load) error { return t.drive(ctx, l) }

func (t *links) drive(ctx context.Context, l turns) error {
	t.l, t.failed = l, make(chan error, 2*len(t.ends))
	for k, e := range t.ends {
		go t.reads(k, e)
		go t.writes(k, e)
	}
	pause, done := pauser()
	defer done()
	for {
		t.mu.Lock()
		wait := t.turn()
		over := t.over
		t.mu.Unlock()
		if over {
			return nil
		}
		select {
		case err := <-t.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		pause(min(wait, longestPause))
	}
}

// turn gives the generator its turn, unless the run is over. t.mu is held.
func (t *links) turn() (wait time.Duration) {
	if !t.over {
		wait, t.over = t.l.Turn()
	}
	return wait
}

func (t *links) reads(k int, e *linkEnd) {
	for {
		first := true
		err := e.receive(func(m []byte) {
			if first {
				first = false
				t.mu.Lock()
				t.l.Arrived()
			}
			if !t.over {
				t.l.Message(k, m)
			}
		})
		if !first {
			t.turn() // what was refused has room now
			t.mu.Unlock()
		}
		if err != nil {
			t.failed <- fmt.Errorf("connection %d: %w", k, err)
			return
		}
	}
}

func (t *links) writes(k int, e *linkEnd) {
	var out []byte
	for range e.filled {
		e.mu.Lock()
		out, e.queue = e.queue, out[:0]
		e.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		if err := e.send(out); err != nil {
			t.failed <- fmt.Errorf("connection %d: %w", k, err)
			return
		}
	}
}

func (t *links) Close() {
	for _, e := range t.ends {
		if e != nil {
			close(e.filled)
			_ = e.Close()
		}
	}
	if t.stop != nil {
		t.stop()
	}
}

// mostBuffered is what sockets of datagrams buffer, as much of it as the system allows:
// a burst of all connections must not be lost for want of room.
const mostBuffered = 4 << 20

func enlarge(socket interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
},
) {
	_ = socket.SetReadBuffer(mostBuffered)
	_ = socket.SetWriteBuffer(mostBuffered)
}

// serveListener gives each connection of a listener a goroutine until ctx ends.
func serveListener(ctx context.Context, l net.Listener, each func(link)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go each(&streamLink{ReadWriteCloser: c})
	}
}
