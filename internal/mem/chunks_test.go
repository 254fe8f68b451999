package mem

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAFullBufferReturnsToTheSparesWithItsLastReference(t *testing.T) {
	var c Chunks
	buf := make([]byte, ChunkSize)
	buf[0] = 42
	id := c.Add(buf)
	c.Retain(id)
	c.Release(id)
	if got := c.Bytes(id); len(got) != ChunkSize || got[0] != 42 {
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

func TestABufferIsSpareOnlyWhenTheSendersMovedOn(t *testing.T) {
	var c Chunks
	a := make([]byte, 4096)
	first := c.Add(a[:100])
	c.Release(first)
	if n := len(c.TakeSpare(nil)); n != 0 || c.InUse() != 0 {
		t.Fatalf("%d spares while the senders fill the rest of the buffer", n)
	}
	second := c.Add(a[100:200])
	if got := c.Bytes(second); &got[0] != &a[100] || len(got) != 100 {
		t.Fatal("the second piece is not what was added")
	}
	next := c.Add(make([]byte, 100, 4096))
	if n := len(c.TakeSpare(nil)); n != 0 {
		t.Fatalf("%d spares while a piece is in use", n)
	}
	c.Release(second)
	spares := c.TakeSpare(nil)
	if len(spares) != 1 || &spares[0][:1][0] != &a[0] || cap(spares[0]) != 4096 {
		t.Fatalf("the buffer did not return whole: %d spares", len(spares))
	}
	c.Release(next)
}

func TestOnlyOrdinaryBuffersAreKeptAndOnlySoMany(t *testing.T) {
	var c Chunks
	c.Release(c.Add(make([]byte, 1<<20)))
	if n := len(c.TakeSpare(nil)); n != 0 {
		t.Errorf("%d unusual buffers kept", n)
	}
	var ids []ChunkID
	for range maxSpares + 5 {
		ids = append(ids, c.Add(make([]byte, ChunkSize)))
	}
	for _, id := range ids {
		c.Release(id)
	}
	if n := len(c.TakeSpare(nil)); n != maxSpares {
		t.Errorf("%d spares kept", n)
	}
}

// chunkModel is what the model test knows of one buffer.
type chunkModel struct {
	whole  []byte
	filled int
	pieces int
}

func TestChunksBehaveAsTheirModel(t *testing.T) {
	type piece struct {
		refs  int
		bytes []byte
		of    *chunkModel
	}
	rapid.Check(t, func(t *rapid.T) {
		var c Chunks
		var current *chunkModel
		pieces := map[ChunkID]*piece{}
		buffers := map[*byte]*chunkModel{}
		pick := func(t *rapid.T) ChunkID {
			if len(pieces) == 0 {
				return 0
			}
			want := rapid.IntRange(0, len(pieces)-1).Draw(t, "which")
			for id := ChunkID(1); ; id++ {
				if pieces[id] == nil {
					continue
				}
				if want == 0 {
					return id
				}
				want--
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				if current == nil || current.filled == len(current.whole) || rapid.IntRange(0, 4).Draw(t, "fresh") == 0 {
					current = &chunkModel{whole: make([]byte, 4096)}
					buffers[&current.whole[0]] = current
				}
				n := rapid.IntRange(1, len(current.whole)-current.filled).Draw(t, "n")
				b := current.whole[current.filled : current.filled+n]
				current.filled += n
				current.pieces++
				id := c.Add(b)
				if id == 0 || pieces[id] != nil {
					t.Fatalf("chunk %d is not new", id)
				}
				pieces[id] = &piece{1, b, current}
			},
			"retain": func(t *rapid.T) {
				id := pick(t)
				if id == 0 {
					return // there is none yet
				}
				c.Retain(id)
				pieces[id].refs++
			},
			"release": func(t *rapid.T) {
				id := pick(t)
				if id == 0 {
					return // there is none yet
				}
				c.Release(id)
				p := pieces[id]
				if p.refs--; p.refs == 0 {
					p.of.pieces--
					delete(pieces, id)
				}
			},
			"spares": func(t *rapid.T) {
				for _, s := range c.TakeSpare(nil) {
					b := buffers[&s[:1][0]]
					if b == nil || b.pieces > 0 || b == current && b.filled < len(b.whole) || cap(s) != len(b.whole) {
						t.Fatalf("a buffer is spare that is in use")
					}
					delete(buffers, &s[:1][0])
				}
			},
			"": func(t *rapid.T) {
				if c.InUse() != len(pieces) {
					t.Fatalf("%d chunks in use, %d in the model", c.InUse(), len(pieces))
				}
				for id, p := range pieces {
					if got := c.Bytes(id); &got[0] != &p.bytes[0] || len(got) != len(p.bytes) {
						t.Fatalf("chunk %d is other memory", id)
					}
				}
			},
		})
	})
}

func TestChunksDoNotAllocateOnTheSteadyPath(t *testing.T) {
	var c Chunks
	buf := make([]byte, ChunkSize)
	var spares [][]byte
	if n := testing.AllocsPerRun(100, func() {
		for at := 0; at < len(buf); at += 4096 {
			id := c.Add(buf[at : at+4096])
			c.Retain(id)
			c.Release(id)
			c.Release(id)
		}
		if spares = c.TakeSpare(spares[:0]); len(spares) != 1 {
			t.Fatalf("%d spares", len(spares))
		}
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

func TestABufferOfItsOwnLeavesTheOthersAlone(t *testing.T) {
	var c Chunks
	a := make([]byte, 4096)
	first := c.Add(a[:100])
	own := make([]byte, 700, 768)
	id := c.AddOwn(own)
	second := c.Add(a[100:200]) // the same buffer goes on
	c.Release(id)
	c.Release(first)
	spares := c.TakeSpare(nil)
	if len(spares) != 1 || cap(spares[0]) != 768 {
		t.Fatalf("%d spares; the own buffer is one, the other is still filled", len(spares))
	}
	c.Release(c.AddOwn(make([]byte, maxOwn+1)))
	c.Release(c.Add(make([]byte, 10, 4096)))
	if spares = c.TakeSpare(nil); len(spares) != 0 {
		t.Errorf("%d spares while a piece is in use", len(spares))
	}
	c.Release(second)
	if spares = c.TakeSpare(nil); len(spares) != 1 || cap(spares[0]) != 4096 || c.InUse() != 0 {
		t.Errorf("%d spares at the end", len(spares))
	}
}
