package godwit

import "testing"

func TestGapsWithoutMessagesBetweenAreOneRecord(t *testing.T) {
	s := newSide(1)
	gap := func(channel uint16, n uint64) { s.put(record{kind: recordGap, channel: channel, key: n}, 0) }
	for range 100_000 {
		gap(1, 1)
		gap(2, 3)
	}
	s.put(record{channel: 1, payload: []byte("one")}, 0)
	gap(1, 7)
	gap(2, 1)
	if s.waiting != 4 || len(s.fill) != 4*recordLen+3 {
		t.Fatalf("%d records of %d bytes wait", s.waiting, len(s.fill))
	}
	s.exchange()
	gap(1, 9)
	type notice struct {
		kind    recordKind
		channel uint16
		n       uint64
	}
	want := []notice{{recordGap, 1, 100_000}, {recordGap, 2, 300_001}, {recordMessage, 1, 0}, {recordGap, 1, 7}}
	for i, w := range want {
		if r := s.next(); (notice{r.kind, r.channel, r.key}) != w {
			t.Errorf("record %d is %+v, want %+v", i, r, w)
		}
	}
	s.exchange()
	if r := s.next(); r.kind != recordGap || r.key != 9 {
		t.Errorf("after the exchange comes %+v", r)
	}
}
