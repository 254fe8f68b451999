package wire

import (
	"bytes"
	"testing"
)

func TestMessagesFrameIsBuiltPieceByPiece(t *testing.T) {
	b, off := AppendMessagesHeader(nil, 3, 1000, false)
	if len(b) != MessagesHeaderLen(3, 1000) {
		t.Errorf("the head has %d bytes, MessagesHeaderLen says %d", len(b), MessagesHeaderLen(3, 1000))
	}
	b = AppendMessageItem(b, 0, false, []byte("ab"))
	b = AppendMessageItem(b, 0, false, nil)
	PatchCount(b, off, 2)
	want := []byte{0x32, 3, 0x43, 0xe8, 0x40, 2, 2, 'a', 'b', 0}
	if !bytes.Equal(b, want) {
		t.Fatalf("% x, want % x", b, want)
	}
	m, n := ParseMessages(b[0], b[1:])
	if m != (Messages{3, 1000, 2, false}) {
		t.Fatalf("%+v", m)
	}
	_, p, n := m.Next(b[1:], n)
	if string(p) != "ab" {
		t.Errorf("first payload %q", p)
	}
	_, p, n = m.Next(b[1:], n)
	if len(p) != 0 || n != len(b)-1 {
		t.Errorf("second payload %q, end %d", p, n)
	}
}

func TestKeyedMessageCarriesItsKey(t *testing.T) {
	b := AppendMessage(nil, 2, 7, 300, true, []byte("xyz"))
	want := []byte{0x31, 2, 7, 0x41, 0x2c, 3, 'x', 'y', 'z'}
	if !bytes.Equal(b, want) || len(b) != MessageOverhead(2, 7, 300, true, 3)+3 {
		t.Fatalf("% x, want % x", b, want)
	}
	m, n := ParseMessages(b[0], b[1:])
	key, p, end := m.Next(b[1:], n)
	if m != (Messages{2, 7, 1, true}) || key != 300 || string(p) != "xyz" || end != len(b)-1 {
		t.Errorf("%+v: key %d, payload %q, end %d", m, key, p, end)
	}
}

func TestMessagesOfEveryLengthComeBack(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		for _, size := range []int{0, 1, 62, 63, 64, 65, 255, 16383, 16384, 70000} {
			payload := bytes.Repeat([]byte{0xff}, size)
			b := AppendMessage(nil, 255, MaxVarint, 5, keyed, payload)
			if len(b) != MessageOverhead(255, MaxVarint, 5, keyed, size)+size {
				t.Errorf("%d bytes: MessageOverhead is off", size)
			}
			m, n := ParseMessages(b[0], b[1:])
			if n < 0 {
				t.Fatalf("%d bytes: malformed", size)
			}
			_, p, end := m.Next(b[1:], n)
			if !bytes.Equal(p, payload) || cap(p) != size || end != len(b)-1 {
				t.Errorf("%d bytes: %d came back, cap %d, end %d", size, len(p), cap(p), end)
			}
		}
	}
}

func TestParseMessagesRefusesTheImpossible(t *testing.T) {
	for name, b := range map[string][]byte{
		"channel 256":               append2(append2(nil, 256, 0), 1, 0),
		"no messages":               {0, 0, 0, 0},
		"more messages than bytes":  {0, 0, 3, 0, 0},
		"IDs beyond 2^62-1":         append(append3(nil, 0, MaxVarint, 2), 0, 0),
		"a count beyond everything": append(append3(nil, 0, 0, MaxVarint), make([]byte, 50)...),
	} {
		if _, n := ParseMessages(FrameMessages, b); n != Malformed {
			t.Errorf("%s: %d", name, n)
		}
	}
	if m, n := ParseMessages(FrameMessages, []byte{0, 0, 2, 0, 0}); n != 3 || m.Count != 2 {
		t.Errorf("two empty messages: %d, %+v", n, m)
	}
	m := Messages{Count: 1}
	keyed := Messages{Count: 1, Keyed: true}
	for _, off := range []int{-1, 0, 1, 5, 1 << 40} {
		if _, _, n := m.Next([]byte{2}, off); n != Malformed {
			t.Errorf("offset %d: %d", off, n)
		}
		if _, _, n := keyed.Next([]byte{2}, off); n != Malformed {
			t.Errorf("offset %d, keyed: %d", off, n)
		}
	}
}

