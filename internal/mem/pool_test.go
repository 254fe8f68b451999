package mem

import (
	"testing"

	"pgregory.net/rapid"
)

func heapPages(n int) []byte { return make([]byte, n) }

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s went unnoticed", what)
		}
	}()
	f()
}

func TestABlockHasTheCapacityOfItsTier(t *testing.T) {
	p := NewPool(heapPages, 0)
	for _, c := range []struct{ n, capacity int }{
		{0, 128},
		{1, 128},
		{128, 128},
		{129, 512},
		{512, 512},
		{513, 2048},
		{2048, 2048},
		{2049, 16384},
		{16384, 16384},
		{16385, 65536},
		{65536, 65536},
		{65537, 65537},
		{1 << 20, 1 << 20},
	} {
		r, b := p.Get(c.n)
		if r == 0 || len(b) != c.n || cap(b) != c.capacity || len(p.Bytes(r)) != c.capacity {
			t.Errorf("Get(%d) = %#x with length %d, capacity %d", c.n, r, len(b), cap(b))
		}
		p.Put(r)
	}
	if n := p.InUse(); n != 0 {
		t.Errorf("%d blocks in use", n)
	}
	p.Put(0)
}

// model is one live block of the model test.
type model struct {
	ref Ref
	b   []byte
	tag byte
}

// stamp writes the block's tag where an overlap with a neighbour would show.
func (m model) stamp() {
	for i := 0; i < len(m.b); i += 61 {
		m.b[i] = m.tag
	}
	if n := len(m.b); n > 0 {
		m.b[n-1] = m.tag
	}
}

func (m model) intact(p *Pool) bool {
	b := p.Bytes(m.ref)[:len(m.b)]
	for i := 0; i < len(b); i += 61 {
		if b[i] != m.tag {
			return false
		}
	}
	return len(b) == 0 || b[len(b)-1] == m.tag
}

func TestPoolBehavesAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int64{0, 64 << 10, 320 << 10, 1 << 20}).Draw(t, "limit")
		p := NewPool(heapPages, limit)
		var live []model
		size := rapid.OneOf(rapid.IntRange(0, 2100), rapid.IntRange(2000, 70000), rapid.SampledFrom([]int{200 << 10}))
		put := func(k int) {
			m := live[k]
			if !m.intact(p) {
				t.Fatalf("block %#x was overwritten", m.ref)
			}
			p.Put(m.ref)
			live[k] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				n := size.Draw(t, "n")
				for range rapid.IntRange(1, 40).Draw(t, "times") {
					r, b := p.Get(n)
					if r == 0 {
						if limit == 0 || b != nil {
							t.Fatalf("refused without a limit, or with a block")
						}
						break
					}
					for _, m := range live {
						if m.ref == r {
							t.Fatalf("block %#x was given twice", r)
						}
					}
					m := model{r, b, byte(len(live)) + 1}
					m.stamp()
					live = append(live, m)
				}
			},
			"put": func(t *rapid.T) {
				for range rapid.IntRange(0, len(live)).Draw(t, "times") {
					put(rapid.IntRange(0, len(live)-1).Draw(t, "which"))
				}
			},
			"trim": func(t *rapid.T) {
				before := p.Stats().Held
				n := p.Trim(func(page []byte) { clear(page) })
				if after := p.Stats().Held; before-after != int64(n) {
					t.Fatalf("trimmed %d bytes of %d, %d are left", n, before, after)
				}
			},
			"": func(t *rapid.T) {
				s := p.Stats()
				if limit > 0 && s.Held > limit {
					t.Fatalf("%d bytes held, the limit is %d", s.Held, limit)
				}
				sum := s.Large.InUse
				for _, k := range s.Tiers {
					sum += k.InUse
					if k.HighWater < k.InUse || k.Hits+k.Refusals > k.Gets {
						t.Fatalf("inconsistent counters: %+v", k)
					}
				}
				if sum != len(live) || p.InUse() != len(live) {
					t.Fatalf("%d blocks in use by the statistics, %d by the pool, %d by the model", sum, p.InUse(), len(live))
				}
			},
		})
		for len(live) > 0 {
			put(len(live) - 1)
		}
		p.Trim(func([]byte) {})
		if s := p.Stats(); p.InUse() != 0 || s.Held != 0 {
			t.Fatalf("%d blocks and %d bytes are left", p.InUse(), s.Held)
		}
	})
}

