package peer

import (
	"context"
	"net/netip"
	"os"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/bench/internal/room"
)

// idleTimeout lets connections that say nothing live as long as a measurement of
// their memory takes; the default of 60 s would end them.
const idleTimeout = time.Hour

func init() {
	const common = "the defaults of a user; keep-alive off and idle timeout 1 h where connections idle"
	for _, v := range []struct {
		name, about string
		server      godwit.Config
		serve       serveFunc
		way         string
	}{
		{"godwit", "TLS 1.3 and AES-128-GCM; Handler.Message answers on the shard; " + common, godwit.Config{}, serveHandler, wayHandler},
		{"godwit-sleep", "as godwit, with Tuning.Spin -1: a busy server sleeps when it has nothing to do, so that its CPU time is that of its work", godwit.Config{Tuning: godwit.Tuning{Spin: -1}}, serveHandler, wayHandler},
		{"godwit-goroutine", "as godwit, but another goroutine answers what Handler.Message retains", godwit.Config{}, serveGoroutine, wayGoroutine},
		{"godwit-blocking", "as godwit, but a goroutine for each connection receives and answers", godwit.Config{}, serveBlocking, wayBlocking},
		{"godwit-plain", "as godwit, with Config.Plain: a checksum instead of encryption, after the same handshake", godwit.Config{Plain: true}, serveHandler, wayHandler},
	} {
		client := func(secret string) *godwit.Config {
			pin, _ := godwit.ParsePin(secret)
			return &godwit.Config{Pins: []godwit.Pin{pin}, Plain: v.server.Plain, IdleTimeout: idleTimeout, KeepAlive: -1}
		}
		register(&Peer{
			Name: v.name, About: v.about, Mode: godwit.Ordered, Encrypted: !v.server.Plain, Handshake: true,
			Serve: func(ctx context.Context, answer Answer, ready func(netip.AddrPort, string)) error {
				return serveGodwit(ctx, v.server, answer, v.serve, ready)
			},
			Client: client,
			Room: func(ctx context.Context, app room.App, ready func(netip.AddrPort, string)) error {
				return withConfig(v.server, func(cfg *godwit.Config) error { return hold(ctx, cfg, v.way, app, ready) })
			},
			Members: func(l *room.Load, addr netip.AddrPort, secret string) room.Transport {
				return newGodwitMembers(client(secret), l, addr)
			},
		})
	}
}

// A serveFunc opens an endpoint that answers. closed, if it is not nil, is called when the endpoint is.
type serveFunc func(cfg *godwit.Config, answer Answer) (e *godwit.Endpoint, closed func(), err error)

func serveGodwit(ctx context.Context, cfg godwit.Config, answer Answer, serve serveFunc, ready func(netip.AddrPort, string)) error {
	return withConfig(cfg, func(cfg *godwit.Config) error {
		e, closed, err := serve(cfg, answer)
		if err != nil {
			return err
		}
		if closed != nil {
			defer closed()
		}
		ready(e.Addr(), e.Identity().String())
		<-ctx.Done()
		return e.Close()
	})
}

// withConfig calls serve with cfg and what all servers have: one shard, and an identity of their own.
func withConfig(cfg godwit.Config, serve func(*godwit.Config) error) error {
	identity, err := os.MkdirTemp("", "godwit-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(identity)
	cfg.Shards, cfg.Identity, cfg.IdleTimeout = 1, identity, idleTimeout
	return serve(&cfg)
}

// reply sends an answer. A peer that writes faster than it reads is sent away.
func reply(c godwit.Conn, ch godwit.Channel, p []byte) {
	if err := c.Send(ch, p); err != nil {
		_ = c.CloseWithError(1, "answer: "+err.Error())
	}
}

func serveHandler(cfg *godwit.Config, answer Answer) (e *godwit.Endpoint, closed func(), err error) {
	var buf []byte // of the one shard
	cfg.Handler.Message = func(c godwit.Conn, m godwit.Message) {
		buf = answer(buf[:0], m.Payload)
		reply(c, m.Channel, buf)
	}
	e, err = godwit.Listen(listen.String(), cfg)
	return e, nil, err
}

// mostRetained bounds what waits for the answering goroutine.
const mostRetained = 1 << 16

func serveGoroutine(cfg *godwit.Config, answer Answer) (e *godwit.Endpoint, closed func(), err error) {
	type work struct {
		c godwit.Conn
		m *godwit.Retained
	}
	todo := make(chan work, mostRetained)
	go func() {
		var buf []byte
		for w := range todo {
			buf = answer(buf[:0], w.m.Payload)
			reply(w.c, w.m.Channel, buf)
			w.m.Release()
		}
	}()
	cfg.Handler.Message = func(c godwit.Conn, m godwit.Message) { todo <- work{c, m.Retain()} }
	e, err = godwit.Listen(listen.String(), cfg)
	return e, func() { close(todo) }, err
}

func serveBlocking(cfg *godwit.Config, answer Answer) (e *godwit.Endpoint, closed func(), err error) {
	if e, err = godwit.Listen(listen.String(), cfg); err != nil {
		return nil, nil, err
	}
	ctx := context.Background() // Accept and Receive end with the endpoint
	go func() {
		for {
			c, err := e.Accept(ctx)
			if err != nil {
				return
			}
			go answerConn(ctx, c, answer)
		}
	}()
	return e, nil, nil
}

func answerConn(ctx context.Context, c godwit.Conn, answer Answer) {
	var in, out []byte
	for {
		m, err := c.Receive(ctx, in)
		if err != nil {
			return
		}
		in = m.Payload
		out = answer(out[:0], m.Payload)
		if err := c.SendWait(ctx, godwit.Message{Channel: m.Channel, Payload: out}); err != nil {
			return
		}
	}
}
