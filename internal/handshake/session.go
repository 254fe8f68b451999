package handshake

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"

	"godwit.example/godwit/internal/wire"
)

// TLS alerts that this package raises itself (RFC 8446 §6).
const (
	alertUnexpectedMessage     = 10
	alertDecodeError           = 50
	alertDecryptError          = 51
	alertInternalError         = 80
	alertNoApplicationProtocol = 120
)

// NoAlert is the value of wire.HandshakeOutput.Alert while nothing has failed.
const NoAlert = -1

// A Session is one side of a TLS 1.3 handshake.
//
// Start is called once, then Handle with the peer's bytes, in order and level by
// level; both add what they produced to out. They may take a millisecond and
// must not run concurrently for one Session; different Sessions are
// independent. Close must be called in the end, or a goroutine of crypto/tls
// stays behind.
type Session struct {
	conn     *tls.QUICConn
	params   []byte
	framer   framer
	level    wire.Level // the level that crypto/tls reads now
	isClient bool
	complete bool
	ended    bool // failed, or nothing more to come
	ticket   bool // client: a session ticket was stored
}

// NewServer returns the server's side. cfg comes from ServerConfig and is
// shared by all sessions of a listener; params are our transport parameters.
func NewServer(cfg *tls.Config, params []byte) *Session {
	return newSession(tls.QUICServer(&tls.QUICConfig{TLSConfig: cfg}), params, false)
}

// NewClient returns the client's side. cfg comes from ClientConfig.
func NewClient(cfg *tls.Config, params []byte) *Session {
	return newSession(tls.QUICClient(&tls.QUICConfig{TLSConfig: cfg, EnableSessionEvents: true}), params, true)
}

func newSession(conn *tls.QUICConn, params []byte, isClient bool) *Session {
	conn.SetTransportParameters(params)
	return &Session{conn: conn, params: params, isClient: isClient}
}

// Start begins the handshake: a client's out receives the ClientHello.
func (s *Session) Start(out *wire.HandshakeOutput) {
	clearAlert(out)
	if s.ended {
		return
	}
	if err := s.conn.Start(context.Background()); err != nil {
		s.fail(err, out)
		return
	}
	s.drain(out)
}

// Handle takes bytes that the peer sent at level, in order and each once. An
// error sets out.Err and out.Alert; afterwards the Session ignores everything.
func (s *Session) Handle(level wire.Level, data []byte, out *wire.HandshakeOutput) {
	clearAlert(out)
	if s.ended && s.complete {
		// The handshake is over and its state dropped: nothing may follow.
		s.fail(alertError(alertUnexpectedMessage, "handshake bytes after the handshake"), out)
		return
	}
	if s.ended || len(data) == 0 {
		return
	}
	for !s.ended {
		if level != s.level {
			s.fail(alertError(alertUnexpectedMessage, "handshake bytes at the wrong level"), out)
			return
		}
		msg, rest, ok := s.framer.next(data)
		if !ok {
			s.fail(alertError(alertDecodeError, "handshake message too long"), out)
			return
		}
		if msg == nil {
			return
		}
		if err := s.conn.HandleData(quicLevel(level), msg); err != nil {
			s.fail(err, out)
			return
		}
		s.drain(out)
		if data = rest; len(data) == 0 {
			return
		}
	}
}

// Close drops the state of crypto/tls and stops its goroutine. It may be called
// more than once.
func (s *Session) Close() {
	s.ended = true
	if s.conn != nil {
		_ = s.conn.Close() // the error is that of the handshake, reported already
		s.conn = nil
	}
}

// Done reports that the Session expects nothing more from the peer and may be
// closed: a server's once complete, a client's once it stored a ticket, either
// when it failed.
func (s *Session) Done() bool {
	return s.ended || s.complete && (!s.isClient || s.ticket)
}

