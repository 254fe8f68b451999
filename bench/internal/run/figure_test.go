package run

import (
	"math"
	"testing"

	"godwit.example/godwit/load"
)

func TestRatioHasAnInterval(t *testing.T) {
	var a, b, c []float64
	for i := range 15 {
		x := 100 + float64(i%5)
		a, b, c = append(a, x), append(b, 2*x), append(c, x*float64(1+i%3))
	}
	if r := ratioOf(a, b); math.Abs(r.Value-0.5) > 1e-9 || r.Low < 0.47 || r.High > 0.53 || r.Pairs != 15 {
		t.Errorf("half: %+v", r)
	}
	if r := ratioOf(c, a); r.Low >= r.Value || r.High <= r.Value || r.High-r.Low < 0.5 {
		t.Errorf("a figure that varies threefold has a narrow interval: %+v", r)
	}
	if x, y := ratioOf(c, a), ratioOf(c, a); x != y {
		t.Errorf("the same runs give %+v and %+v", x, y)
	}
}

// comparison of two peers over W3 whose figures are given, a pair a round.
func comparison(own, other []float64) *Record {
	c := &Record{Workloads: []string{"W3"}}
	for i := range own {
		for name, v := range map[string]float64{"godwit": own[i], "tcp": other[i]} {
			c.Add(&Result{Peer: name, Workload: "W3", Round: i, Result: &load.Result{Valid: true, ServerPerMessage: &v}})
		}
	}
	return c
}

func TestVerdicts(t *testing.T) {
	repeat := func(n int, values ...float64) (list []float64) {
		for i := range n {
			list = append(list, values[i%len(values)])
		}
		return list
	}
	for _, c := range []struct {
		name       string
		own, other []float64
		want       string
	}{
		{"half", repeat(15, 1, 1.1), repeat(15, 2, 2.2), "met"},
		{"the same", repeat(15, 1, 1.1), repeat(15, 1.1, 1), "missed"},
		{"too few", repeat(14, 1), repeat(14, 2), "no verdict from 14 short or few runs"},
		{"who knows", repeat(15, 0.2, 1.3, 0.7), repeat(15, 1), "undecided"},
	} {
		found := false
		for _, v := range comparison(c.own, c.other).Judge() {
			if v.Text == "W3: server µs/message of godwit at most 0.7 of tcp's" {
				found = true
				if v.Verdict != c.want {
					t.Errorf("%s: %+v, want %s", c.name, v, c.want)
				}
			}
		}
		if !found {
			t.Fatalf("%s: no verdict about W3", c.name)
		}
	}
}

func TestPairsAreOfTheSameRound(t *testing.T) {
	c := comparison([]float64{1, 2, 3}, []float64{1, 2, 3})
	c.Runs = append(c.Runs[:0:0], c.Runs...)
	for i, r := range c.Runs {
		if r.Round == 1 && r.Peer == "tcp" {
			c.Runs = append(c.Runs[:i], c.Runs[i+1:]...)
			break
		}
	}
	if r, ok := c.Ratio("W3", "godwit", "tcp", &perMessage); !ok || r.Pairs != 2 || r.Value != 1 {
		t.Errorf("%+v, %v", r, ok)
	}
}

func TestFaults(t *testing.T) {
	good := &Result{Result: &load.Result{}}
	if f := good.Faults(true); f != nil {
		t.Errorf("a good run: %q", f)
	}
	bad := &Result{Result: &load.Result{Lost: 1, Corrupted: 3, Duplicates: 1, Latency: load.Latency{Max: 300e3}}}
	if f := bad.Faults(true); len(f) != 4 {
		t.Errorf("%q", f)
	}
	if f := bad.Faults(false); len(f) != 2 {
		t.Errorf("who promises nothing may lose and wait: %q", f)
	}
}
