//go:build !(amd64 || arm64) || purego

package mem

import "unsafe"

// CacheLine is the distance at which Prefetch fetches. No CPU in use has shorter lines.
const CacheLine = 64

// Prefetch does nothing here: see the file of the same name.
func Prefetch(unsafe.Pointer, int) {}