// drain moves all events of crypto/tls to out.
func (s *Session) drain(out *wire.HandshakeOutput) {
	for !s.ended {
		ev := s.conn.NextEvent()
		switch ev.Kind {
		case tls.QUICNoEvent:
			return
		case tls.QUICSetReadSecret, tls.QUICSetWriteSecret:
			s.install(&ev, out)
		case tls.QUICWriteData:
			if level, ok := wireLevel(ev.Level); ok {
				out.Crypto[level] = append(out.Crypto[level], ev.Data...)
			}
		case tls.QUICTransportParameters:
			out.PeerParams = append([]byte{}, ev.Data...)
		case tls.QUICTransportParametersRequired:
			s.conn.SetTransportParameters(s.params)
		case tls.QUICStoreSession:
			s.ticket = true
			if err := s.conn.StoreSession(ev.SessionState); err != nil {
				s.fail(err, out)
			}
		case tls.QUICHandshakeDone:
			s.finish(out)
		case tls.QUICErrorEvent:
			s.fail(ev.Err, out)
		}
	}
}

func (s *Session) install(ev *tls.QUICEvent, out *wire.HandshakeOutput) {
	level, ok := wireLevel(ev.Level)
	if !ok {
		return // 0-RTT is not part of this version
	}
	in := wire.SecretInstall{Level: level, Write: ev.Kind == tls.QUICSetWriteSecret}
	in.Secret.Suite = ev.Suite
	if len(ev.Data) > len(in.Secret.B) {
		s.fail(alertError(alertInternalError, "traffic secret of unknown length"), out)
		return
	}
	in.Secret.Len = uint8(copy(in.Secret.B[:], ev.Data))
	out.Secrets = append(out.Secrets, in)
	if !in.Write {
		s.level = level
	}
}

// finish takes what a completed handshake has agreed on, and sends the server's
// ticket.
func (s *Session) finish(out *wire.HandshakeOutput) {
	state := s.conn.ConnectionState()
	if state.NegotiatedProtocol != wire.ALPN {
		s.fail(alertError(alertNoApplicationProtocol, "no common application protocol"), out)
		return
	}
	seed, err := state.ExportKeyingMaterial(wire.ChecksumExporterLabel, nil, wire.ChecksumSeedLen)
	if err != nil {
		s.fail(err, out)
		return
	}
	if !s.isClient {
		if err := s.conn.SendSessionTicket(tls.QUICSessionTicketOptions{}); err != nil {
			s.fail(err, out)
			return
		}
	}
	s.complete = true
	out.Complete = true
	out.ChecksumSeed = binary.BigEndian.Uint32(seed)
	out.ALPN = state.NegotiatedProtocol
	out.PeerCerts, out.VerifiedChains = state.PeerCertificates, state.VerifiedChains
	out.Resumed = state.DidResume
}

// fail reports err, once, and ends the session.
func (s *Session) fail(err error, out *wire.HandshakeOutput) {
	s.ended = true
	if out.Err != nil {
		return
	}
	e := classify(err, s.isClient)
	out.Err, out.Alert = e, e.Alert
}

func clearAlert(out *wire.HandshakeOutput) {
	if out.Err == nil {
		out.Alert = NoAlert
	}
}

// alertError is an error that carries the alert to send, as those of crypto/tls do.
func alertError(alert uint8, text string) error {
	return errors.Join(errors.New(text), tls.AlertError(alert))
}

func wireLevel(l tls.QUICEncryptionLevel) (level wire.Level, ok bool) {
	switch l {
	case tls.QUICEncryptionLevelInitial:
		return wire.LevelInitial, true
	case tls.QUICEncryptionLevelHandshake:
		return wire.LevelHandshake, true
	case tls.QUICEncryptionLevelApplication:
		return wire.LevelOneRTT, true
	}
	return 0, false
}

func quicLevel(l wire.Level) tls.QUICEncryptionLevel {
	switch l {
	case wire.LevelInitial:
		return tls.QUICEncryptionLevelInitial
	case wire.LevelHandshake:
		return tls.QUICEncryptionLevelHandshake
	}
	return tls.QUICEncryptionLevelApplication
}
