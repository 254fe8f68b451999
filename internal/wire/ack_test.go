package wire

import (
	"bytes"
	"slices"
	"testing"
)

func TestAckEncodesGapsAndRanges(t *testing.T) {
	ranges := []AckRange{{100, 105}, {90, 90}, {0, 88}}
	b, n := AppendAck(nil, ranges, 300, nil, 100)
	want := []byte{0x02, 0x40, 105, 0x41, 0x2c, 2, 5, 8, 0, 0, 0x40, 88}
	if n != 3 || !bytes.Equal(b, want) {
		t.Errorf("%d ranges: % x, want % x", n, b, want)
	}
	b, n = AppendAck(nil, ranges[:1], 0, &ECNCounts{1, 2, 3}, 100)
	want = []byte{0x03, 0x40, 105, 0, 0, 5, 1, 2, 3}
	if n != 1 || !bytes.Equal(b, want) {
		t.Errorf("%d ranges: % x, want % x", n, b, want)
	}
}

func TestAckSendsAsManyRangesAsFit(t *testing.T) {
	var ranges []AckRange
	for pn := uint64(10000); len(ranges) < 100; pn -= 50 {
		ranges = append(ranges, AckRange{pn - uint64(len(ranges)%3), pn})
	}
	var scratch [MaxAckRanges]AckRange
	for _, ecn := range []*ECNCounts{nil, {1, 2, 1 << 40}} {
		last := 0
		for room := range 400 {
			b, n := AppendAck([]byte("before"), ranges, 9, ecn, room)
			if n < last || n > MaxAckRanges || len(b)-6 > room {
				t.Fatalf("room for %d bytes: %d ranges in %d bytes", room, n, len(b)-6)
			}
			last = n
			if n == 0 {
				if string(b) != "before" {
					t.Fatalf("room for %d bytes: left %x", room, b)
				}
				continue
			}
			got, delay, counts, k := ParseAck(b[7:], scratch[:0], ecn != nil)
			if k != len(b)-7 || delay != 9 || !slices.Equal(got, ranges[:n]) || ecn != nil && counts != *ecn {
				t.Fatalf("room for %d bytes: %v", room, got)
			}
		}
		if last != MaxAckRanges {
			t.Errorf("at most %d ranges were sent", last)
		}
	}
	if b, n := AppendAck(nil, nil, 0, nil, 100); n != 0 || len(b) != 0 {
		t.Error("an ACK of nothing was sent")
	}
}

func TestParseAckRefusesTheImpossible(t *testing.T) {
	for name, b := range map[string][]byte{
		"first range below zero":  {5, 0, 0, 6},
		"second range below zero": {5, 0, 1, 2, 0, 2},
		"gap below zero":          {5, 0, 1, 2, 2, 0},
		"ranges missing":          {5, 0, 2, 0, 0, 0},
	} {
		if _, _, _, n := ParseAck(b, nil, false); n != Malformed {
			t.Errorf("%s: %d", name, n)
		}
	}
	big := uint64(MaxVarint)
	overflow := append3(append2(nil, big, 0), 1, 0, big)
	if _, _, _, n := ParseAck(AppendVarint(overflow, big), nil, false); n != Malformed {
		t.Errorf("a gap and a range of 2^62-1 each: %d", n)
	}
	many := append3(append2(nil, 1000, 0), MaxAckRanges, 0, 0)
	many = append(many, make([]byte, 200)...)
	if _, _, _, n := ParseAck(many, nil, false); n != TooManyRanges {
		t.Errorf("%d ranges: %d", MaxAckRanges+1, n)
	}
	many[4] = MaxAckRanges - 1
	if r, _, _, n := ParseAck(many, nil, false); n < 0 || len(r) != MaxAckRanges {
		t.Errorf("%d ranges: %d", len(r), n)
	}
}

func TestAckDelaySaturates(t *testing.T) {
	for _, c := range []struct {
		delay    uint64
		exponent uint8
		want     uint64
	}{{0, 3, 0}, {100, 3, 800}, {1, 20, 1 << 20}, {MaxVarint, 0, 1 << 40}, {MaxVarint, 20, 1 << 40}, {1 << 37, 3, 1 << 40}} {
		if got := AckDelayMicros(c.delay, c.exponent); got != c.want {
			t.Errorf("%d at exponent %d: %d, want %d", c.delay, c.exponent, got, c.want)
		}
	}
}

// FuzzAck makes ranges out of gaps and lengths and expects them back; FuzzFrame covers the other direction.
func FuzzAck(f *testing.F) {
	f.Add(uint64(1000), uint64(25), []byte{1, 0, 3, 200}, true, uint16(50))
	f.Fuzz(func(t *testing.T, largest, delay uint64, steps []byte, withECN bool, room uint16) {
		largest, delay = largest&MaxVarint, delay&MaxVarint
		var ranges []AckRange
		next := largest
		for _, s := range steps {
			length, gap := uint64(s&15)<<(s&3), uint64(s>>4)<<(s&7)+2
			if next < length {
				break
			}
			ranges = append(ranges, AckRange{next - length, next})
			if next-length < gap {
				break
			}
			next -= length + gap
		}
		var ecn *ECNCounts
		if withECN {
			ecn = &ECNCounts{largest, delay, largest >> 8}
		}
		b, n := AppendAck(nil, ranges, delay, ecn, int(room))
		if n == 0 {
			return
		}
		got, d, counts, k := ParseAck(b[1:], nil, withECN)
		if len(b) > int(room) || k != len(b)-1 || d != delay || !slices.Equal(got, ranges[:n]) || ecn != nil && counts != *ecn {
			t.Fatalf("%v came back as %v", ranges[:n], got)
		}
	})
}
