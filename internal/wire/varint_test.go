package wire

import (
	"bytes"
	"testing"
)

// mustPanic runs f and fails the test unless it panics.
func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}

func TestVarintReadsTheExamplesOfRFC9000(t *testing.T) {
	for _, c := range []struct {
		b []byte
		v uint64
	}{
		{[]byte{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 151288809941952652},
		{[]byte{0x9d, 0x7f, 0x3e, 0x7d}, 494878333},
		{[]byte{0x7b, 0xbd}, 15293},
		{[]byte{0x25}, 37},
		{[]byte{0x40, 0x25}, 37},
	} {
		if v, n := Varint(c.b); v != c.v || n != len(c.b) {
			t.Errorf("%x: got %d in %d bytes, want %d", c.b, v, n, c.v)
		}
		for short := range c.b {
			if _, n := Varint(c.b[:short]); n != 0 {
				t.Errorf("%x: %d bytes were enough", c.b, short)
			}
		}
	}
}

func TestVarintLengthChangesAtThePowersOfTwo(t *testing.T) {
	for _, c := range []struct {
		v uint64
		n int
	}{{0, 1}, {63, 1}, {64, 2}, {1<<14 - 1, 2}, {1 << 14, 4}, {1<<30 - 1, 4}, {1 << 30, 8}, {MaxVarint, 8}} {
		b := AppendVarint(nil, c.v)
		v, n := Varint(b)
		if len(b) != c.n || VarintLen(c.v) != c.n || v != c.v || n != c.n {
			t.Errorf("%d: %x read as %d in %d, VarintLen %d, want %d bytes", c.v, b, v, n, VarintLen(c.v), c.n)
		}
	}
	mustPanic(t, func() { AppendVarint(nil, MaxVarint+1) })
}

func TestPutVarint2HoldsFourteenBits(t *testing.T) {
	var b [2]byte
	for _, v := range []int{0, 1, 63, 64, 1<<14 - 1} {
		PutVarint2(b[:], v)
		if got, n := Varint(b[:]); got != uint64(v) || n != 2 {
			t.Errorf("%d: read %d in %d bytes", v, got, n)
		}
	}
	mustPanic(t, func() { PutVarint2(b[:], 1<<14) })
	mustPanic(t, func() { PutVarint2(b[:], -1) })
}

func TestSkipPaddingCountsLeadingZeros(t *testing.T) {
	for zeros := range 40 {
		for tail := range 20 {
			b := make([]byte, zeros, zeros+tail)
			want := zeros
			if tail > 0 {
				b = append(b, 0x80)
				b = append(b, make([]byte, tail-1)...)
			}
			if got := SkipPadding(b); got != want {
				t.Fatalf("%d zeros and a tail of %d: got %d", zeros, tail, got)
			}
		}
	}
}

func FuzzVarint(f *testing.F) {
	f.Add([]byte{0x40, 0x25}, uint64(37))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint64(MaxVarint))
	f.Fuzz(func(t *testing.T, b []byte, v uint64) {
		if got, n := Varint(b); n > 0 {
			if again, k := Varint(AppendVarint(nil, got)); again != got || k > n {
				t.Errorf("%x: %d came back as %d in %d bytes", b, got, again, k)
			}
		}
		v &= MaxVarint
		if got, n := Varint(append(AppendVarint(nil, v), b...)); got != v || n != VarintLen(v) {
			t.Errorf("%d: read %d in %d bytes", v, got, n)
		}
		n := SkipPadding(b)
		if n < 0 || n > len(b) || !bytes.Equal(b[:n], make([]byte, n)) || n < len(b) && b[n] == 0 {
			t.Errorf("%x: %d bytes of padding", b, n)
		}
	})
}
