package protect

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit.example/godwit/internal/wire"
)

var update = flag.Bool("update", false, "rewrite testdata/protection.txt from the code")

// vector is a value that docs/SPEC.md refers to, with its meaning.
type vector struct {
	name, meaning string
	bytes         []byte
}

// Inputs of the vectors, the same as in the vectors of package wire.
var (
	exampleOriginal = []byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08}
	exampleClient   = []byte{0xc1, 0x1e, 0x47}
	exampleServer   = []byte{0x8a, 0x00, 0x00, 0x01, 0x5e, 0x4e, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}
	examplePayload  = wire.AppendMessage(nil, 0, 63, 0, false, []byte("hello"))
)

const exampleSeed = 0x67770001

// exampleSecret counts up from 0, in the length of the suite's hash.
func exampleSecret(suite uint16) wire.Secret {
	s := wire.Secret{Suite: suite, Len: uint8(secretLen(suite))}
	for i := range s.B[:s.Len] {
		s.B[i] = byte(i)
	}
	return s
}

func protectionVectors() []vector {
	v := []vector{}
	add := func(name, meaning string, b []byte) { v = append(v, vector{name, meaning, b}) }

	client, server := InitialSecrets(exampleOriginal)
	for _, side := range []struct {
		name string
		s    *wire.Secret
	}{{"client", &client}, {"server", &server}} {
		add(side.name+"-initial-secret", "Initial secret of the "+side.name+" when the client's first Destination Connection ID is 8394c8f03e515708", side.s.B[:side.s.Len])
		addKeys(add, side.name+"-initial", side.s)
	}
	add("client-initial", "the client's first Initial, number 2: header initial-client of package wire, CRYPTO at offset 0 with the bytes 00 to ff, PADDING up to 1,200 bytes", exampleInitial())
	for _, suite := range suites[:3] {
		s := exampleSecret(suite.id)
		name := strings.ToLower(suite.name)
		addKeys(add, name, &s)
		add(name+"-packet", "1-RTT packet 0x1234 in 2 bytes to a server's ID, key phase 0, under the secret 000102…: MESSAGE on channel 0, ID 63, data \"hello\"", exampleShort(suite.id, false))
		var next wire.Secret
		next.Suite, next.Len = s.Suite, s.Len
		nextSecret(s.Suite, &next.B, &s.B)
		add(name+"-next-secret", "the secret after a key update", next.B[:next.Len])
		add(name+"-updated-packet", "the same packet as number 0x1235, key phase 1, after a key update", exampleShort(suite.id, true))
	}
	add("plain-packet", fmt.Sprintf("the same packet 0x1234 in plain mode with the checksum seed %#x", exampleSeed), exampleShort(wire.SuitePlain, false))
	add("retry", "a whole Retry: retry-without-tag of package wire with its integrity tag, in answer to an Initial to 8394c8f03e515708", exampleRetry())
	return v
}

func addKeys(add func(name, meaning string, b []byte), name string, s *wire.Secret) {
	secret := s.B[:s.Len]
	add(name+"-key", "quic key", expandLabel(s.Suite, secret, "quic key", keyLen(s.Suite)))
	add(name+"-iv", "quic iv", expandLabel(s.Suite, secret, "quic iv", ivLen))
	add(name+"-hp", "quic hp", expandLabel(s.Suite, secret, "quic hp", keyLen(s.Suite)))
}

func exampleInitial() []byte {
	b, lengthOff := wire.AppendLong(nil, wire.PacketInitial, wire.Version, exampleOriginal, exampleClient, nil, 4)
	o := wire.Outgoing{PNOff: int32(len(b)), End: wire.MinInitialSize, Number: 2, Level: wire.LevelInitial, PNLen: 4, TagLen: tagLen}
	wire.SetLength(b, lengthOff, int(o.End-o.PNOff))
	b = wire.AppendPN(b, 2, 4)
	data := make([]byte, 256)
	for i := range data {
		data[i] = byte(i)
	}
	b = wire.AppendCrypto(b, 0, data)
	b = append(b, make([]byte, int(o.End)-len(b))...)
	k := NewKeys()
	k.InstallInitial(exampleOriginal, true)
	new(Scratch).Seal(k, b, &o)
	return b
}

