//go:build godwitdebug

package mem

import "testing"

func TestDebugBuildsNoticeUseAfterRelease(t *testing.T) {
	p := NewPool(heapPages, 0)
	r, b := p.Get(10)
	p.Put(r)
	if b[0] != 0xdb {
		t.Error("the released block was not poisoned")
	}
	mustPanic(t, "reading a released block", func() { p.Bytes(r) })
	again, _ := p.Get(10)
	if again == r {
		t.Fatal("the block's second use has the name of its first")
	}
	mustPanic(t, "reading the block's next use", func() { p.Bytes(r) })
	mustPanic(t, "releasing the block's next use", func() { p.Put(r) })
	p.Put(again)
	b[5] = 1
	mustPanic(t, "writing to a released block", func() { p.Get(10) })
}
