package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestLongHeaderComesBack(t *testing.T) {
	dst, src, token := []byte("destination."), []byte("src"), bytes.Repeat([]byte{7}, 80)
	for _, typ := range []PacketType{PacketInitial, PacketHandshake} {
		for _, tok := range [][]byte{nil, token} {
			b, lengthOff := AppendLong([]byte("before"), typ, Version, dst, src, tok, 3)
			b = b[6:]
			lengthOff -= 6
			if want := LongHeaderLen(typ, dst, src, tok); len(b) != want {
				t.Errorf("type %d: LongHeaderLen says %d, the header has %d", typ, want, len(b))
			}
			b = AppendPN(b, 0x123456, 3)
			b = append(b, bytes.Repeat([]byte{0xee}, 40)...)
			SetLength(b, lengthOff, 43)
			whole := append(bytes.Clone(b), "the next packet"...)
			var h LongHeader
			if !ParseLong(whole, &h) {
				t.Fatalf("type %d: refused %x", typ, b)
			}
			if typ == PacketHandshake {
				tok = nil
			}
			if h.Type != typ || h.Version != Version || !bytes.Equal(h.Dst, dst) || !bytes.Equal(h.Src, src) ||
				!bytes.Equal(h.Token, tok) || h.PNOff != lengthOff+2 || h.End != len(b) {
				t.Errorf("type %d: %+v", typ, h)
			}
			if b[0]&PNLenBits != 2 || b[0]&ReservedLongBits != 0 || !IsLong(b[0]) {
				t.Errorf("type %d: first byte %#x", typ, b[0])
			}
			for n := range len(b) {
				if ParseLong(b[:n], &h) {
					t.Errorf("type %d: %d bytes of %d were enough", typ, n, len(b))
				}
			}
		}
	}
}

func TestParseLongDropsWhatNoPacketBeginsWith(t *testing.T) {
	good, lengthOff := AppendLong(nil, PacketInitial, Version, []byte("12345678"), nil, nil, 1)
	good = append(good, make([]byte, 30)...)
	SetLength(good, lengthOff, 30)
	var h LongHeader
	if !ParseLong(good, &h) {
		t.Fatal("a sound header was refused")
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"short form":                  func(b []byte) []byte { b[0] &^= LongBit; return b },
		"fixed bit zero":              func(b []byte) []byte { b[0] &^= FixedBit; return b },
		"connection ID of 21 bytes":   func(b []byte) []byte { b[5] = 21; return append(b, make([]byte, 100)...) },
		"connection ID of 255 bytes":  func(b []byte) []byte { b[5] = 255; return b },
		"token beyond the datagram":   func(b []byte) []byte { b[15] = 0x3f; return b },
		"length beyond the datagram":  func(b []byte) []byte { SetLength(b, lengthOff, 31); return b },
		"length of the largest value": func(b []byte) []byte { return append(b[:lengthOff], bytes.Repeat([]byte{0xff}, 20)...) },
		"Retry without a token":       func(b []byte) []byte { b[0] |= 0x30; return b[:15+TagLen] },
	} {
		if ParseLong(spoil(bytes.Clone(good)), &h) {
			t.Errorf("%s: accepted as %+v", name, h)
		}
	}
}

func TestUnknownVersionShowsOnlyItsConnectionIDs(t *testing.T) {
	dst := bytes.Repeat([]byte{1}, 255) // RFC 8999 allows it; this version does not
	b := append([]byte{0x80}, 0xde, 0xad, 0xbe, 0xef, 255)
	b = append(b, dst...)
	b = append(b, 2, 8, 9)
	rest := len(b)
	b = append(b, "whatever"...)
	var h LongHeader
	if !ParseLong(b, &h) || h.Type != PacketUnknownVersion || h.Version != 0xdeadbeef || !bytes.Equal(h.Dst, dst) ||
		!bytes.Equal(h.Src, []byte{8, 9}) || h.PNOff != rest || h.End != len(b) {
		t.Errorf("%+v", h)
	}
}

func TestRetryCarriesTokenAndTag(t *testing.T) {
	b := AppendRetry(nil, Version, []byte("client"), []byte("new server ID"), []byte("cookie"), 0xfa)
	if b[0] != 0xfa {
		t.Errorf("first byte %#x", b[0])
	}
	b = append(b, bytes.Repeat([]byte{0xcc}, TagLen)...)
	var h LongHeader
	if !ParseLong(b, &h) || h.Type != PacketRetry || string(h.Token) != "cookie" || string(h.Dst) != "client" ||
		string(h.Src) != "new server ID" || h.PNOff != len(b)-TagLen || h.End != len(b) {
		t.Errorf("%+v", h)
	}
}

func TestVersionNegotiationListsVersions(t *testing.T) {
	b := AppendVersionNegotiation(nil, []byte("dst"), []byte("src"), []uint32{0x0a1a2a3a, Version}, 0x15)
	dst, src, versions, ok := ParseVersionNegotiation(b)
	if !ok || string(dst) != "dst" || string(src) != "src" || b[0] != 0xd5 {
		t.Fatalf("%x: %x %x %v", b, dst, src, ok)
	}
	if !HasVersion(versions, Version) || !HasVersion(versions, 0x0a1a2a3a) || HasVersion(versions, 1) {
		t.Errorf("versions %x", versions)
	}
	var h LongHeader
	if !ParseLong(b, &h) || h.Type != PacketVersionNegotiation || !bytes.Equal(b[h.PNOff:h.End], versions) {
		t.Errorf("%+v", h)
	}
	for n := range len(b) {
		if _, _, list, ok := ParseVersionNegotiation(b[:n]); ok && len(list) != 4 {
			t.Errorf("%d bytes of %d were enough", n, len(b))
		}
	}
	b[4] = 1
	if _, _, _, ok := ParseVersionNegotiation(b); ok {
		t.Error("a packet with a version was taken for Version Negotiation")
	}
}

