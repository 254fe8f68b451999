package main

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLateness(t *testing.T) {
	start := time.Unix(1000, 0)
	cases := []struct {
		name  string
		at    []float64 // in intervals
		late  int
		worst float64
	}{
		{"none", nil, 0, 0},
		{"on time", []float64{0, 1, 2, 3, 4}, 0, 0},
		{"a little late", []float64{0, 1.1, 2.2, 3, 4}, 0, 0.2},
		{"late", []float64{0, 1, 2.5, 3, 4}, 1, 0.5},
		{"never came", []float64{0, 1, 3, 4}, 1, 1},
		{"came with the next", []float64{0, 1, 3.1, 3.11, 4}, 1, 1.1},
		{"three lost and one late", []float64{0, 1, 5.5, 6, 7}, 4, 3.5},
		{"the first one was late", []float64{0, 0.7, 1.7, 2.7}, 1, 0.3},
		{"the first one came early", []float64{0, 1.2, 2.2, 3.2}, 0, 0},
	}
	for _, c := range cases {
		var ticks []time.Time
		for _, at := range c.at {
			ticks = append(ticks, start.Add(time.Duration(at*float64(interval))))
		}
		late, worst := lateness(ticks)
		if want := time.Duration(c.worst * float64(interval)); late != c.late || (worst-want).Abs() > time.Microsecond {
			t.Errorf("%s: %d late, the worst by %v, want %d and %v", c.name, late, worst, c.late, want)
		}
	}
}
