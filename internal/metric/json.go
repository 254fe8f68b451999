package metric

import (
	"encoding/json"
	"errors"
	"math"
)

// jsonHistogram is a histogram on its way to another process.
type jsonHistogram struct {
	Min    int64       `json:"min"`
	Max    int64       `json:"max"`
	Sum    uint64      `json:"sum"`
	Carry  uint64      `json:"carry,omitempty"` // of the sum, beyond 64 bits
	Counts [][2]uint64 `json:"counts"`          // of each bucket that is not empty: its number, and how many
}

// MarshalJSON writes all that the histogram holds, so that those of several processes can be merged.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	j := jsonHistogram{Min: h.Min(), Max: h.max, Sum: h.sum, Carry: h.carry, Counts: [][2]uint64{}}
	for i, n := range h.counts {
		if n > 0 {
			j.Counts = append(j.Counts, [2]uint64{uint64(i), n})
		}
	}
	return json.Marshal(&j)
}

var errHistogram = errors.New("metric: not a histogram")

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var j jsonHistogram
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Min < 0 || j.Max < j.Min {
		return errHistogram
	}
	*h = Histogram{}
	if len(j.Counts) == 0 {
		return nil
	}
	h.sum, h.carry, h.max, h.room = j.Sum, j.Carry, j.Max, math.MaxInt64-j.Min
	first, last := h.used()
	for _, c := range j.Counts {
		if c[0] < uint64(first) || c[0] > uint64(last) {
			return errHistogram // whoever counts would miss it
		}
		h.counts[c[0]] = c[1]
	}
	return nil
}
