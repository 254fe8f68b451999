package protect

import (
	"bytes"
	"encoding/hex"
	"testing"

	"godwit.example/godwit/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rawSecret(t testing.TB, suite uint16, digits string) wire.Secret {
	t.Helper()
	s := wire.Secret{Suite: suite}
	s.Len = uint8(copy(s.B[:], unhex(t, digits)))
	return s
}

// The examples of RFC 9001 appendix A whose secrets do not depend on the salt:
// they tie this package to everybody else's QUIC.

func TestKeyScheduleIsThatOfRFC9001(t *testing.T) {
	secret := unhex(t, "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea")
	for label, want := range map[string]string{
		"quic key": "1f369613dd76d5467730efcbe3b1a22d",
		"quic iv":  "fa044b2f42a3fd3b46fb255c",
		"quic hp":  "9f50449e04a0e810283a1e9933adedd2",
	} {
		if got := expandLabel(suiteAES128, secret, label, len(want)/2); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s = %x, want %s", label, got, want)
		}
	}
	var next, chacha [maxSecret]byte
	copy(chacha[:], unhex(t, "9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b"))
	nextSecret(suiteChaCha20, &next, &chacha)
	if want := unhex(t, "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"); !bytes.Equal(next[:32], want) {
		t.Errorf("quic ku = %x", next[:32])
	}
}

func TestServerInitialOfRFC9001(t *testing.T) {
	header := unhex(t, "c1000000010008f067a5502a4262b50040750001")
	payload := unhex(t, "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304")
	want := unhex(t, "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee")
	secret := rawSecret(t, suiteAES128, "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b")
	s, k := new(Scratch), NewKeys()
	k.Install(wire.LevelInitial, true, secret, 0)
	pkt := append(append(bytes.Clone(header), payload...), make([]byte, tagLen)...)
	o := wire.Outgoing{PNOff: int32(len(header) - 2), End: int32(len(pkt)), Number: 1, Level: wire.LevelInitial, PNLen: 2, TagLen: tagLen}
	s.Seal(k, pkt, &o)
	if !bytes.Equal(pkt, want) {
		t.Fatalf("sealed\n%x\nwant\n%x", pkt, want)
	}
	peer := NewKeys()
	peer.Install(wire.LevelInitial, false, secret, 0)
	var out wire.Packet
	if r := s.Open(peer, pkt, int(o.PNOff), wire.LevelInitial, &out); r != OpenOK || out.Number != 1 || !bytes.Equal(out.Payload, payload) {
		t.Fatalf("opened: %v, number %d", r, out.Number)
	}
}

func TestChaCha20PacketOfRFC9001(t *testing.T) {
	secret := rawSecret(t, suiteChaCha20, "9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
	want := unhex(t, "4cfe4189655e5cd55c41f69080575d7999c25a5bfb")
	s, k := new(Scratch), NewKeys()
	k.Install(wire.LevelOneRTT, true, secret, 0)
	pkt := append(unhex(t, "4200bff401"), make([]byte, tagLen)...)
	o := wire.Outgoing{PNOff: 1, End: int32(len(pkt)), Number: 654360564, Level: wire.LevelOneRTT, PNLen: 3, TagLen: tagLen}
	s.Seal(k, pkt, &o)
	if !bytes.Equal(pkt, want) {
		t.Fatalf("sealed %x, want %x", pkt, want)
	}
	peer := NewKeys()
	peer.Install(wire.LevelOneRTT, false, secret, 0)
	peer.app.top = 654360564 // the number before was received
	var out wire.Packet
	if r := s.Open(peer, pkt, 1, wire.LevelOneRTT, &out); r != OpenOK || out.Number != 654360564 || !bytes.Equal(out.Payload, []byte{1}) {
		t.Fatalf("opened: %v, number %d", r, out.Number)
	}
}
