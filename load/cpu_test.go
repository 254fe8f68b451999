package load

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
)

func TestMachineTimesAreRead(t *testing.T) {
	const text = "cpu  100 20 30 400 5 6 70 8 50 0\ncpu0 60 10 20 200 3 3 40 2 0 0\ncpu1 40 10 10 200 2 3 30 6 50 0\nintr 1 2 3 4 5 6 7 8 9\n"
	m := parseMachine(text, true)
	if !m.ok || m.busy != 150*tick || m.steal != 8*tick || m.all != 639*tick || !slices.Equal(m.kept, []time.Duration{2 * tick, 6 * tick}) {
		t.Errorf("%+v", m)
	}
	// Where the kernel charges interrupts to processes as well, they belong to
	// what the processes' times are taken off.
	if m := parseMachine(text, false); m.busy != 226*tick {
		t.Errorf("busy %v with interrupts, want 2.26 s", m.busy)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu a b c d e f g h i j"} {
		if parseMachine(bad, true).ok {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestProcessTimesAreReadBehindAnyName(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 100 0 0 0 123 45 0 0 20 0 5 0 1000 1 1\n"
	for _, name := range []string{"(cat)", "(a b)", "(a) S 9 9 9 9)"} {
		if d, ok := parseProcess("42 " + name + rest); !ok || d != 168*tick {
			t.Errorf("%s: %v, %v", name, d, ok)
		}
	}
	for _, bad := range []string{"", "42 (cat", "42 (cat) S 1"} {
		if _, ok := parseProcess(bad); ok {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestUsageTellsOwnServersAndOthersApart(t *testing.T) {
	a := sample{at: begin, machine: machine{ok: true, kept: []time.Duration{time.Second, time.Second}}, ownOK: true, serverOK: true}
	b := a
	b.at = begin.Add(10 * time.Second)
	b.echoed = 200_000
	b.machine = machine{busy: 9 * time.Second, steal: time.Second, all: 20 * time.Second, ok: true, kept: []time.Duration{1200 * time.Millisecond, 1800 * time.Millisecond}}
	b.own = 4 * time.Second
	b.server.cpu = 3 * time.Second

	s := spentBetween(&a, &b)
	u := s.usage(true)
	if *u.serverPercent != 30 || *u.serverMicros != 15 || *u.other != 0.1 || *u.steal != 0.05 || *u.stolen != 8 {
		t.Errorf("server %v %%, %v µs, others %v, steal %v, of one CPU %v", *u.serverPercent, *u.serverMicros, *u.other, *u.steal, *u.stolen)
	}
	s = spentBetween(&a, &b)
	u = s.usage(false)
	if *u.other != 0.25 || u.notes != nil {
		t.Errorf("others %v, notes %q: a server elsewhere uses nothing here", *u.other, u.notes)
	}
	b.serverOK = false
	s = spentBetween(&a, &b)
	u = s.usage(true)
	if u.serverPercent != nil || u.serverMicros != nil || u.other != nil {
		t.Error("made up what a server that does not tell its time uses, or what others do")
	}
	if len(u.notes) != 1 || !strings.Contains(u.notes[0], "not judged: the server's is unknown") {
		t.Errorf("the bound for other programs was skipped in silence: %q", u.notes)
	}
	s.MachineOK = false
	if u = s.usage(false); len(u.notes) != 1 || !strings.Contains(u.notes[0], "not judged: the machine's is unknown") {
		t.Errorf("the bound for other programs was skipped in silence: %q", u.notes)
	}
}

func TestServerFiguresComeFromVarz(t *testing.T) {
	page := `{"process": {"cpu_s": 1.5}, "more": [], "endpoint": {"packets_sent": 10, "packets_lost": 1, "messages_sent": 20, "messages_retransmitted": 2}}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/varz" {
			_, _ = w.Write([]byte(page))
		}
	}))
	defer s.Close()
	read := varz(strings.TrimPrefix(s.URL, "http://"))
	want := serverFigures{1500 * time.Millisecond, packetCounts{Packets: 10, Lost: 1, Messages: 20, Repeated: 2}, true}
	if f, ok := read(context.Background()); !ok || f != want {
		t.Errorf("%+v, %v", f, ok)
	}
	page = `{"process": {"cpu_s": 2}}`
	if f, ok := read(context.Background()); !ok || f != (serverFigures{cpu: 2 * time.Second}) {
		t.Errorf("a server that counts nothing: %+v, %v", f, ok)
	}
	page = `{"process": {"cpu_s": null}}`
	if _, ok := read(context.Background()); ok {
		t.Error("a server that does not know its time was believed")
	}
	s.Close()
	if _, ok := read(context.Background()); ok {
		t.Error("a server out of reach was believed")
	}
}

func TestOwnTimesCanBeReadOnLinux(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("this system does not tell what the machine's CPUs did, and runs say that it is unknown: ", err)
	}
	m := readMachine()
	if !m.ok {
		t.Fatal("/proc/stat was not read")
	}
	before, ok := processCPU(0)
	for began := mono.Now(); mono.Now().Sub(began) < 50*time.Millisecond; {
	}
	after, ok2 := processCPU(0)
	if !ok || !ok2 || after <= before {
		t.Errorf("%v, then %v after 50 ms of work", before, after)
	}
	if _, ok := processCPU(1 << 30); ok {
		t.Error("a process that does not exist has a time")
	}
}
