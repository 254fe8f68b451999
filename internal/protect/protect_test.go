package protect

import (
	"bytes"
	"testing"

	"godwit.example/godwit/internal/wire"
)

// suites are the AEAD suites and, last, plain mode.
var suites = []struct {
	name string
	id   uint16
}{
	{"AES-128-GCM", suiteAES128},
	{"AES-256-GCM", suiteAES256},
	{"ChaCha20-Poly1305", suiteChaCha20},
	{"plain", wire.SuitePlain},
}

// secretOf makes a secret of the right length for suite, told apart by tag.
func secretOf(suite uint16, tag byte) wire.Secret {
	s := wire.Secret{Suite: suite, Len: uint8(secretLen(suite))}
	for i := range s.B[:s.Len] {
		s.B[i] = tag + byte(i)*7
	}
	return s
}

// pair returns the 1-RTT keys of both ends of a connection.
func pair(suite uint16) (client, server *Keys) {
	client, server = NewKeys(), NewKeys()
	up, down := secretOf(suite, 1), secretOf(suite, 2)
	client.Install(wire.LevelOneRTT, true, up, 0x1234abcd)
	client.Install(wire.LevelOneRTT, false, down, 0x1234abcd)
	server.Install(wire.LevelOneRTT, true, down, 0x1234abcd)
	server.Install(wire.LevelOneRTT, false, up, 0x1234abcd)
	return client, server
}

var testID = []byte("godwit-dcid!")

// short builds an unprotected 1-RTT packet of 12-byte connection ID and
// returns it with its descriptor.
func short(k *Keys, number uint64, pnLen int, payload []byte) ([]byte, wire.Outgoing) {
	b := wire.AppendShort(nil, testID, 0, pnLen)
	o := wire.Outgoing{PNOff: int32(len(b)), Number: number, Level: wire.LevelOneRTT, PNLen: uint8(pnLen), TagLen: uint8(k.TagLen(wire.LevelOneRTT))}
	b = wire.AppendPN(b, number, pnLen)
	b = append(b, payload...)
	b = append(b, make([]byte, o.TagLen)...)
	o.End = int32(len(b))
	return b, o
}

// sealed is short, protected.
func sealed(s *Scratch, k *Keys, number uint64, payload string) []byte {
	b, o := short(k, number, 2, []byte(payload))
	s.Seal(k, b, &o)
	return b
}

func mustOpen(t *testing.T, s *Scratch, k *Keys, pkt []byte, want string) wire.Packet {
	t.Helper()
	var out wire.Packet
	if r := s.Open(k, pkt, 1+len(testID), wire.LevelOneRTT, &out); r != OpenOK {
		t.Fatalf("Open = %v, want ok", r)
	}
	if string(out.Payload) != want {
		t.Fatalf("payload %q, want %q", out.Payload, want)
	}
	return out
}

func refuse(t *testing.T, s *Scratch, k *Keys, pkt []byte, want Result) {
	t.Helper()
	var out wire.Packet
	if r := s.Open(k, bytes.Clone(pkt), 1+len(testID), wire.LevelOneRTT, &out); r != want {
		t.Fatalf("Open = %v, want %v", r, want)
	}
}

func TestSealedPacketsOpenOnTheOtherSide(t *testing.T) {
	for _, suite := range suites {
		t.Run(suite.name, func(t *testing.T) {
			s := new(Scratch)
			client, server := pair(suite.id)
			for n := uint64(0); n < 300; n += 1 + n%3 {
				payload := bytes.Repeat([]byte{byte(n)}, int(n)%90+3)
				pkt, o := short(client, n, 1+int(n)%4, payload)
				s.Seal(client, pkt, &o)
				if suite.id != wire.SuitePlain && bytes.Contains(pkt, payload) {
					t.Fatal("payload in clear")
				}
				var out wire.Packet
				if r := s.Open(server, pkt, int(o.PNOff), wire.LevelOneRTT, &out); r != OpenOK {
					t.Fatalf("packet %d: %v", n, r)
				}
				if out.Number != n || out.Level != wire.LevelOneRTT || !bytes.Equal(out.Payload, payload) {
					t.Fatalf("packet %d came out as %d, %d bytes", n, out.Number, len(out.Payload))
				}
			}
			if st := server.Stats(); st.Failed != 0 || st.Opened == 0 {
				t.Fatalf("stats %+v", st)
			}
		})
	}
}

func TestNeitherOpenNorSealAllocates(t *testing.T) {
	for _, suite := range suites {
		for _, size := range []int{64, 1200} {
			s := new(Scratch)
			client, server := pair(suite.id)
			pkt, o := short(client, 0, 2, make([]byte, size))
			scratch := bytes.Clone(pkt)
			var out wire.Packet
			number := uint64(0)
			allocs := testing.AllocsPerRun(200, func() {
				copy(pkt, scratch)
				pkt[o.PNOff], pkt[o.PNOff+1] = byte(number>>8), byte(number)
				o.Number = number
				s.Seal(client, pkt, &o)
				if r := s.Open(server, pkt, int(o.PNOff), wire.LevelOneRTT, &out); r != OpenOK {
					t.Fatalf("%s: %v", suite.name, r)
				}
				number++
			})
			if allocs != 0 {
				t.Errorf("%s, %d bytes: %v allocations a packet", suite.name, size, allocs)
			}
		}
	}
}
