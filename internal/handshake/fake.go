package handshake

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"godwit.example/godwit/internal/wire"
)

// The messages of a fake handshake, framed like those of TLS. The first byte of
// the first one is that of a ClientHello: a connection lets nothing else in.
const (
	fakeClientHello  = 0x01 // Initial: random, parameters, filler
	fakeServerHello  = 0xf2 // Initial: random, filler
	fakeServerParams = 0xf3 // Handshake: parameters
	fakeCertificate  = 0xf4 // Handshake: filler
	fakeFinished     = 0xf5 // Handshake, of either side: proof of the transcript
	fakeTicket       = 0xf6 // 1-RTT: filler
)

// FakeOptions set the sizes of a fake handshake's flights. Zero means a size
// between the given bounds that follows from the seed.
type FakeOptions struct {
	ClientHello int // bytes of the ClientHello: 300 to 2,000
	ServerHello int // bytes of the ServerHello: 90 to 1,200
	Certificate int // bytes of the certificate message: 500 to 3,000
	NoTicket    bool
}

// A Fake is one side of a handshake that looks to the transport like TLS 1.3,
// and protects nothing: secrets follow from the hellos by SHA-256, so
// everybody who saw them knows them. Its flights, levels, secrets and their order
// are those of Session, and its bytes follow from the seed alone, so a simulation
// runs the same way twice. A changed byte is noticed as TLS would notice it.
type Fake struct {
	options    FakeOptions
	params     []byte
	seed       [32]byte
	transcript []byte // all messages so far
	secret     [32]byte
	framer     framer
	level      wire.Level
	isClient   bool
	complete   bool
	ended      bool
	ticket     bool
	haveParams bool
	haveCert   bool
}

// NewFakeClient returns the client's side of a fake handshake.
func NewFakeClient(seed uint64, params []byte, o FakeOptions) *Fake {
	return newFake(seed, params, o, true)
}

// NewFakeServer returns the server's side of a fake handshake.
func NewFakeServer(seed uint64, params []byte, o FakeOptions) *Fake {
	return newFake(seed, params, o, false)
}

func newFake(seed uint64, params []byte, o FakeOptions, isClient bool) *Fake {
	f := &Fake{options: o, params: bytes.Clone(params), isClient: isClient}
	role := "fake server"
	if isClient {
		role = "fake client"
	}
	f.seed = sha256.Sum256(binary.BigEndian.AppendUint64([]byte(role), seed))
	return f
}

// Start is Session.Start.
func (f *Fake) Start(out *wire.HandshakeOutput) {
	clearAlert(out)
	if !f.isClient || f.ended {
		return
	}
	random := f.derive("random", f.seed[:])
	body := append(random[:], byte(len(f.params)>>8), byte(len(f.params)))
	body = append(body, f.params...)
	body = f.fill(body, f.size("client hello", f.options.ClientHello, 300, 2000)-messageHeader)
	f.send(wire.LevelInitial, fakeClientHello, body, out)
}

// Handle is Session.Handle.
func (f *Fake) Handle(level wire.Level, data []byte, out *wire.HandshakeOutput) {
	clearAlert(out)
	for len(data) > 0 && !f.ended {
		if level != f.level {
			f.fail(alertUnexpectedMessage, "handshake bytes at the wrong level", out)
			return
		}
		msg, rest, ok := f.framer.next(data)
		if !ok {
			f.fail(alertDecodeError, "handshake message too long", out)
			return
		}
		if msg == nil {
			return
		}
		f.message(msg, out)
		data = rest
	}
}

// Close is Session.Close.
func (f *Fake) Close() {
	f.ended = true
	f.transcript = nil
	clear(f.secret[:])
}

// Done is Session.Done.
func (f *Fake) Done() bool {
	return f.ended || f.complete && (!f.isClient || f.ticket || f.options.NoTicket)
}

// message handles one whole message. Each type is expected at one place only.
func (f *Fake) message(msg []byte, out *wire.HandshakeOutput) {
	body := msg[messageHeader:]
	typ := msg[0]
	switch {
	case !f.isClient && typ == fakeClientHello && f.level == wire.LevelInitial:
		f.clientHello(msg, body, out)
	case !f.isClient && typ == fakeFinished && f.level == wire.LevelHandshake && !f.complete:
		if f.proven(body, "client finished", out) {
			f.record(msg)
			f.finish(out)
		}
	case f.isClient && typ == fakeServerHello && f.level == wire.LevelInitial:
		f.record(msg)
		f.handshakeSecrets(out)
	case f.isClient && typ == fakeServerParams && f.level == wire.LevelHandshake && !f.haveParams:
		f.haveParams = true
		f.record(msg)
		out.PeerParams = bytes.Clone(body)
	case f.isClient && typ == fakeCertificate && f.level == wire.LevelHandshake && f.haveParams && !f.haveCert:
		f.haveCert = true
		f.record(msg)
	case f.isClient && typ == fakeFinished && f.level == wire.LevelHandshake && f.haveCert && !f.complete:
		f.serverFinished(msg, body, out)
	case f.isClient && typ == fakeTicket && f.level == wire.LevelOneRTT && f.complete:
		f.ticket = true
	default:
		f.fail(alertUnexpectedMessage, "unexpected handshake message", out)
	}
}

