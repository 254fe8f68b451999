package peer

import (
	"context"
	"net"
	"net/netip"

	"godwit.example/godwit"
	"godwit.example/godwit/load"
	"golang.org/x/net/quic"
)

func init() {
	register(&Peer{
		Name: "x-net-quic", About: "golang.org/x/net/quic 0.62.0, TLS 1.3 and AES-128-GCM; one bidirectional stream a connection, length-framed, flushed with each write; its buffers of 1 MiB; " +
			"by its own words not tuned for performance; neither GSO nor MTU discovery; socket buffers as large as allowed; idle timeout 1 h",
		Mode: godwit.Ordered, Encrypted: true, Handshake: true, Procs: 2,
		serveLinks: serveXQUIC,
		Transport: func(addr netip.AddrPort, secret string) load.Transport {
			return &links{dial: func(ctx context.Context, _ int) (link, error) { return dialXQUIC(ctx, addr, secret) }}
		},
	})
}

func serveXQUIC(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
	cfg, secret, err := serverTLS()
	if err != nil {
		return err
	}
	e, err := xquicEndpoint(listen, &quic.Config{TLSConfig: cfg, MaxIdleTimeout: idleTimeout})
	if err != nil {
		return err
	}
	defer e.Close(over) // its connections too
	ready(e.LocalAddr(), secret)
	for {
		c, err := e.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go func() {
			s, err := c.AcceptStream(ctx)
			if err != nil {
				c.Abort(nil)
				return
			}
			each(&streamLink{ReadWriteCloser: xquicStream{s, func() { c.Abort(nil) }}})
		}()
	}
}

// dialXQUIC opens a connection on a socket of its own.
func dialXQUIC(ctx context.Context, addr netip.AddrPort, secret string) (link, error) {
	cfg, err := clientTLS(secret)
	if err != nil {
		return nil, err
	}
	e, err := xquicEndpoint(netip.AddrPort{}, nil)
	if err != nil {
		return nil, err
	}
	end := func() { _ = e.Close(over) }
	c, err := e.Dial(ctx, "udp", addr.String(), &quic.Config{TLSConfig: cfg, MaxIdleTimeout: idleTimeout})
	if err != nil {
		end()
		return nil, err
	}
	s, err := c.NewStream(ctx)
	if err != nil {
		end()
		return nil, err
	}
	s.SetReadContext(context.Background())
	s.SetWriteContext(context.Background())
	return &streamLink{ReadWriteCloser: xquicStream{s, end}}, nil
}

// xquicEndpoint makes an endpoint on a socket with large buffers, for which the package itself does not ask.
func xquicEndpoint(at netip.AddrPort, cfg *quic.Config) (*quic.Endpoint, error) {
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	enlarge(socket)
	return quic.NewEndpoint(socket, cfg)
}

// over is a context that has ended: Close waits for nobody.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// xquicStream is the only stream of a connection and closes with it.
type xquicStream struct {
	*quic.Stream

	end func()
}

func (s xquicStream) Write(p []byte) (n int, err error) {
	if n, err = s.Stream.Write(p); err == nil {
		err = s.Flush()
	}
	return n, err
}

func (s xquicStream) Close() error {
	s.end()
	return nil
}
