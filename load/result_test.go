package load

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func exampleResult(t *testing.T) *Result {
	n, g := newTest(Config{Connections: 2, Size: 64, Rate: 20_000})
	g.begin(n.now, 0, 100*ms)
	n.run(t, g, 0)
	c := Config{Connections: 2, Duration: 100 * ms}
	return newResult(&c, &g.stats, &usage{serverMicros: ptr(1.5), serverPercent: ptr(3.0)})
}

func TestJSONHasTheAgreedKeys(t *testing.T) {
	r := exampleResult(t)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"connections", "corrupted", "duplicates", "duration_s", "generator_lateness_us", "handshakes_per_second", "latency_us", "lost", "messages_per_second",
		"packet_loss_rate", "received", "retransmission_rate", "sent", "server_cpu_percent", "server_us_per_message", "stolen_cpu_percent", "valid",
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
	latency := slices.Sorted(maps.Keys(got["latency_us"].(map[string]any)))
	if !slices.Equal(latency, []string{"max", "p50", "p90", "p99", "p999"}) {
		t.Errorf("keys of latency_us %q", latency)
	}
	if got["packet_loss_rate"] != nil || got["server_us_per_message"] != 1.5 {
		t.Errorf("what is unknown is null, what is known is not: %s", text)
	}
	r.Reference = map[string]*Result{"udp": exampleResult(t)}
	r.Reasons = []string{"noise"}
	text, _ = json.Marshal(r)
	if !strings.Contains(string(text), `"reference":{"udp":{`) || !strings.Contains(string(text), `"reasons":["noise"]`) {
		t.Errorf("%s", text)
	}
}

func TestThroughputCountsEachMessageOnce(t *testing.T) {
	r := exampleResult(t)
	// One message of the plan is on its way when the time is up.
	if r.MessagesPerSecond != 19_990 || r.Sent != 2000 || r.Received != 2000 || r.Lost != 0 || !r.Valid {
		t.Errorf("%+v", r)
	}
}

func TestEachBoundOfValidityIsChecked(t *testing.T) {
	n, g := newTest(Config{Connections: 2, Size: 64, Rate: 20_000})
	g.begin(n.now, 0, 100*ms)
	n.run(t, g, 0)
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{other: ptr(0.08), steal: ptr(0.08)}); len(why) != 0 {
		t.Errorf("invalid at the bounds: %q", why)
	}
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{other: ptr(0.081), steal: ptr(0.081)}); len(why) != 2 {
		t.Errorf("beyond two bounds: %q", why)
	}
	g.stats.sent = g.stats.planned - g.stats.planned/500
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{}); len(why) != 1 || !strings.Contains(why[0], "planned") {
		t.Errorf("99.8 %% sent: %q", why)
	}
	g.stats.returned = 0
	if why := reasons(&Config{Rate: 1}, &g.stats, &usage{}); len(why) != 2 {
		t.Errorf("and nothing back: %q", why)
	}
}

func TestTextShowsReferencesBeside(t *testing.T) {
	r := exampleResult(t)
	r.Reference = map[string]*Result{"udp": exampleResult(t), "tcp": {Reasons: []string{"no TCP today"}}}
	r.Notes = []string{"who knows"}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"godwit   raw UDP", "TCP", "19,990", "80.0", "unknown", "INVALID (TCP): no TCP today", "note (godwit): who knows", "1.50"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestCountsAreGrouped(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.4: "1,234,567"} {
		if got := grouped(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func TestConfigsAreChecked(t *testing.T) {
	good, err := Config{Addr: "x:1"}.resolve()
	if err != nil || good.Connections != 100 || good.Size != 128 || good.Rate != 20_000 || good.Duration != 10*time.Second || good.Warmup != time.Second {
		t.Errorf("defaults %+v, %v", good, err)
	}
	if c, err := (Config{Addr: "x:1", Outstanding: 4, Warmup: -1}).resolve(); err != nil || c.Rate != 0 || c.Warmup != 0 {
		t.Errorf("closed loop %+v, %v", c, err)
	}
	for _, bad := range []Config{
		{},
		{Addr: "x:1", Rate: 1, Outstanding: 1},
		{Addr: "x:1", Rate: -1},
		{Addr: "x:1", Rate: 1e9},
		{Addr: "x:1", Outstanding: -1},
		{Addr: "x:1", Connections: -1},
		{Addr: "x:1", Size: 23},
		{Addr: "x:1", Duration: -1},
	} {
		if _, err := bad.resolve(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
