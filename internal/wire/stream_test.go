package wire

import (
	"bytes"
	"testing"
)

func TestStreamWritesTheFlagsItNeeds(t *testing.T) {
	for _, c := range []struct {
		offset uint64
		fin    bool
		want   []byte
	}{
		{0, false, []byte{0x0a, 0x41, 0x00, 2, 'h', 'i'}},
		{0, true, []byte{0x0b, 0x41, 0x00, 2, 'h', 'i'}},
		{5, false, []byte{0x0e, 0x41, 0x00, 5, 2, 'h', 'i'}},
		{5, true, []byte{0x0f, 0x41, 0x00, 5, 2, 'h', 'i'}},
	} {
		if b := AppendStream(nil, MinStream, c.offset, []byte("hi"), c.fin); !bytes.Equal(b, c.want) {
			t.Errorf("offset %d, fin %v: % x, want % x", c.offset, c.fin, b, c.want)
		}
	}
}

func TestStreamWithoutLengthTakesTheRest(t *testing.T) {
	stream, offset, data, fin, n := ParseStream(FrameStream|StreamFin, []byte{0x41, 0x00, 'a', 'l', 'l'})
	if stream != MinStream || offset != 0 || string(data) != "all" || !fin || n != 5 {
		t.Errorf("stream %d, offset %d, %q, fin %v, %d bytes", stream, offset, data, fin, n)
	}
}
