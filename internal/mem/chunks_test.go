package mem

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAChunkReturnsToTheSparesWithItsLastReference(t *testing.T) {
	var c Chunks
	buf := make([]byte, 100, ChunkSize)
	buf[0] = 42
	id := c.Add(buf)
	c.Retain(id)
	c.Release(id)
	if got := c.Bytes(id); len(got) != 100 || got[0] != 42 {
		t.Errorf("the chunk holds %d bytes", len(got))
	}
	if spares := c.TakeSpare(nil); len(spares) != 0 || c.InUse() != 1 {
		t.Errorf("%d spares while a reference is held", len(spares))
	}
	c.Release(id)
	spares := c.TakeSpare(nil)
	if len(spares) != 1 || len(spares[0]) != 0 || cap(spares[0]) != ChunkSize || c.InUse() != 0 {
		t.Errorf("%d spares after the last release, %d chunks in use", len(spares), c.InUse())
	}
	if spares = c.TakeSpare(spares[:0]); len(spares) != 0 {
		t.Error("a spare was handed out twice")
	}
	mustPanic(t, "a double release", func() { c.Release(id) })
	mustPanic(t, "retaining a released chunk", func() { c.Retain(id) })
	mustPanic(t, "reading a released chunk", func() { c.Bytes(id) })
	c.Release(0)
}

func TestOnlyOrdinaryBuffersAreKeptAndOnlySoMany(t *testing.T) {
	var c Chunks
	c.Release(c.Add(make([]byte, 1<<20)))
	c.Release(c.Add(make([]byte, 4096)))
	if n := len(c.TakeSpare(nil)); n != 0 {
		t.Errorf("%d unusual buffers kept", n)
	}
	var ids []ChunkID
	for range maxSpares + 5 {
		ids = append(ids, c.Add(make([]byte, 0, ChunkSize)))
	}
	for _, id := range ids {
		c.Release(id)
	}
	if n := len(c.TakeSpare(nil)); n != maxSpares {
		t.Errorf("%d spares kept", n)
	}
}

func TestChunksBehaveAsTheirModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Chunks
		refs := map[ChunkID]int{}
		first := map[ChunkID]*byte{}
		pick := func(t *rapid.T) ChunkID {
			if len(refs) == 0 {
				t.Skip("no chunk")
			}
			want := rapid.IntRange(0, len(refs)-1).Draw(t, "which")
			for id := ChunkID(1); ; id++ {
				if refs[id] > 0 {
					if want == 0 {
						return id
					}
					want--
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				buf := make([]byte, 1, 64)
				id := c.Add(buf)
				if id == 0 || refs[id] != 0 {
					t.Fatalf("chunk %d is not new", id)
				}
				refs[id], first[id] = 1, &buf[0]
			},
			"retain": func(t *rapid.T) {
				id := pick(t)
				c.Retain(id)
				refs[id]++
			},
			"release": func(t *rapid.T) {
				id := pick(t)
				c.Release(id)
				if refs[id]--; refs[id] == 0 {
					delete(refs, id)
				}
			},
			"": func(t *rapid.T) {
				if c.InUse() != len(refs) {
					t.Fatalf("%d chunks in use, %d in the model", c.InUse(), len(refs))
				}
				for id := range refs {
					if &c.Bytes(id)[0] != first[id] {
						t.Fatalf("chunk %d is another buffer", id)
					}
				}
			},
		})
	})
}

func TestChunksDoNotAllocateOnTheSteadyPath(t *testing.T) {
	var c Chunks
	buf := make([]byte, 0, ChunkSize)
	var spares [][]byte
	if n := testing.AllocsPerRun(100, func() {
		id := c.Add(buf)
		c.Retain(id)
		c.Release(id)
		c.Release(id)
		spares = c.TakeSpare(spares[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkChunkRetainRelease(b *testing.B) {
	var c Chunks
	id := c.Add(make([]byte, 0, ChunkSize))
	for b.Loop() {
		c.Retain(id)
		c.Release(id)
	}
}
