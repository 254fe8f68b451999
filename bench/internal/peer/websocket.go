package peer

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/coder/websocket"
	"godwit.example/godwit"
	"godwit.example/godwit/load"
)

func init() {
	register(&Peer{
		Name: "websocket", TCP: true, About: "coder/websocket 1.8.15 over TLS 1.3, a binary message each, no compression", Mode: godwit.Ordered, Encrypted: true, Handshake: true, Procs: 2,
		serveLinks: serveWebsocket,
		Transport: func(addr netip.AddrPort, secret string) load.Transport {
			return &links{dial: func(ctx context.Context, _ int) (link, error) { return dialWebsocket(ctx, addr, secret) }}
		},
	})
}

// websocketLimit is the largest message, which the library wants to know.
const websocketLimit = 16 << 20

func serveWebsocket(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
	cfg, secret, err := serverTLS()
	if err != nil {
		return err
	}
	cfg.NextProtos = nil // HTTP/1.1
	l, err := net.Listen("tcp", listen.String())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		each(messageLink{newWebsocketConn(ctx, c)})
	})}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	ready(addrOf(l), secret)
	if err := server.Serve(tls.NewListener(l, cfg)); ctx.Err() == nil {
		return err
	}
	return nil
}

func dialWebsocket(ctx context.Context, addr netip.AddrPort, secret string) (link, error) {
	cfg, err := clientTLS(secret)
	if err != nil {
		return nil, err
	}
	cfg.NextProtos = nil
	transport := &http.Transport{TLSClientConfig: cfg}
	c, _, err := websocket.Dial(ctx, "wss://"+addr.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	return messageLink{newWebsocketConn(context.WithoutCancel(ctx), c)}, nil
}

type websocketConn struct {
	ctx context.Context
	c   *websocket.Conn
	buf []byte
}

func newWebsocketConn(ctx context.Context, c *websocket.Conn) *websocketConn {
	c.SetReadLimit(websocketLimit)
	return &websocketConn{ctx: ctx, c: c}
}

func (w *websocketConn) ReadMessage() ([]byte, error) {
	_, r, err := w.c.Reader(w.ctx)
	if err != nil {
		return nil, err
	}
	w.buf = w.buf[:0]
	for {
		if len(w.buf) == cap(w.buf) {
			w.buf = append(w.buf, make([]byte, max(cap(w.buf), 512))...)[:len(w.buf)]
		}
		n, err := r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if err == io.EOF {
			return w.buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (w *websocketConn) WriteMessage(p []byte) error {
	return w.c.Write(w.ctx, websocket.MessageBinary, p)
}

func (w *websocketConn) Close() error { return w.c.CloseNow() }
