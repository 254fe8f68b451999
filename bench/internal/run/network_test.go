package run

import (
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/netem"
)

func TestNetworkThatIsNotAsItWasMeant(t *testing.T) {
	for _, c := range []struct {
		name  string
		stats netem.Stats
		want  string // empty if there is nothing to say
	}{
		{"losses that were drawn", netem.Stats{Up: netem.LinkStats{Lost: 5, MeanLateness: time.Millisecond}}, ""},
		{"the kernel's", netem.Stats{KernelDrops: 3}, "dropped 3 datagrams"},
		{"the proxy's", netem.Stats{Up: netem.LinkStats{Overflowed: 1}, Down: netem.LinkStats{Overflowed: 2}}, "dropped 3 datagrams"},
		{"late", netem.Stats{Down: netem.LinkStats{MeanLateness: 1200 * time.Microsecond}}, "1.2ms late in the mean"},
	} {
		got := networkFaults(&c.stats)
		if c.want == "" && got != nil || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
