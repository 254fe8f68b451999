package godwit

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestInboxKeepsBytesInOrder(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 0))
		var b inbox
		var want, got []byte
		for range 400 {
			if r.IntN(2) == 0 {
				p := make([]byte, r.IntN(3*len(inboxBlock{})))
				for i := range p {
					p[i] = byte(r.Uint32())
				}
				b.put(p)
				want = append(want, p...)
				continue
			}
			p := make([]byte, r.IntN(4*len(inboxBlock{})))
			n := b.take(p)
			if left := len(want) - len(got); n != min(len(p), left) {
				t.Fatalf("seed %d: %d bytes taken of %d, into %d", seed, n, left, len(p))
			}
			got = append(got, p[:n]...)
		}
		if rest := len(want) - len(got); b.size != rest || len(b.blocks) > rest/len(inboxBlock{})+2 {
			t.Fatalf("seed %d: %d bytes in %d blocks, want %d", seed, b.size, len(b.blocks), rest)
		}
		rest := make([]byte, b.size)
		b.take(rest)
		if got = append(got, rest...); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: other bytes came out", seed)
		}
		if b.size != 0 || len(b.blocks) != 0 {
			t.Fatalf("seed %d: empty, it has %d bytes and %d blocks", seed, b.size, len(b.blocks))
		}
		b.put([]byte("dropped"))
		b.drop()
		if b.size != 0 || b.take(rest) != 0 {
			t.Fatalf("seed %d: there are bytes behind drop", seed)
		}
	}
}
