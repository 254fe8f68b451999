package mem

import (
	"testing"
	"unsafe"
)

// Any address will do, and nothing is changed.
func TestPrefetchTouchesNothing(t *testing.T) {
	b := []byte{1, 2, 3}
	Prefetch(unsafe.Pointer(&b[0]), 1000)
	Prefetch(nil, 3)
	Prefetch(unsafe.Pointer(&b[2]), 0)
	Prefetch(unsafe.Pointer(&b[2]), -1)
	if b[0] != 1 || b[1] != 2 || b[2] != 3 {
		t.Errorf("the memory holds %v", b)
	}
	if n := testing.AllocsPerRun(100, func() { Prefetch(unsafe.Pointer(&b[0]), 4) }); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}
