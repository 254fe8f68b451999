package wire

import "testing"

func TestAddrTellsPortFamilyAndHost(t *testing.T) {
	v4 := Addr{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: 1, 16: 0x10, 17: 0x92}
	v6 := Addr{0: 0x20, 1: 0x01, 15: 1, 17: 1}
	if v4.Port() != 4242 || !v4.Is4() || v6.Is4() || v6.Port() != 1 || (Addr{}).Is4() {
		t.Errorf("ports %d and %d, Is4 %v and %v", v4.Port(), v6.Port(), v4.Is4(), v6.Is4())
	}
	moved := v4
	moved[17]++
	if !v4.SameHost(moved) || v4 == moved {
		t.Error("another port of the same host is not the same host")
	}
	for _, i := range []int{0, 15, 20, 23} {
		other := v4
		other[i]++
		if v4.SameHost(other) {
			t.Errorf("byte %d does not tell hosts apart", i)
		}
	}
}

func TestConnIDIsComparable(t *testing.T) {
	long := []byte("twenty bytes exactly")
	a, ok := MakeConnID(long)
	if !ok || a.Len() != 20 || string(a.Bytes()) != string(long) {
		t.Fatalf("%v %q", ok, a.Bytes())
	}
	if _, ok := MakeConnID(make([]byte, 21)); ok {
		t.Error("21 bytes were accepted")
	}
	empty, _ := MakeConnID(nil)
	zero, _ := MakeConnID([]byte{0})
	b, _ := MakeConnID(long)
	if empty == zero || empty != (ConnID{}) || a != b || a == zero {
		t.Error("comparison does not follow length and bytes")
	}
}

func TestLevelsHaveTheirRFCNames(t *testing.T) {
	for l, want := range map[Level]string{LevelInitial: "Initial", LevelHandshake: "Handshake", LevelOneRTT: "1-RTT", 3: "unknown"} {
		if l.String() != want {
			t.Errorf("level %d: %s", uint8(l), l)
		}
	}
}
