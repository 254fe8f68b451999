package godwit

import (
	"sync"

	"godwit.example/godwit/internal/handshake"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/wire"
)

// An imitation is the fake handshake of a simulation. Its own first byte says that it is no TLS, and a connection lets nothing but TLS in; so
// on its way the byte is that of a ClientHello.
type imitation struct {
	shard.Session
	client bool
	begun  bool
}

const clientHello = 1 // RFC 8446 §4

// ownFirstByte is how a fake handshake begins.
var ownFirstByte = sync.OnceValue(func() byte {
	var out wire.HandshakeOutput
	handshake.NewFakeClient(0, nil, handshake.FakeOptions{}).Start(&out)
	return out.Crypto[wire.LevelInitial][0]
})

func (m *imitation) Start(out *wire.HandshakeOutput) {
	m.Session.Start(out)
	if m.client {
		out.Crypto[wire.LevelInitial][0] = clientHello
	}
}

func (m *imitation) Handle(level wire.Level, data []byte, out *wire.HandshakeOutput) {
	if !m.client && !m.begun && len(data) > 0 {
		data = append([]byte{ownFirstByte()}, data[1:]...)
	}
	m.begun = true
	m.Session.Handle(level, data, out)
}
