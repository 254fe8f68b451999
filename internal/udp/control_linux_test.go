package udp

import (
	"encoding/binary"
	"testing"
	"unsafe"
)

func TestControlRoundTrip(t *testing.T) {
	local4 := Addr{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1}
	local6 := Addr{0: 0xfe, 1: 0x80, 15: 1, 23: 5}
	for _, v4 := range []bool{true, false} {
		var tx txControl
		local := local6
		if v4 {
			local = local4
		}
		n := tx.putSegment(0, 1200)
		n = tx.putLocal(n, v4, &local)
		n = tx.putClass(n, v4, 3)
		if n > txControlLen {
			t.Fatalf("%d bytes in room for %d", n, txControlLen)
		}
		// The kernel's messages have the same form as ours, but for the segment
		// size: 2 bytes under another type, which is passed over.
		var rx rxControl
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&rx)), len(rx)*8), unsafe.Slice((*byte)(unsafe.Pointer(&tx)), n))
		var d Datagram
		drops := rx.parse(n, &d, 7)
		if d.Local != local || d.ECN != 3 || d.Segment != 0 || drops != 7 {
			t.Errorf("v4 %v: %+v, drops %d", v4, d, drops)
		}
	}
}

// FuzzControl feeds parse what no kernel would write: it must stay inside.
func FuzzControl(f *testing.F) {
	header := make([]byte, cmsgHeader+4)
	binary.NativeEndian.PutUint64(header, uint64(len(header)))
	f.Add(header, 64)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 100)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 16)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		var guarded struct {
			ctl  rxControl
			tail [64]byte
		}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&guarded.ctl)), len(guarded.ctl)*8), b)
		var d Datagram
		guarded.ctl.parse(max(0, min(n, rxControlLen)), &d, 0)
		if d.ECN > 3 {
			t.Fatalf("ECN %d", d.ECN)
		}
	})
}
