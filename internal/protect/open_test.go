package protect

import (
	"bytes"
	"testing"

	"godwit.example/godwit/internal/wire"
)

func TestEveryTamperedBitIsNoticed(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		pkt := sealed(s, client, 7, "an example payload")
		for i := range pkt {
			for bit := range 8 {
				bad := bytes.Clone(pkt)
				bad[i] ^= 1 << bit
				var out wire.Packet
				if r := s.Open(server, bad, 1+len(testID), wire.LevelOneRTT, &out); r != OpenFailed {
					t.Fatalf("%s: bit %d of byte %d: %v", suite.name, bit, i, r)
				}
			}
		}
		if st := server.Stats(); st.Failed != uint64(8*len(pkt)) || st.Opened != 0 {
			t.Errorf("%s: stats %+v", suite.name, st)
		}
		// None of the failures has moved the window.
		if out := mustOpen(t, s, server, pkt, "an example payload"); out.Number != 7 {
			t.Errorf("%s: number %d", suite.name, out.Number)
		}
	}
}

func TestTruncatedPacketsFail(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		pkt := sealed(s, client, 7, "an example payload")
		for n := range pkt {
			refuse(t, s, server, pkt[:n], OpenFailed)
		}
	}
}

func TestReplayedAndLatePacketsAreRefused(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		late := sealed(s, client, 3, "late packet")
		first := sealed(s, client, 10, "first packet")
		far := sealed(s, client, 3+64*windowWords, "far ahead")
		again, reordered := bytes.Clone(first), bytes.Clone(late)
		mustOpen(t, s, server, first, "first packet")
		refuse(t, s, server, again, OpenDuplicate)
		mustOpen(t, s, server, reordered, "late packet")
		refuse(t, s, server, late, OpenDuplicate)
		mustOpen(t, s, server, far, "far ahead")
		if st := server.Stats(); st.Duplicates != 2 || st.Opened != 3 {
			t.Errorf("%s: stats %+v", suite.name, st)
		}
	}
}

func TestReservedBitsAreReportedOnlyOfAuthenticPackets(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		pkt, o := short(client, 0, 2, []byte("payload"))
		pkt[0] |= 0x10
		s.Seal(client, pkt, &o)
		forged := bytes.Clone(pkt)
		forged[len(forged)-1] ^= 1
		refuse(t, s, server, forged, OpenFailed)
		var out wire.Packet
		if r := s.Open(server, pkt, int(o.PNOff), wire.LevelOneRTT, &out); r != OpenReserved || !out.Reserved {
			t.Errorf("%s: %v, reserved %v", suite.name, r, out.Reserved)
		}
	}
}

func TestMissingKeysLeaveThePacketAlone(t *testing.T) {
	s := new(Scratch)
	client, _ := pair(suiteAES128)
	pkt := sealed(s, client, 0, "payload")
	kept := bytes.Clone(pkt)
	k := NewKeys()
	for level := wire.Level(0); level <= wire.NumLevels; level++ {
		var out wire.Packet
		if r := s.Open(k, pkt, 13, level, &out); r != OpenNoKeys || !bytes.Equal(pkt, kept) {
			t.Fatalf("%v: %v", level, r)
		}
	}
}

func TestFailedPacketKeepsItsLastSixteenBytes(t *testing.T) {
	s := new(Scratch)
	_, server := pair(suiteAES128)
	pkt := bytes.Repeat([]byte{0x55}, 60)
	tail := bytes.Clone(pkt[44:])
	var out wire.Packet
	if r := s.Open(server, pkt, 13, wire.LevelOneRTT, &out); r != OpenFailed || !bytes.Equal(pkt[44:], tail) {
		t.Fatalf("%v, tail %x", r, pkt[44:])
	}
}

func TestInitialKeysServeUntilTheyAreDropped(t *testing.T) {
	s := new(Scratch)
	client, server := NewKeys(), NewKeys()
	client.InstallInitial(testID, true)
	server.InstallInitial(testID, false)
	up := sealedInitial(s, client, 0, "client's hello")
	down := sealedInitial(s, server, 0, "server's hello")
	var out wire.Packet
	for _, c := range []struct {
		k   *Keys
		pkt []byte
	}{{server, up}, {client, down}, {server, bytes.Clone(down)}} {
		var h wire.LongHeader
		if !wire.ParseLong(c.pkt, &h) {
			t.Fatal("header")
		}
		want := OpenOK
		if &c.pkt[0] != &up[0] && &c.pkt[0] != &down[0] {
			want = OpenFailed // one's own packet does not come back
		}
		if r := s.Open(c.k, c.pkt[:h.End], h.PNOff, wire.LevelInitial, &out); r != want {
			t.Fatalf("Open = %v, want %v", r, want)
		}
	}
	if server.Largest(wire.LevelInitial) != 0 || server.Largest(wire.LevelHandshake) != -1 {
		t.Error("largest received")
	}
	server.Drop(wire.LevelInitial)
	if server.Has(wire.LevelInitial, false) || server.Has(wire.LevelInitial, true) || server.long[0] != nil {
		t.Error("the level's state is still there")
	}
}

