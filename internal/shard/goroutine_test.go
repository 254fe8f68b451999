package shard

import "testing"

func TestGoroutinesHaveDifferentNumbers(t *testing.T) {
	mine := goroutine()
	other := make(chan uint64)
	go func() { other <- goroutine() }()
	if got := <-other; got == mine || got == 0 || mine == 0 || goroutine() != mine {
		t.Errorf("%d and %d", mine, got)
	}
}

func BenchmarkGoroutine(b *testing.B) {
	for b.Loop() {
		goroutine()
	}
}
