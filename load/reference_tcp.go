package load

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// The TCP reference frames messages by a length of four bytes. Sockets have
// TCP_NODELAY, which is Go's default.
const frameHeader = 4

// tcpBuffer is what one read or write moves at most.
const tcpBuffer = 64 << 10

// serveTCP echoes messages, a goroutine a connection. All that came in one read
// leaves in one write.
func serveTCP(stop <-chan struct{}, ready func(netip.AddrPort)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready(l.Addr().(*net.TCPAddr).AddrPort())
	go func() {
		<-stop
		_ = l.Close()
	}()
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		serving.Go(func() {
			defer c.Close()
			echoTCP(c)
		})
	}
}

func echoTCP(c net.Conn) {
	var in frames
	var out []byte
	for {
		room := in.room()
		n, err := c.Read(room)
		if err != nil {
			return
		}
		in.grow(n)
		out = out[:0]
		for m := in.next(); m != nil; m = in.next() {
			out = appendFrame(out, m)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func appendFrame(b, m []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m)))
	return append(b, m...)
}

// frames cuts a byte stream into messages.
type frames struct {
	buf      []byte
	from, to int // of what has come and has not been given out
}

// room returns where to read to; what next returned before is lost.
func (f *frames) room() []byte {
	if f.from > 0 {
		f.to = copy(f.buf, f.buf[f.from:f.to])
		f.from = 0
	}
	if len(f.buf)-f.to < tcpBuffer {
		f.buf = append(f.buf, make([]byte, tcpBuffer)...)
	}
	return f.buf[f.to:]
}

// grow notes that n bytes were read to room.
func (f *frames) grow(n int) { f.to += n }

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
