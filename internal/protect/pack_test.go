package protect

import (
	"bytes"
	"testing"
	"unsafe"

	"godwit.example/godwit/internal/wire"
)

func repack(t *testing.T, k *Keys, idle bool) *Keys {
	t.Helper()
	b := k.Append([]byte("before"), idle)
	out := NewKeys()
	out.InstallInitial(testID, true) // former contents
	if n := out.Parse(append(b[6:], "behind"...)); n != len(b)-6 {
		t.Fatalf("Parse took %d of %d bytes", n, len(b)-6)
	}
	if again := out.Append([]byte("before"), idle); !idle && !bytes.Equal(again, b) {
		t.Error("the copy packs to other bytes")
	}
	return out
}

func TestPackedKeysGoOnWhereTheyWere(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		exchange(t, s, client, server, 0)
		late := sealed(s, client, 1, "late packet")
		if suite.id != wire.SuitePlain {
			client.Update()
		}
		seen := sealed(s, client, 3, "seen")
		mustOpen(t, s, server, bytes.Clone(seen), "seen")
		future := sealed(s, client, 9, "future")

		moved := repack(t, server, false)
		refuse(t, s, moved, seen, OpenDuplicate)
		mustOpen(t, s, moved, late, "late packet")
		mustOpen(t, s, moved, future, "future")
		exchange(t, s, client, moved, 12)
		if moved.Stats().Opened != server.Stats().Opened+3 {
			t.Errorf("%s: stats %+v", suite.name, moved.Stats())
		}
	}
}

func TestHandshakeKeysArePackedToo(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES256)
	client.Install(wire.LevelHandshake, true, secretOf(suiteAES256, 5), 0)
	server.Install(wire.LevelHandshake, false, secretOf(suiteAES256, 5), 0)
	moved := repack(t, server, false)
	b, lengthOff := wire.AppendLong(nil, wire.PacketHandshake, wire.Version, testID, nil, nil, 1)
	o := wire.Outgoing{PNOff: int32(len(b)), Level: wire.LevelHandshake, PNLen: 1, End: int32(len(b)) + 40}
	wire.SetLength(b, lengthOff, 40)
	b = append(b, make([]byte, 40)...)
	s.Seal(client, b, &o)
	var out wire.Packet
	if r := s.Open(moved, b, int(o.PNOff), wire.LevelHandshake, &out); r != OpenOK {
		t.Fatal(r)
	}
	if moved.Has(wire.LevelHandshake, true) || !moved.Has(wire.LevelHandshake, false) || moved.Has(wire.LevelInitial, false) {
		t.Error("levels and directions")
	}
}

func TestIdleRecordIsSmallAndRefusesWhatCameBefore(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		exchange(t, s, client, server, 0)
		late := sealed(s, client, 1, "late packet")
		mustOpen(t, s, server, sealed(s, client, 2, "newest"), "newest")
		if n := len(server.Append(nil, true)); n > 220 {
			t.Errorf("%s: an idle record has %d bytes", suite.name, n)
		} else {
			t.Logf("%s: %d bytes", suite.name, n)
		}
		moved := repack(t, server, true)
		refuse(t, s, moved, late, OpenDuplicate)
		mustOpen(t, s, moved, sealed(s, client, 3, "after the sleep"), "after the sleep")
	}
}

func TestEvictedKeysAreBuiltAgain(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	exchange(t, s, client, server, 0)
	late := sealed(s, client, 1, "late packet")
	client.Evict()
	client.Update()
	client.Evict()
	mustOpen(t, s, server, sealed(s, client, 2, "new phase"), "new phase")
	server.Evict()
	if server.app.read.aead != nil || server.before.aead != nil {
		t.Error("cipher objects are still there")
	}
	mustOpen(t, s, server, late, "late packet")
	exchange(t, s, client, server, 3)
}

func TestNoSecretSurvivesErase(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	exchange(t, s, client, server, 0)
	client.Update()
	server.Install(wire.LevelHandshake, false, secretOf(suiteAES128, 5), 0)
	mustOpen(t, s, server, sealed(s, client, 1, "payload"), "payload")
	long, before := server.long[wire.LevelHandshake], server.before
	server.nextRead()
	ahead := server.ahead
	server.Erase()
	zero := func(name string, b []byte) {
		for i, c := range b {
			if c != 0 {
				t.Errorf("%s: byte %d is %#x", name, i, c)
				return
			}
		}
	}
	zero("keys", unsafe.Slice((*byte)(unsafe.Pointer(server)), unsafe.Sizeof(*server)))
	zero("handshake level", unsafe.Slice((*byte)(unsafe.Pointer(long)), unsafe.Sizeof(*long)))
	zero("previous phase", unsafe.Slice((*byte)(unsafe.Pointer(before)), unsafe.Sizeof(*before)))
	zero("next phase", unsafe.Slice((*byte)(unsafe.Pointer(ahead)), unsafe.Sizeof(*ahead)))
}

// FuzzParse unpacks arbitrary bytes and uses what came of them.
func FuzzParse(f *testing.F) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		server.Install(wire.LevelHandshake, false, secretOf(suiteAES128, 5), 0)
		var out wire.Packet
		s.Open(server, sealed(s, client, 0, "payload"), 13, wire.LevelOneRTT, &out)
		f.Add(server.Append(nil, false))
		f.Add(server.Append(nil, true))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := NewKeys()
		n := k.Parse(b)
		if n < 0 || n > len(b) {
			t.Fatalf("took %d of %d", n, len(b))
		}
		if n == 0 && (k.Has(wire.LevelOneRTT, false) || k.Has(wire.LevelInitial, false)) {
			t.Fatal("a refused record left keys behind")
		}
		s := new(Scratch)
		pkt := make([]byte, 60)
		var out wire.Packet
		for level := wire.Level(0); level < wire.NumLevels; level++ {
			s.Open(k, pkt, 13, level, &out)
		}
		k.Update()
		k.DropPrevious()
		k.Evict()
		k.Append(nil, false)
	})
}
