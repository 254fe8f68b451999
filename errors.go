package godwit

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// ErrWouldBlock is returned by a send that found the connection's send buffer or the shard's mailbox full. The message was not
// taken. Handler.Writable is called once there is room; Conn.SendWait waits for it.
var ErrWouldBlock = errors.New("godwit: send would block (send again when Handler.Writable is called, or use SendWait)")

// ErrNoStreams is returned by Conn.Stream when the peer allows no streams.
var ErrNoStreams = errors.New("godwit: the peer accepts no streams (its Config.MaxStreams is negative)")

// StreamError is returned by a Stream whose peer has reset its half, or has asked this end to stop.
type StreamError struct {
	Stream  uint64 // the stream's number
	Code    uint64 // the peer's; 0 for a stream that it just closed
	Stopped bool   // the peer reads no more; false: it writes no more
}

func (e *StreamError) Error() string {
	what := "reset"
	if e.Stopped {
		what = "stopped"
	}
	return fmt.Sprintf("godwit: stream %d was %s by the peer, code %#x", e.Stream, what, e.Code)
}

// ErrBusy is returned by Dial when the server has no room for another connection.
var ErrBusy = errors.New("godwit: the server is busy (dial again after a random pause)")

// errFull is ErrBusy where this end has no room.
var errFull error = fullError{}

type fullError struct{}

func (fullError) Error() string {
	return "godwit: this end has no room for another connection (raise Config.MaxConnections)"
}

func (fullError) Unwrap() error { return ErrBusy }

// TooLargeError is returned by a send whose message is larger than the peer accepts, or than the send buffer can hold.
type TooLargeError struct {
	Size int // of the payload
	Max  int // the smaller of both limits
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("godwit: message of %d bytes is larger than the limit of %d (raise the peer's Config.MaxMessageSize and this end's SendBuffer, or cut it into pieces)", e.Size, e.Max)
}

// Codes of a CloseError whose Transport is set: look at Transport first, because an application may use the same numbers. Others are in SPEC.md.
const (
	CodeServerBusy     = uint64(wire.ServerBusy)  // 0x6706: the server has no room
	CodeShutdown       = uint64(wire.Shutdown)    // 0x6707: the peer's endpoint was shut down or closed
	CodePolicy         = uint64(wire.Policy)      // 0x6708: the server's Handler.Open refused the connection
	CodeStatelessReset = proto.CodeStatelessReset // the peer does not know the connection: it was restarted. No code on the wire is as large
)

// CloseError is the error of a connection that one side closed. It is net.ErrClosed by errors.Is.
type CloseError struct {
	Code   uint64 // the application's code, or the transport's if Transport is set
	Reason string
	Remote bool // the peer closed it
	// Transport says that the protocol, not the application, closed the connection: Code is then an error code of the
	// protocol's specification, such as CodeShutdown.
	Transport bool
}

func (e *CloseError) Error() string {
	who := "closed"
	if e.Remote {
		who = "closed by the peer"
	}
	kind := "code"
	if e.Transport {
		kind = "transport code"
	}
	s := fmt.Sprintf("godwit: connection %s, %s %#x", who, kind, e.Code)
	if name := wire.ErrorCode(e.Code).String(); e.Transport && !strings.HasPrefix(name, "ERROR") {
		s += " " + name // as SPEC.md and TROUBLESHOOTING.md call it
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns net.ErrClosed.
func (e *CloseError) Unwrap() error { return net.ErrClosed }

// IdleTimeoutError is the error of a connection whose peer was silent for the idle timeout, or left what was sent to it unacknowledged for
// half of this end's and an eighth of that. It is a net.Error with Timeout() true, and net.ErrClosed by errors.Is.
type IdleTimeoutError struct {
	After time.Duration // for how long nothing had been heard of the peer; zero if it is not known any more
}

func (e *IdleTimeoutError) Error() string {
	if e.After == 0 {
		return "godwit: connection timed out"
	}
	return fmt.Sprintf("godwit: connection timed out after %v of silence (is the peer alive? A NAT that forgets sooner needs a shorter Config.KeepAlive)", e.After)
}

// Timeout reports true.
func (e *IdleTimeoutError) Timeout() bool { return true }

// Temporary reports false: the connection is gone.
func (e *IdleTimeoutError) Temporary() bool { return false }

// Unwrap returns net.ErrClosed.
func (e *IdleTimeoutError) Unwrap() error { return net.ErrClosed }

// HandshakeError is returned by Dial when no connection came about.
type HandshakeError struct {
	// Stage is what was being done: "resolve" the name, open a "socket", wait for the "first answer", "tls", or agree on the "parameters" of
	// the connection, which stands for any other refusal by an end as well.
	Stage string
	Seen  string // what came instead
	Hint  string // what to look at, may be empty
	Err   error  // the cause, may be nil
	time  bool
}

func (e *HandshakeError) Error() string {
	s := "godwit: handshake failed at " + e.Stage + ": " + e.Seen
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Timeout reports whether the handshake ran out of time.
func (e *HandshakeError) Timeout() bool { return e.time }

// Temporary reports whether trying again may help.
func (e *HandshakeError) Temporary() bool { return e.time }

// Unwrap returns the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// errStale is returned by methods of a Conn whose connection is gone and whose place has been given to another one.
var errStale = fmt.Errorf("godwit: connection is gone: %w", net.ErrClosed)

// errClosing is returned by sends on a connection that this side has closed.
var errClosing = fmt.Errorf("godwit: connection is closing: %w", net.ErrClosed)

// errInHandler is returned by methods that wait when they are called from a Handler, whose shard would wait for itself.
var errInHandler = errors.New("godwit: a method that waits was called from a Handler: start a goroutine, or use Async")

// errDialed is returned by Dial of an endpoint that belongs to one connection.
var errDialed = errors.New("godwit: the endpoint is that of a dialed connection: use godwit.Dial, or an endpoint of Listen")

// errEndpointClosed is returned by methods of a closed Endpoint.
var errEndpointClosed = fmt.Errorf("godwit: endpoint is closed: %w", net.ErrClosed)

// errHandled is returned by Receive and Accept of an endpoint whose Handler takes the messages or the connections.
var errHandled = errors.New("godwit: the endpoint's Handler takes them: leave Handler.Message and Handler.Open nil to use Receive and Accept")
