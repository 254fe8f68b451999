package command

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestModesOnABadLink(t *testing.T) {
	s := serve(t, "--json")
	b := s.banner(t)
	args := []string{
		"bench", b.Listen, "--modes", "--loss", "5%", "--rtt", "20ms", "--conns", "4", "--rate", "240",
		"--duration", "800ms", "--warmup", "200ms", "--admin", "off",
	}
	out, err := program(t, append(args, "--json")...).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r modesReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r.Loss != 0.05 || r.RTT != 20 || len(r.Modes) != 5 {
		t.Fatalf("%s", out)
	}
	for _, m := range r.Modes {
		reliable := m.Mode == "ordered" || m.Mode == "unordered"
		if m.Sent == 0 || m.Latency.P50 < 20_000 || m.Staleness == nil || m.Staleness.P50 < 20_000 || m.Duplicates != 0 {
			t.Errorf("%s: %+v", m.Mode, m.Result)
		}
		if reliable && m.Delivered != 1 || m.Delivered < 0.5 || m.Mode == "unreliable" && m.Delivered == 1 {
			t.Errorf("%s: %.3f of the messages were delivered", m.Mode, m.Delivered)
		}
	}
	var text strings.Builder
	if err := r.writeText(&text); err != nil || strings.Count(text.String(), " %") < 10 || !strings.Contains(text.String(), "stale p99") {
		t.Errorf("%v\n%s", err, &text)
	}
}

func TestBadImpairmentsAreNamed(t *testing.T) {
	for _, args := range [][]string{{"--loss", "many"}, {"--loss", "100%"}, {"--loss", "-1"}, {"--rtt", "-1ms"}, {"--rtt", "1h"}} {
		out, err := program(t, append([]string{"bench", "--admin", "off"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), args[0]) && !strings.Contains(string(out), "Delay") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
