package app

import (
	"errors"
	"net"
	"time"

	"godwit.example/godwit"
)

const (
	// maxStreams bounds the streams that are echoed at a time. Others wait, and are reset where too many wait (Tuning.AcceptBacklog).
	maxStreams = 256
	// streamPatience is how long a stream may be silent, or unread, before the echo gives it up for others.
	streamPatience = time.Minute
	streamPiece    = 8 << 10
)

// EchoStreams returns to the peer of each stream what it sends, its end included, until the listener is closed.
func EchoStreams(l net.Listener) {
	turns := make(chan struct{}, maxStreams)
	for {
		turns <- struct{}{}
		s, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			echoStream(s)
			<-turns
		}()
	}
}

// echoStream ends a stream as the peer has: after its last byte, or with the code that it was reset or stopped with.
func echoStream(s net.Conn) {
	defer s.Close() // does nothing after Reset
	piece := make([]byte, streamPiece)
	for {
		if s.SetDeadline(time.Now().Add(streamPatience)) != nil {
			return
		}
		n, err := s.Read(piece)
		if n > 0 {
			_, err = s.Write(piece[:n])
		}
		var ended *godwit.StreamError
		if errors.As(err, &ended) {
			_ = s.(*godwit.Stream).Reset(ended.Code) // the connection may be gone
		}
		if err != nil {
			return
		}
	}
}
