package handshake

const (
	messageHeader = 4 // type, and length in three bytes (RFC 8446 §4)
	// maxMessage bounds a handshake message: what one level may hold.
	maxMessage = 16 << 10
)

// framer cuts the peer's bytes into handshake messages. crypto/tls does that
// too, but it buffers four times as much, and takes bytes behind the message
// that ends a level for a fault of its own. Message by message, what follows
// such a message meets the level's check in Handle.
type framer struct {
	buf []byte // the beginning of a message
}

// next takes bytes of data up to the end of a message. It returns that message
// and the bytes behind it; a nil message means that data is used up. ok is
// false when a message is longer than maxMessage.
func (f *framer) next(data []byte) (msg, rest []byte, ok bool) {
	for len(f.buf) < messageHeader {
		if len(data) == 0 {
			return nil, nil, true
		}
		f.buf = append(f.buf, data[0])
		data = data[1:]
	}
	n := messageHeader + (int(f.buf[1])<<16 | int(f.buf[2])<<8 | int(f.buf[3]))
	if n > maxMessage {
		return nil, nil, false
	}
	take := min(n-len(f.buf), len(data))
	f.buf = append(f.buf, data[:take]...)
	if len(f.buf) < n {
		return nil, nil, true
	}
	msg, f.buf = f.buf, nil
	return msg, data[take:], true
}