// clientHello answers with the server's whole flight.
func (f *Fake) clientHello(msg, body []byte, out *wire.HandshakeOutput) {
	if len(body) < 34 || len(body)-34 < int(binary.BigEndian.Uint16(body[32:])) {
		f.fail(alertDecodeError, "malformed client hello", out)
		return
	}
	n := int(binary.BigEndian.Uint16(body[32:]))
	out.PeerParams = bytes.Clone(body[34 : 34+n])
	f.record(msg)
	random := f.derive("random", f.transcript)
	f.send(wire.LevelInitial, fakeServerHello,
		f.fill(random[:], f.size("server hello", f.options.ServerHello, 90, 1200)-messageHeader), out)
	f.handshakeSecrets(out)
	f.send(wire.LevelHandshake, fakeServerParams, f.params, out)
	f.send(wire.LevelHandshake, fakeCertificate,
		f.fill(nil, f.size("certificate", f.options.Certificate, 500, 3000)-messageHeader), out)
	proof := f.proof("server finished")
	f.send(wire.LevelHandshake, fakeFinished, proof[:], out)
	// As in TLS, the server may send 1-RTT packets now and read them only after
	// the client's Finished.
	f.secret = f.hash("application", f.transcript)
	f.install(wire.LevelOneRTT, true, out)
}

func (f *Fake) serverFinished(msg, body []byte, out *wire.HandshakeOutput) {
	if !f.proven(body, "server finished", out) {
		return
	}
	f.record(msg)
	application := f.hash("application", f.transcript)
	proof := f.proof("client finished")
	f.send(wire.LevelHandshake, fakeFinished, proof[:], out)
	f.secret = application
	f.install(wire.LevelOneRTT, true, out)
	f.finish(out)
}

// finish completes a side whose peer has proven itself.
func (f *Fake) finish(out *wire.HandshakeOutput) {
	f.complete = true
	out.Complete = true
	out.ALPN = wire.ALPN
	seed := f.hash("checksum", f.secret[:])
	out.ChecksumSeed = binary.BigEndian.Uint32(seed[:])
	f.install(wire.LevelOneRTT, false, out)
	if !f.isClient && !f.options.NoTicket {
		f.send(wire.LevelOneRTT, fakeTicket, f.fill(nil, 200), out)
	}
}

func (f *Fake) handshakeSecrets(out *wire.HandshakeOutput) {
	f.secret = f.hash("handshake", f.transcript)
	f.install(wire.LevelHandshake, true, out)
	f.install(wire.LevelHandshake, false, out)
}

// install derives the secret of one direction from the current one.
func (f *Fake) install(level wire.Level, write bool, out *wire.HandshakeOutput) {
	role := "server writes"
	if write == f.isClient {
		role = "client writes"
	}
	in := wire.SecretInstall{Level: level, Write: write}
	in.Secret.Suite = wire.SuiteAES128GCMSHA256
	secret := f.hash(role, f.secret[:])
	in.Secret.Len = uint8(copy(in.Secret.B[:], secret[:]))
	out.Secrets = append(out.Secrets, in)
	if !write {
		f.level = level
	}
}

// send appends a message to its level's bytes and to the transcript.
func (f *Fake) send(level wire.Level, typ byte, body []byte, out *wire.HandshakeOutput) {
	msg := append([]byte{typ, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	out.Crypto[level] = append(out.Crypto[level], msg...)
	f.record(msg)
}

func (f *Fake) record(msg []byte) { f.transcript = append(f.transcript, msg...) }

// proof is the Finished of the transcript so far.
func (f *Fake) proof(label string) [32]byte { return f.hash(label, f.transcript) }

func (f *Fake) proven(body []byte, label string, out *wire.HandshakeOutput) bool {
	want := f.proof(label)
	if !bytes.Equal(body, want[:]) {
		f.fail(alertDecryptError, "the transcripts differ", out)
		return false
	}
	return true
}

func (f *Fake) fail(alert uint8, text string, out *wire.HandshakeOutput) {
	f.ended = true
	if out.Err == nil {
		out.Alert = int(alert)
		out.Err = &Error{Kind: KindProtocol, Alert: int(alert), Err: errors.New(text)}
	}
}

// hash is a secret that both sides know.
func (f *Fake) hash(label string, data []byte) [32]byte {
	return sha256.Sum256(append([]byte("godwit fake "+label+"\x00"), data...))
}

// derive is a value that only this side can predict.
func (f *Fake) derive(label string, data []byte) [32]byte {
	return f.hash(label+string(f.seed[:]), data)
}

// fill lengthens b to n bytes that follow from the seed.
func (f *Fake) fill(b []byte, n int) []byte {
	block := f.derive("filler", binary.BigEndian.AppendUint32(nil, uint32(n)))
	for len(b) < n {
		b = append(b, block[:min(len(block), n-len(b))]...)
		block = sha256.Sum256(block[:])
	}
	return b
}

// size is n, or a size from low to high that follows from the seed.
func (f *Fake) size(label string, n, low, high int) int {
	if n > 0 {
		return n
	}
	h := f.derive(label+" size", nil)
	return low + int(binary.BigEndian.Uint32(h[:])%uint32(high-low+1))
}
