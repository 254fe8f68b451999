package room

import "testing"

func TestWire(t *testing.T) {
	const text = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n" +
		"    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n" +
		"   gw0:    1842      10    1    2    3     4          5         6      456       4    0    0    0     0       0          0\n"
	before, err := parseWire(text, "lo")
	if err != nil || before.ToServer.Packets != 1 || before.ToServer.Bytes != 86 {
		t.Fatalf("%+v: %v", before, err)
	}
	w, err := parseWire(text, "gw0")
	if err != nil {
		t.Fatal(err)
	}
	d := w.since(&before)
	if d.FromServer != (Traffic{Packets: 9, Bytes: 1842 - 140 - 86}) || d.ToServer != (Traffic{Packets: 3, Bytes: 456 - 56 - 86}) {
		t.Errorf("%+v", d)
	}
	w.FromServer.Payload, w.ToServer.Payload = 1000, 200
	if got := w.FromServer.Overhead(); got < 42.19 || got > 42.21 { // (1842-140-1000)/10 - 28
		t.Errorf("%g B of overhead", got)
	}
	if got := w.Each(); got < 1.751 || got > 1.752 { // (1702+400)/1200
		t.Errorf("%g B for each", got)
	}
	if _, err := parseWire(text, "gw1"); err == nil {
		t.Error("there is no gw1")
	}
}
