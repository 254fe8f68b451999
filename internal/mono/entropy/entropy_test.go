package entropy

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

// The vector is test case 1 (all-zero key and nonce, 8 rounds, 256-bit key) of
// draft-strombergson-chacha-test-vectors.
func TestZeroKeyGivesThePublishedChaCha8Stream(t *testing.T) {
	want := "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e" +
		"984ce172b9216f419f445367456d5619314a42a3da86b001387bfdb80e0cfe42" +
		"d2aefa0deaa5c151bf0adb6c01f2a5adc0fd581259f9a2aadcf20f8fd566a26b" +
		"5032ec38bbc5da98ee0c6f568b872a65a08abf251deb21bb4b56e5d8821e68aa"
	var s Source
	got := make([]byte, 128)
	s.Fill(got)
	if hex.EncodeToString(got) != want {
		t.Errorf("key stream\n got %x\nwant %s", got, want)
	}
}

func TestSameSeedDrawsTheSameAndAForkDoesNot(t *testing.T) {
	seed := [32]byte{1, 2, 3}
	a, b := New(seed), New(seed)
	fork := New(a.Fork())
	b.Fork()
	for i := range 100 {
		x, y, z := a.Uint64(), b.Uint64(), fork.Uint64()
		if x != y {
			t.Fatalf("draw %d differs: %x and %x", i, x, y)
		}
		if x == z {
			t.Fatalf("draw %d of the fork repeats its parent", i)
		}
	}
}

func TestBoundedDrawsStayInRangeAndReachAllOfIt(t *testing.T) {
	s := New([32]byte{7})
	var seen [10]int
	for range 2000 {
		seen[s.Uint64n(10)]++
	}
	for v, n := range seen {
		if n < 130 || n > 280 {
			t.Errorf("%d was drawn %d times of 2000, about 200 expected", v, n)
		}
	}
	for range 100 {
		if v := s.Uint64n(1); v != 0 {
			t.Fatalf("a draw from a range of one gave %d", v)
		}
		// Half of all draws are rejected here, so a bias would show soon.
		if v := s.Uint64n(1<<63 + 1); v > 1<<63 {
			t.Fatalf("%d lies outside the range", v)
		}
	}
}

func TestEmptyRangeIsAProgrammingError(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Uint64n(0) did not panic")
		}
	}()
	s := New([32]byte{})
	s.Uint64n(0)
}

func TestPackedSourceDrawsTheSameFuture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Source
		copy(s.key[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		s.n = rapid.Uint64().Draw(t, "n")
		prefix := rapid.SliceOf(rapid.Byte()).Draw(t, "prefix")
		b := s.Append(bytes.Clone(prefix))
		if !bytes.HasPrefix(b, prefix) || len(b) != len(prefix)+PackedLen {
			t.Fatalf("packed to %d bytes behind %d", len(b), len(prefix))
		}
		b = b[len(prefix):]

		var u Source
		if n := u.Parse(append(bytes.Clone(b), 0xff)); n != PackedLen {
			t.Fatalf("Parse took %d bytes", n)
		}
		if u != s {
			t.Fatal("the unpacked source differs")
		}
		for range 3 {
			if x, y := s.Uint64(), u.Uint64(); x != y {
				t.Fatalf("draws differ: %x and %x", x, y)
			}
		}
		before := u
		if n := u.Parse(b[:rapid.IntRange(0, PackedLen-1).Draw(t, "cut")]); n != 0 || u != before {
			t.Fatalf("a truncated source was taken: n = %d", n)
		}
	})
}

func TestErasedSourceKeepsNothing(t *testing.T) {
	s := New([32]byte{9})
	s.Uint64()
	s.Erase()
	if s != (Source{}) {
		t.Error("Erase left state behind")
	}
}

func TestDrawsDoNotAllocate(t *testing.T) {
	s := New([32]byte{3})
	b := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		s.Uint64()
		s.Uint64n(1000)
		s.Fill(b)
		s.Fork()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUint64(b *testing.B) {
	s := New([32]byte{1})
	for b.Loop() {
		s.Uint64()
	}
}
