//go:build unix

package godwit

import "golang.org/x/sys/unix"

// arena maps memory outside the Go heap for the buffers of one shard, and unmaps it when the shard has ended.
type arena struct{ maps [][]byte }

func (a *arena) pages(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	a.maps = append(a.maps, b)
	return b
}

// drop returns what gives the content of such memory back to the system until it is touched again.
func (a *arena) drop() func(b []byte) {
	return func(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) } // where it fails, the memory just stays
}

func (a *arena) free() {
	for _, b := range a.maps {
		_ = unix.Munmap(b) // it was mapped above, whole
	}
	a.maps = nil
}
