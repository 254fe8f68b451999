package run

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func TestPlotShowsEveryPeerTheBestOnTop(t *testing.T) {
	c := comparison([]float64{0.3, 0.4, 0.5}, []float64{10, 12, 11})
	c.Peers = []PeerFacts{{Name: "tcp"}, {Name: "godwit"}, {Name: "absent"}}
	w, _ := Named("W3")
	var b strings.Builder
	if err := c.Plot(&b, &w[0], &perMessage); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, &b)
		}
	}
	own, other := strings.Index(b.String(), ">godwit<"), strings.Index(b.String(), ">tcp<")
	if own < 0 || other < own || !strings.Contains(b.String(), "logarithmic") || !strings.Contains(b.String(), ">0.400<") {
		t.Errorf("godwit at %d, tcp at %d:\n%s", own, other, &b)
	}
	if err := c.Plot(&b, &w[0], &anon); err == nil {
		t.Error("a figure that nobody has is plotted")
	}
}
