package load

import (
	"testing"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := header{
			conn: rapid.Uint32().Draw(t, "connection"),
			seq:  rapid.Uint64().Draw(t, "sequence"),
			due:  mono.Time(rapid.Int64().Draw(t, "due")),
		}
		b := make([]byte, rapid.IntRange(headerSize, 300).Draw(t, "size"))
		h.encode(b)
		var got header
		if !got.decode(b, len(b)) || got != h {
			t.Fatalf("%+v came back as %+v", h, got)
		}
	})
}

func TestAnyChangedBitIsFound(t *testing.T) {
	for _, size := range []int{24, 25, 31, 32, 64, 129} {
		h := header{conn: 7, seq: 1234, due: 5_000_000_000}
		b := make([]byte, size)
		h.encode(b)
		for i := range 8 * size {
			b[i/8] ^= 1 << (i % 8)
			var got header
			if got.decode(b, size) {
				t.Errorf("%d bytes: bit %d changed and nobody noticed", size, i)
			}
			b[i/8] ^= 1 << (i % 8)
		}
	}
}

func TestMessagesOfAnotherSizeAreFound(t *testing.T) {
	b := make([]byte, 64)
	(&header{}).encode(b)
	var h header
	for n := range b {
		if h.decode(b[:n], 64) {
			t.Errorf("cut to %d bytes and nobody noticed", n)
		}
	}
	if h.decode(append(b, 0), 64) {
		t.Error("longer than sent and nobody noticed")
	}
}

func BenchmarkEncodeDecode(b *testing.B) {
	buf := make([]byte, 64)
	h := header{conn: 3}
	var got header
	for b.Loop() {
		h.seq++
		h.encode(buf)
		if !got.decode(buf, 64) {
			b.Fatal("corrupted")
		}
	}
}