// sealedInitial builds and seals an Initial of 1,200 bytes.
func sealedInitial(s *Scratch, k *Keys, number uint64, payload string) []byte {
	b, lengthOff := wire.AppendLong(nil, wire.PacketInitial, wire.Version, testID, nil, nil, 2)
	o := wire.Outgoing{PNOff: int32(len(b)), Number: number, Level: wire.LevelInitial, PNLen: 2, TagLen: tagLen, End: 1200}
	wire.SetLength(b, lengthOff, int(o.End-o.PNOff))
	b = wire.AppendPN(b, number, 2)
	b = append(b, payload...)
	b = append(b, make([]byte, 1200-len(b))...)
	s.Seal(k, b, &o)
	return b
}

func TestRetryChangesInitialKeysAndKeepsPacketNumbers(t *testing.T) {
	s := new(Scratch)
	k := NewKeys()
	k.InstallInitial(testID, true)
	sealedInitial(s, k, 4, "before")
	k.InstallInitial([]byte("retry source"), true)
	defer func() {
		if recover() == nil {
			t.Error("packet number 4 was sealed again after the Retry")
		}
	}()
	sealedInitial(s, k, 4, "after")
}

func TestCoalescedPacketsOpenOneByOne(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	client.InstallInitial(testID, true)
	server.InstallInitial(testID, false)
	first := sealedInitial(s, client, 0, "initial")
	second := sealed(s, client, 0, "one-rtt")
	datagram := append(bytes.Clone(first), second...)
	var h wire.LongHeader
	if !wire.ParseLong(datagram, &h) {
		t.Fatal("header")
	}
	var out wire.Packet
	if r := s.Open(server, datagram[:h.End], h.PNOff, wire.LevelInitial, &out); r != OpenOK {
		t.Fatal(r)
	}
	mustOpen(t, s, server, datagram[h.End:], "one-rtt")
}

func TestTrainOpensPacketByPacket(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, server := pair(suite.id)
		var train wire.Train
		var buf []byte
		for n := range uint64(5) {
			pkt, o := short(client, n, 1, []byte{byte(n), 2, 3, 4, 5})
			o.Off = int32(len(buf))
			o.End += o.Off
			buf = append(buf, pkt...)
			train.Packets[train.N] = o
			train.N++
		}
		s.SealTrain(client, buf, &train)
		for n := range 5 {
			o := &train.Packets[n]
			mustOpen(t, s, server, buf[o.Off:o.End], string([]byte{byte(n), 2, 3, 4, 5}))
		}
	}
}

func TestSealRefusesAUsedPacketNumber(t *testing.T) {
	for _, suite := range suites {
		s := new(Scratch)
		client, _ := pair(suite.id)
		sealed(s, client, 5, "payload")
		for _, n := range []uint64{5, 4, 0} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: number %d sealed after 5", suite.name, n)
					}
				}()
				sealed(s, client, n, "payload")
			}()
		}
		sealed(s, client, 6, "payload")
	}
}

func TestPlainModeDependsOnTheSeed(t *testing.T) {
	s := new(Scratch)
	client, server := NewKeys(), NewKeys()
	client.Install(wire.LevelOneRTT, true, wire.Secret{Suite: wire.SuitePlain}, 1)
	server.Install(wire.LevelOneRTT, false, wire.Secret{Suite: wire.SuitePlain}, 2)
	if !client.Plain() || client.TagLen(wire.LevelOneRTT) != 4 || client.TagLen(wire.LevelHandshake) != 16 {
		t.Error("plain mode's tag")
	}
	refuse(t, s, server, sealed(s, client, 0, "payload"), OpenFailed)
}

// FuzzOpen opens arbitrary bytes at every level, in every suite: it must not
// panic, and must not accept.
func FuzzOpen(f *testing.F) {
	s := new(Scratch)
	client, _ := pair(suiteAES128)
	client.InstallInitial(testID, true)
	f.Add(sealed(s, client, 1, "payload"), 13, byte(2))
	f.Add(sealedInitial(s, client, 1, "payload"), 22, byte(0))
	f.Add([]byte{0x40}, 1, byte(1))
	f.Add([]byte{}, -1, byte(3))
	f.Fuzz(func(t *testing.T, pkt []byte, pnOff int, level byte) {
		for _, suite := range suites {
			s := new(Scratch)
			_, server := pair(suite.id)
			server.Install(wire.LevelHandshake, false, secretOf(suiteChaCha20, 9), 0)
			server.Install(wire.LevelInitial, false, secretOf(suiteAES256, 9), 0)
			var out wire.Packet
			r := s.Open(server, bytes.Clone(pkt), pnOff, wire.Level(level), &out)
			// A checksum can be guessed, an AEAD tag cannot; the seed corpus is
			// sealed with keys that this server does not have at its level.
			if suite.id != wire.SuitePlain && r == OpenOK && level != 2 {
				t.Fatalf("%s: opened", suite.name)
			}
			if r > OpenKeyUpdate {
				t.Fatalf("result %d", r)
			}
		}
	})
}