func TestTheLimitRefusesAndCounts(t *testing.T) {
	p := NewPool(heapPages, 2*PageSize)
	var refs []Ref
	for range 2 {
		r, _ := p.Get(PageSize)
		refs = append(refs, r)
	}
	if r, b := p.Get(PageSize); r != 0 || b != nil {
		t.Fatal("a third page was given beyond the limit")
	}
	if r, _ := p.Get(PageSize + 1); r != 0 {
		t.Fatal("a large block was given beyond the limit")
	}
	s := p.Stats()
	if s.Tiers[4].Refusals != 1 || s.Large.Refusals != 1 || s.Held != s.Limit {
		t.Errorf("counters are %+v", s)
	}
	for _, r := range refs {
		p.Put(r)
	}
	if r, _ := p.Get(1); r == 0 {
		t.Error("the smallest tier cannot use what the largest released")
	}
}

func TestATierCanTakeTheEmptyPageThatAnotherKeeps(t *testing.T) {
	p := NewPool(heapPages, PageSize)
	r, _ := p.Get(100)
	p.Put(r)
	r, _ = p.Get(PageSize)
	if r == 0 {
		t.Fatal("the only page stayed with the tier that does not use it")
	}
	if r, _ := p.Get(100); r != 0 {
		t.Error("a page in use was taken")
	}
	p.Put(r)
}

func TestASourceThatFailsIsARefusal(t *testing.T) {
	p := NewPool(func(int) []byte { return nil }, 0)
	if r, b := p.Get(10); r != 0 || b != nil {
		t.Error("a block without memory")
	}
	if n := p.Stats().Tiers[0].Refusals; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

func TestMemoryIsTakenInModestSteps(t *testing.T) {
	asked := 0
	p := NewPool(func(n int) []byte { asked += n; return make([]byte, n) }, 0)
	for range 512 {
		p.Get(128)
	}
	if held := p.Stats().Held; held != PageSize || asked != PageSize {
		t.Errorf("512 small blocks hold %d bytes of %d asked for", held, asked)
	}
	for range 1000 {
		p.Get(PageSize)
	}
	if held := p.Stats().Held; int64(asked) > held+maxRegion {
		t.Errorf("%d bytes asked for to hold %d", asked, held)
	}
}

func TestADoubleReleaseIsNoticedInEveryBuild(t *testing.T) {
	p := NewPool(heapPages, 0)
	keep, _ := p.Get(10)
	r, _ := p.Get(10)
	p.Put(r)
	mustPanic(t, "a double release", func() { p.Put(r) })
	l, _ := p.Get(100_000)
	p.Put(l)
	mustPanic(t, "a double release of a large block", func() { p.Put(l) })
	p.Put(keep)
}

func TestGetAndPutDoNotAllocate(t *testing.T) {
	p := NewPool(heapPages, 0)
	var refs [64]Ref
	round := func() {
		for i := range refs {
			refs[i], _ = p.Get(1 << (i % 17))
		}
		for _, r := range refs {
			p.Bytes(r)[0] = 1
			p.Put(r)
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGetPut(b *testing.B) {
	for _, n := range []int{100, 1200, 60000} {
		b.Run(map[int]string{100: "128B", 1200: "2KiB", 60000: "64KiB"}[n], func(b *testing.B) {
			p := NewPool(heapPages, 0)
			for b.Loop() {
				r, _ := p.Get(n)
				p.Put(r)
			}
		})
	}
	b.Run("1000 blocks held", func(b *testing.B) {
		p := NewPool(heapPages, 0)
		var ring [1000]Ref
		i := 0
		for b.Loop() {
			p.Put(ring[i])
			ring[i], _ = p.Get(100)
			if i++; i == len(ring) {
				i = 0
			}
		}
	})
}

func BenchmarkBytes(b *testing.B) {
	p := NewPool(heapPages, 0)
	r, _ := p.Get(100)
	for b.Loop() {
		p.Bytes(r)[0]++
	}
}
