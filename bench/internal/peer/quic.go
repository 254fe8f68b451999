package peer

import (
	"context"
	"net"
	"net/netip"

	"github.com/quic-go/quic-go"
	"godwit.example/godwit"
	"godwit.example/godwit/load"
)

// quicMaxDatagram fits into the first packets of a connection, before the path's MTU is known.
const quicMaxDatagram = 1200

func init() {
	register(
		&Peer{
			Name: "quic-go", About: "quic-go 0.65.0, TLS 1.3 and AES-128-GCM; one bidirectional stream a connection, length-framed; GSO and MTU discovery on, as by default; idle timeout 1 h",
			Mode: godwit.Ordered, Encrypted: true, Handshake: true, Procs: 2,
			serveLinks: func(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
				return serveQUIC(ctx, ready, func(c *quic.Conn) {
					s, err := c.AcceptStream(ctx)
					if err != nil {
						_ = c.CloseWithError(0, "")
						return
					}
					each(quicStream(c, s))
				})
			},
			Transport: func(addr netip.AddrPort, secret string) load.Transport {
				return &links{dial: func(ctx context.Context, _ int) (link, error) {
					c, err := dialQUIC(ctx, addr, secret)
					if err != nil {
						return nil, err
					}
					s, err := c.OpenStreamSync(ctx)
					if err != nil {
						_ = c.CloseWithError(0, "")
						return nil, err
					}
					return quicStream(c, s), nil
				}}
			},
		},
		&Peer{
			Name: "quic-go-datagram", About: "quic-go 0.65.0, TLS 1.3 and AES-128-GCM; a DATAGRAM frame a message (RFC 9221): unreliable, unordered, under congestion control; " +
				"the library drops what 128 frames wait before; idle timeout 1 h",
			Mode: godwit.Unreliable, Encrypted: true, Handshake: true, Procs: 2, MaxMessage: quicMaxDatagram,
			Serve: func(ctx context.Context, answer Answer, ready func(netip.AddrPort, string)) error {
				return serveQUIC(ctx, ready, func(c *quic.Conn) { answerLink(messageLink{quicDatagrams{c}}, answer) })
			},
			Transport: func(addr netip.AddrPort, secret string) load.Transport {
				return &links{dial: func(ctx context.Context, _ int) (link, error) {
					c, err := dialQUIC(ctx, addr, secret)
					return messageLink{quicDatagrams{c}}, err
				}}
			},
		},
	)
}

var quicConfig = &quic.Config{MaxIdleTimeout: idleTimeout, EnableDatagrams: true}

func serveQUIC(ctx context.Context, ready func(netip.AddrPort, string), serve func(*quic.Conn)) error {
	cfg, secret, err := serverTLS()
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(listen))
	if err != nil {
		return err
	}
	defer socket.Close()
	t := &quic.Transport{Conn: socket}
	defer t.Close() // its connections too
	l, err := t.Listen(cfg, quicConfig)
	if err != nil {
		return err
	}
	ready(l.Addr().(*net.UDPAddr).AddrPort(), secret)
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go serve(c)
	}
}

// dialQUIC opens a connection on a socket of its own.
func dialQUIC(ctx context.Context, addr netip.AddrPort, secret string) (*quic.Conn, error) {
	cfg, err := clientTLS(secret)
	if err != nil {
		return nil, err
	}
	return quic.DialAddr(ctx, addr.String(), cfg, quicConfig)
}

func quicStream(c *quic.Conn, s *quic.Stream) link {
	return &streamLink{ReadWriteCloser: quicStreamConn{s, c}}
}

// quicStreamConn is the only stream of a connection and closes with it.
type quicStreamConn struct {
	*quic.Stream

	c *quic.Conn
}

func (s quicStreamConn) Close() error { return s.c.CloseWithError(0, "") }

type quicDatagrams struct{ c *quic.Conn }

func (d quicDatagrams) ReadMessage() ([]byte, error) {
	return d.c.ReceiveDatagram(context.Background()) // ends with the connection
}

func (d quicDatagrams) WriteMessage(p []byte) error { return d.c.SendDatagram(p) }
func (d quicDatagrams) Close() error                { return d.c.CloseWithError(0, "") }
