//go:build (amd64 || arm64) && !purego

package mem

import "unsafe"

// CacheLine is the distance at which Prefetch fetches. No CPU in use has shorter lines.
const CacheLine = 64

// Prefetch has the CPU fetch n cache lines, the first of them at p, and does not wait for them: what runs meanwhile then hides how far away the
// memory is. It is a hint. Nothing is read, so any address will do, and where there is no such instruction nothing happens.
//
//go:noescape
func Prefetch(p unsafe.Pointer, n int)
