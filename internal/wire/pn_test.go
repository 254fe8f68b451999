package wire

import "testing"

// referenceDecodePN is the pseudocode of RFC 9000, appendix A.3.
func referenceDecodePN(truncated uint64, n int, largest int64) uint64 {
	expected := uint64(largest + 1)
	window := uint64(1) << (8 * n)
	half := window / 2
	candidate := expected&^(window-1) | truncated
	if candidate+half <= expected && candidate < 1<<62-window {
		return candidate + window
	}
	if candidate > expected+half && candidate >= window {
		return candidate - window
	}
	return candidate
}

func TestPacketNumbersOfRFC9000(t *testing.T) {
	if n := PNLen(0xac5c02, 0xabe8b3); n != 2 {
		t.Errorf("appendix A.2, first example: %d bytes", n)
	}
	if n := PNLen(0xace8fe, 0xabe8b3); n != 3 {
		t.Errorf("appendix A.2, second example: %d bytes", n)
	}
	if pn := DecodePN(0x9b32, 2, 0xa82f30ea); pn != 0xa82f9b32 {
		t.Errorf("appendix A.3: %#x", pn)
	}
}

func TestPNLenSpansTwiceTheNumbersInDoubt(t *testing.T) {
	for _, acked := range []int64{-1, 0, 5, 1 << 20} {
		for _, distance := range []uint64{1, 2, 127, 128, 129, 32767, 32768, 1<<23 - 1, 1 << 23, 1<<31 - 1} {
			pn := uint64(acked) + distance
			n := PNLen(pn, acked)
			if span := uint64(1) << (8 * n); n < 1 || n > 4 || span <= 2*distance {
				t.Errorf("%d after %d: %d bytes", pn, acked, n)
			}
			// Whatever the receiver has seen in between, it restores the number.
			b := AppendPN(nil, pn, n)
			for _, largest := range []int64{acked, acked + int64(distance)/2, int64(pn) - 1} {
				if got := DecodePN(TruncatedPN(b, n), n, largest); got != pn {
					t.Errorf("%d in %d bytes at largest %d: got %d", pn, n, largest, got)
				}
			}
		}
	}
}

func FuzzPacketNumber(f *testing.F) {
	f.Add(uint64(0x9b32), uint8(2), int64(0xa82f30ea))
	f.Add(uint64(0), uint8(0), int64(-1))
	f.Add(uint64(MaxVarint), uint8(3), int64(MaxVarint-1))
	f.Add(uint64(0xff), uint8(1), int64(127))
	f.Add(uint64(0), uint8(1), int64(MaxVarint))
	f.Fuzz(func(t *testing.T, pn uint64, bytes uint8, largest int64) {
		n := int(bytes&3) + 1
		largest = largest&MaxVarint - 1
		b := AppendPN(nil, pn, n)
		if len(b) != n {
			t.Fatalf("%d bytes instead of %d", len(b), n)
		}
		truncated := TruncatedPN(b, n)
		got := DecodePN(truncated, n, largest)
		if want := referenceDecodePN(truncated, n, largest); got != want {
			t.Errorf("%#x in %d bytes at largest %#x: got %#x, the RFC has %#x", truncated, n, largest, got, want)
		}
		if got > MaxVarint || got&(1<<(8*n)-1) != truncated {
			t.Errorf("%#x in %d bytes at largest %#x: %#x", truncated, n, largest, got)
		}
	})
}
