package mailbox

import "testing"

func TestLeasedBuffersAreUsedAgain(t *testing.T) {
	m := New(8<<20, func() {})
	var pieces, spares [][]byte
	round := func() {
		for _, n := range []int{0, 500, 5000, 40_000, 150_000} {
			b := m.Lease(n)
			if !m.PutLease(header(1, 2), b, n) || !m.Put(header(1, 3), make([]byte, 10)) {
				t.Fatal("refused")
			}
		}
		m.Return(m.Lease(100))
		pieces = m.Swap(pieces[:0], spares)
		spares = spares[:0]
		for _, p := range pieces {
			if Own(p) {
				spares = append(spares, p)
			}
		}
		if len(pieces) != 10 || len(spares) != 5 {
			t.Fatalf("%d pieces, %d of them leases", len(pieces), len(spares))
		}
	}
	for range 10 {
		round()
	}
	before := m.Stats().Buffers
	if n := testing.AllocsPerRun(100, round); n > 0.1 {
		t.Errorf("%v allocations in a round", n)
	}
	if n := m.Stats().Buffers - before; n > 2 {
		t.Errorf("%d new buffers", n)
	}
	for range 1000 {
		m.Return(make([]byte, 768))
	}
	if n := len(m.leases[0]) * 768; n > leaseSpares {
		t.Errorf("%d bytes of empty buffers are kept", n)
	}
	m.Trim()
	if len(m.leases[0]) != 0 {
		t.Error("Trim left buffers")
	}
}
