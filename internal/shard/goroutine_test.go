package shard

import "testing"

func TestGoroutinesHaveDifferentNumbers(t *testing.T) {
	mine := Goroutine()
	other := make(chan uint64)
	go func() { other <- Goroutine() }()
	if got := <-other; got == mine || got == 0 || mine == 0 || Goroutine() != mine {
		t.Errorf("%d and %d", mine, got)
	}
}

func BenchmarkGoroutine(b *testing.B) {
	for b.Loop() {
		Goroutine()
	}
}