func TestShortHeaderComesBack(t *testing.T) {
	for _, id := range [][]byte{nil, []byte("twelve bytes")} {
		for phase := range uint8(2) {
			b := AppendShort(nil, id, phase, 2)
			b = AppendPN(b, 0x1234, 2)
			dst, off, ok := ParseShort(b, len(id))
			if !ok || !bytes.Equal(dst, id) || off != 1+len(id) {
				t.Fatalf("%x: %x %d %v", b, dst, off, ok)
			}
			if b[0] != FixedBit|phase<<2|1 || IsLong(b[0]) {
				t.Errorf("first byte %#x", b[0])
			}
		}
	}
	for _, b := range [][]byte{nil, {0x40}, {0x00, 1, 2, 3}, {0xc0, 1, 2, 3}, {0x40, 1, 2}} {
		if _, _, ok := ParseShort(b, 3); ok {
			t.Errorf("%x: accepted", b)
		}
	}
}

func FuzzLongHeader(f *testing.F) {
	b, off := AppendLong(nil, PacketInitial, Version, []byte("12345678"), []byte("x"), []byte("token"), 1)
	b = append(b, make([]byte, 20)...)
	SetLength(b, off, 20)
	f.Add(b)
	f.Add(append(AppendRetry(nil, Version, []byte("d"), []byte("s"), []byte("t"), 0), make([]byte, TagLen)...))
	f.Add(AppendVersionNegotiation(nil, nil, []byte("s"), []uint32{Version}, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h LongHeader
		if !ParseLong(b, &h) {
			return
		}
		if h.PNOff < 7 || h.End < h.PNOff || h.End > len(b) {
			t.Fatalf("offsets %d, %d in %d bytes", h.PNOff, h.End, len(b))
		}
		var again []byte
		switch h.Type {
		case PacketInitial, PacketHandshake:
			if h.End-h.PNOff >= 1<<14 {
				return // longer than a two-byte Length says
			}
			var lengthOff int
			again, lengthOff = AppendLong(nil, h.Type, h.Version, h.Dst, h.Src, h.Token, int(b[0]&PNLenBits)+1)
			SetLength(again, lengthOff, h.End-h.PNOff)
		case PacketRetry:
			again = AppendRetry(nil, h.Version, h.Dst, h.Src, h.Token, b[0])
		case PacketVersionNegotiation:
			dst, src, versions, ok := ParseVersionNegotiation(b)
			if !ok {
				return
			}
			list := make([]uint32, 0, len(versions)/4)
			for i := 0; i < len(versions); i += 4 {
				list = append(list, binary.BigEndian.Uint32(versions[i:]))
			}
			again = AppendVersionNegotiation(nil, dst, src, list, b[0])
			_, _, versions2, ok := ParseVersionNegotiation(again)
			if !ok || !bytes.Equal(versions, versions2) {
				t.Fatalf("versions %x came back as %x", versions, versions2)
			}
			return
		default:
			return
		}
		again = append(again, b[h.PNOff:h.End]...)
		var g LongHeader
		if !ParseLong(again, &g) || g.Type != h.Type || g.Version != h.Version || !bytes.Equal(g.Dst, h.Dst) ||
			!bytes.Equal(g.Src, h.Src) || !bytes.Equal(g.Token, h.Token) ||
			!bytes.Equal(again[g.PNOff:g.End], b[h.PNOff:h.End]) {
			t.Fatalf("%+v came back as %+v", h, g)
		}
	})
}

func FuzzLongHeaderFields(f *testing.F) {
	f.Add(uint8(0), []byte("destination"), []byte("source"), []byte("token"), []byte("protected part"))
	f.Fuzz(func(t *testing.T, typ uint8, dst, src, token, rest []byte) {
		dst, src = dst[:min(len(dst), MaxConnIDLen)], src[:min(len(src), MaxConnIDLen)]
		rest = rest[:min(len(rest), 1<<14-1)]
		kind := [...]PacketType{PacketInitial, PacketHandshake}[typ&1]
		b, lengthOff := AppendLong(nil, kind, Version, dst, src, token, int(typ>>1&3)+1)
		pnOff := len(b)
		SetLength(b, lengthOff, len(rest))
		b = append(b, rest...)
		var h LongHeader
		if !ParseLong(append(b, typ), &h) || h.Type != kind || !bytes.Equal(h.Dst, dst) || !bytes.Equal(h.Src, src) ||
			kind == PacketInitial && !bytes.Equal(h.Token, token) || h.PNOff != pnOff || h.End != len(b) {
			t.Fatalf("%x: %+v", b, h)
		}
	})
}

func FuzzShortHeader(f *testing.F) {
	f.Add([]byte("\x40twelve bytes\x01"), uint8(12), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, idLen, phase, pnLen uint8) {
		n := int(idLen) % (MaxConnIDLen + 1)
		dst, off, ok := ParseShort(b, n)
		if !ok {
			return
		}
		if off != 1+n || len(dst) != n {
			t.Fatalf("offset %d, connection ID %x", off, dst)
		}
		again := AppendShort(nil, dst, phase, int(pnLen&3)+1)
		dst2, off2, ok := ParseShort(again, n)
		if !ok || off2 != off || !bytes.Equal(dst, dst2) || again[0]&KeyPhaseBit>>2 != phase&1 {
			t.Fatalf("%x came back as %x", b[:off], again)
		}
	})
}
