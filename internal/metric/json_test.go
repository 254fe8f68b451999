package metric

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
)

func TestHistogramsCrossProcessesWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 1000} {
		var h, got Histogram
		for range n {
			h.Record(rng.Int64N(1 << rng.IntN(40)))
		}
		got.Record(5) // to be replaced
		text, err := json.Marshal(&h)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil || got != h {
			t.Errorf("%d values: %v, %+v is not %+v", n, err, got.Summary(), h.Summary())
		}
	}
}

func TestForeignHistogramsAreRefused(t *testing.T) {
	for _, text := range []string{
		`{"min":-1,"max":5,"sum":1,"counts":[[1,1]]}`, `{"min":9,"max":5,"sum":1,"counts":[[7,1]]}`,
		`{"min":1,"max":5,"sum":1,"counts":[[9,1]]}`, `{"min":1,"max":5,"sum":1,"counts":[[99999,1]]}`, `[]`,
	} {
		var h Histogram
		if json.Unmarshal([]byte(text), &h) == nil {
			t.Errorf("%s was taken for a histogram", text)
		}
	}
}
