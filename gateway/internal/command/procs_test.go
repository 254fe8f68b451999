package command

import (
	"encoding/json"
	"strings"
	"testing"

	"godwit.example/godwit/load"
)

func TestProcessesShareTheLoad(t *testing.T) {
	s := serve(t, "--json")
	b := s.banner(t)
	out, err := program(t, "bench", b.Listen, "--procs", "3", "--conns", "8", "--rate", "800", "--duration", "500ms", "--warmup", "100ms",
		"--admin", b.Admin, "--json").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkBenchObject(t, out)
	var r load.Result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Connections != 8 || r.Sent < 350 || r.Sent > 450 || r.Received != r.Sent || r.HandshakesPerSecond == nil {
		t.Errorf("%+v", r)
	}
	text, err := program(t, "bench", b.Listen, "--procs", "2", "--conns", "2", "--rate", "0", "--outstanding", "2", "--mode", "unordered",
		"--duration", "200ms", "--warmup", "0s", "--without", "gso,gro").Output()
	if err != nil || !strings.Contains(string(text), "messages/s") || !strings.Contains(string(text), "2 processes") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestFailingProcessesAreTold(t *testing.T) {
	for _, c := range []struct{ say, args string }{
		{"--conns", "--procs 4 --conns 3"},
		{"--procs", "--procs 65"},
		{"--reference", "--procs 2 --reference"},
		{"client process", "--procs 2 --conns 2 --pin sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	} {
		s := serve(t, "--json")
		args := append([]string{"bench", s.banner(t).Listen, "--admin", "off", "--duration", "200ms"}, strings.Fields(c.args)...)
		if out, err := program(t, args...).CombinedOutput(); err == nil || !strings.Contains(string(out), c.say) {
			t.Errorf("%s: %v\n%s", c.args, err, out)
		}
	}
}
