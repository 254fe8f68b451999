//go:build !unix

package godwit

// arena takes memory for the buffers of one shard from the Go heap.
type arena struct{}

func (a *arena) pages(n int) []byte { return make([]byte, n) }

func (a *arena) drop() func(b []byte) { return nil }

func (a *arena) free() {}