func TestFragmentStaysWithinItsTotal(t *testing.T) {
	f := Fragment{Channel: 9, ID: 64, Offset: 1000, Total: 1003, Data: []byte("end")}
	b := AppendFragment(nil, &f)
	want := []byte{0x34, 9, 0x40, 64, 0x43, 0xe8, 0x43, 0xeb, 3, 'e', 'n', 'd'}
	if !bytes.Equal(b, want) || len(b) != FragmentOverhead(9, 64, 0, false, 1000, 1003, 3)+3 {
		t.Fatalf("% x, want % x", b, want)
	}
	f.Keyed, f.Key = true, 1<<40
	b = AppendFragment(nil, &f)
	g, n := ParseFragment(b[0], b[1:])
	if n != len(b)-1 || g.Key != f.Key || g.Total != 1003 || string(g.Data) != "end" || g.Channel != 9 ||
		len(b) != FragmentOverhead(9, 64, 1<<40, true, 1000, 1003, 3)+3 {
		t.Errorf("%+v", g)
	}
	for name, f := range map[string]Fragment{
		"an empty piece":             {Total: 5},
		"an end beyond the total":    {Offset: 3, Total: 5, Data: []byte("abc")},
		"a start beyond the total":   {Offset: MaxVarint, Total: 5, Data: []byte("abc")},
		"channel 256":                {Channel: 256, Total: 3, Data: []byte("abc")},
		"a total of zero with bytes": {Data: []byte("a")},
	} {
		b := AppendFragment(nil, &f)
		if _, n := ParseFragment(b[0], b[1:]); n != Malformed {
			t.Errorf("%s: %d", name, n)
		}
	}
}

func TestSkipIsForMessageChannels(t *testing.T) {
	b := AppendSkip(nil, 255, 41, 4200)
	want := []byte{0x36, 0x40, 0xff, 41, 0x50, 0x68}
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
	if _, _, _, n := ParseSkip(AppendSkip(nil, 256, 0, 0)[1:]); n != Malformed {
		t.Error("SKIP on a stream was accepted")
	}
}

// FuzzMessages builds frames out of arbitrary fields and expects them back; FuzzFrame covers the other direction.
func FuzzMessages(f *testing.F) {
	f.Add(uint64(2), uint64(1000), uint64(7), []byte("several payloads in a row"), uint8(5), true)
	f.Fuzz(func(t *testing.T, channel, first, key uint64, data []byte, cut uint8, keyed bool) {
		channel, first, key = channel%256, first%(MaxVarint-1<<20), key&MaxVarint
		b, off := AppendMessagesHeader(nil, channel, first, keyed)
		size := int(cut) + 1
		var want [][]byte
		for rest := data; len(rest) > 0 && len(want) < 100; {
			piece := rest[:min(size, len(rest))]
			if len(b)+MessageItemOverhead(key, keyed, len(piece))+len(piece) != len(AppendMessageItem(b, key, keyed, piece)) {
				t.Fatal("MessageItemOverhead is off")
			}
			b = AppendMessageItem(b, key, keyed, piece)
			want = append(want, piece)
			rest = rest[len(piece):]
		}
		if len(want) == 0 {
			return
		}
		PatchCount(b, off, len(want))
		m, n := ParseMessages(b[0], b[1:])
		if n < 0 || m != (Messages{channel, first, len(want), keyed}) {
			t.Fatalf("%x: %d, %+v", b, n, m)
		}
		for i := range want {
			var k uint64
			var p []byte
			k, p, n = m.Next(b[1:], n)
			if n < 0 || !bytes.Equal(p, want[i]) || keyed && k != key {
				t.Fatalf("message %d of %d: key %d, %x", i, len(want), k, p)
			}
		}
		if n != len(b)-1 {
			t.Fatalf("%d of %d bytes parsed", n, len(b)-1)
		}
	})
}

// FuzzFragment builds FRAGMENT and SKIP out of arbitrary fields.
func FuzzFragment(f *testing.F) {
	f.Add(uint64(2), uint64(1000), uint64(7), uint64(5), []byte("piece"), uint64(3), true)
	f.Fuzz(func(t *testing.T, channel, id, key, offset uint64, data []byte, more uint64, keyed bool) {
		if len(data) == 0 {
			return
		}
		fr := Fragment{Channel: channel % 256, ID: id & MaxVarint, Offset: offset >> 4, Data: data, Keyed: keyed}
		fr.Total = fr.Offset + uint64(len(data)) + more>>4
		if fr.Total > MaxVarint {
			return
		}
		if keyed {
			fr.Key = key & MaxVarint
		}
		reparse(t, FrameFragment|keyedBit(keyed), []any{fr})
		reparse(t, FrameSkip, []any{fr.Channel, fr.ID, fr.Offset})
	})
}