func exampleKeys(suite uint16, write bool) *Keys {
	k := NewKeys()
	k.Install(wire.LevelOneRTT, write, exampleSecret(suite), exampleSeed)
	return k
}

func exampleShort(suite uint16, updated bool) []byte {
	k := exampleKeys(suite, true)
	number := uint64(0x1234)
	if updated {
		k.Install(wire.LevelOneRTT, false, exampleSecret(suite), 0)
		k.phaseSent, k.phaseRead = 1, 1
		k.Update()
		number++
	}
	b := wire.AppendShort(nil, exampleServer, 0, 2)
	o := wire.Outgoing{PNOff: int32(len(b)), Number: number, Level: wire.LevelOneRTT, PNLen: 2, TagLen: uint8(k.TagLen(wire.LevelOneRTT))}
	b = wire.AppendPN(b, number, 2)
	b = append(b, examplePayload...)
	b = append(b, make([]byte, o.TagLen)...)
	o.End = int32(len(b))
	new(Scratch).Seal(k, b, &o)
	return b
}

func exampleRetry() []byte {
	b := wire.AppendRetry(nil, wire.Version, exampleClient, exampleServer, []byte("cookie"), 0x0f)
	tag := RetryTag(exampleOriginal, b)
	return append(b, tag[:]...)
}

func TestVectorsMatchTheCode(t *testing.T) {
	var text strings.Builder
	for _, v := range protectionVectors() {
		fmt.Fprintf(&text, "# %s\n%s = %x\n\n", v.meaning, v.name, v.bytes)
	}
	path := filepath.Join("testdata", "protection.txt")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != text.String() {
		t.Errorf("%s differs from what the code makes; if the change is meant, run go test ./internal/protect -update", path)
	}
}

// TestVectorsOpen reads the file as a stranger would and opens its packets.
func TestVectorsOpen(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "protection.txt"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, digits, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			values[name] = b
		}
	}
	open := func(name string, k *Keys, level wire.Level, pnOff int, number uint64, want []byte) {
		t.Helper()
		var out wire.Packet
		pkt := bytes.Clone(values[name])
		if r := new(Scratch).Open(k, pkt, pnOff, level, &out); r != OpenOK || out.Number != number || !bytes.HasPrefix(out.Payload, want) {
			t.Errorf("%s: %v, number %#x, payload %x", name, r, out.Number, out.Payload)
		}
	}
	k := NewKeys()
	k.InstallInitial(exampleOriginal, false)
	var h wire.LongHeader
	if !wire.ParseLong(values["client-initial"], &h) || h.End != wire.MinInitialSize {
		t.Fatal("client-initial: header")
	}
	open("client-initial", k, wire.LevelInitial, h.PNOff, 2, []byte{wire.FrameCrypto, 0, 0x41, 0x00, 0, 1, 2, 3})
	for _, suite := range suites[:3] {
		name := strings.ToLower(suite.name)
		k := exampleKeys(suite.id, false)
		k.Install(wire.LevelOneRTT, true, exampleSecret(suite.id), 0)
		k.app.top, k.phaseSent = 0x1234, 1
		open(name+"-packet", k, wire.LevelOneRTT, 13, 0x1234, examplePayload)
		open(name+"-updated-packet", k, wire.LevelOneRTT, 13, 0x1235, examplePayload)
	}
	k = exampleKeys(wire.SuitePlain, false)
	k.app.top = 0x1234
	open("plain-packet", k, wire.LevelOneRTT, 13, 0x1234, examplePayload)

	retry := values["retry"]
	tag := RetryTag(exampleOriginal, retry[:len(retry)-tagLen])
	if !bytes.Equal(tag[:], retry[len(retry)-tagLen:]) {
		t.Error("retry: integrity tag")
	}
	if other := RetryTag(exampleClient, retry[:len(retry)-tagLen]); other == tag {
		t.Error("the integrity tag does not depend on the original ID")
	}
}
