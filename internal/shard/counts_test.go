package shard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"godwit.example/godwit/internal/invariant"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

var update = flag.Bool("update", false, "write what was counted to testdata/counts.json")

// counts holds what was counted, by name.
type counts map[string]uint64

// A phase is a workload that is counted. The names are those of docs/BENCHMARKS.md where it has the same.
type phase struct {
	name string
	unit string // what "per" is in the tables
	play func(w *script) (measured func())
	keys bool // are made in it: the allocations are those of the standard library, and of each version of it
}

var phases = []phase{
	{"W1", "round trip of 64 B, alone", func(w *script) func() { return w.closedLoop(1, 1, 64, 500, 2000) }, false},
	{"W2", "round trip of 128 B, one every 50 µs over 100 connections", (*script).openLoop, false},
	{"W3", "round trip of 64 B, 64 outstanding on each of 100 connections", func(w *script) func() { return w.closedLoop(100, 64, 64, 192_000, 64_000) }, false},
	{"W3 loss", "the same, with 1 % of all datagrams lost", func(w *script) func() {
		w.lossy = true
		return w.closedLoop(100, 64, 64, 128_000, 64_000)
	}, false},
	{"W4", "message of 64 KiB, one way", (*script).bulk, false},
	{"stream", "write of 16 KiB to a byte stream, one way", (*script).streamBulk, false},
	{"group", "delivery of 128 B, each message to a group of 100", (*script).group, false},
	{"idle", "idle connection and minute, kept alive", (*script).idle, true},
	{"connect", "connection, without TLS", (*script).connects, true},
}

// closedLoop has so many messages outstanding on each connection: what the server returns is sent again. The first ones are not counted.
func (w *script) closedLoop(connections, outstanding, size int, before, counted uint64) func() {
	w.echo(&w.server.app)
	w.client.app.message = func(s *Shard, r Ref, ev *proto.Event) bool {
		w.units++
		return w.back(s, r, ev)
	}
	lossy := w.lossy
	w.lossy = false
	w.connect(connections)
	w.pass(mono.Second)
	w.lossy = lossy
	payload := make([]byte, size)
	for range outstanding {
		for _, r := range w.client.connections {
			w.send(r, payload)
		}
	}
	w.until(before)
	return func() { w.until(w.units + counted) }
}

// openLoop sends one message after the other at fixed times, each by the next connection.
func (w *script) openLoop() func() {
	w.echo(&w.server.app)
	w.client.app.message = func(*Shard, Ref, *proto.Event) bool {
		w.units++
		return true
	}
	w.connect(100)
	w.pass(mono.Second)
	payload := make([]byte, 128)
	send := func(n int) {
		for i := range n {
			w.send(w.client.connections[i%100], payload)
			w.pass(50 * mono.Microsecond)
		}
	}
	send(30_000)
	return func() { send(5000) }
}

// bulk sends as much as the send buffer takes.
func (w *script) bulk() func() {
	w.server.app.message = func(*Shard, Ref, *proto.Event) bool {
		w.units++
		return true
	}
	m := Outbound{Payload: make([]byte, 64<<10), Reliable: true}
	w.client.app.writable = func(s *Shard, r Ref) {
		for s.Send(r, &m) == Sent {
		}
	}
	w.connect(1)
	w.pass(mono.Second)
	w.client.app.writable(w.client.shard, w.client.connections[0])
	w.until(200)
	return func() { w.until(w.units + 200) }
}

// streamBulk has 512 KiB of a byte stream in its send buffer.
func (w *script) streamBulk() func() {
	bytes := 0
	w.server.app.stream = func(_ *Shard, _ Ref, ev *proto.Event) bool {
		bytes += len(ev.Payload)
		w.units = uint64(bytes / MaxStreamWrite)
		return true
	}
	payload := make([]byte, MaxStreamWrite)
	room := 32 * (MaxStreamWrite + wire.CreditOverhead)
	fill := func(s *Shard, r Ref) {
		for ; room >= MaxStreamWrite+wire.CreditOverhead; room -= MaxStreamWrite + wire.CreditOverhead {
			if s.StreamWrite(r, firstStream, payload) != Sent {
				w.tb.Fatal("a write to a stream was refused")
			}
		}
	}
	w.client.app.stream = func(s *Shard, r Ref, ev *proto.Event) bool {
		if ev.Kind == proto.EventStreamWritable {
			room += int(ev.N)
			fill(s, r)
		}
		return true
	}
	w.connect(1)
	w.pass(mono.Second)
	fill(w.client.shard, w.client.connections[0])
	w.until(500)
	return func() { w.until(w.units + 500) }
}

// group sends a message every millisecond.
func (w *script) group() func() {
	w.client.app.message = func(*Shard, Ref, *proto.Event) bool {
		w.units++
		return true
	}
	w.connect(100)
	w.pass(mono.Second)
	g := NewGroup([]*Shard{w.server.shard})
	for _, r := range w.server.connections {
		if g.Add(r) != Sent {
			w.tb.Fatal("a connection does not join")
		}
	}
	m := Outbound{Payload: make([]byte, 128), Reliable: true}
	send := func(n int) {
		for range n {
			g.Send(&m, Ref{}, false)
			w.pass(mono.Millisecond)
		}
	}
	send(600)
	return func() { send(200) }
}

// idle lets a minute pass.
func (w *script) idle() func() {
	w.connect(100)
	w.pass(mono.Minute)
	return func() {
		w.pass(mono.Minute)
		w.units += 100
	}
}

// connects counts handshakes and what comes after them.
func (w *script) connects() func() {
	return func() {
		w.connect(50)
		w.pass(2 * mono.Second)
		w.units += 50
	}
}

// echo has an application return what it receives.
func (w *script) echo(a *testApp) { a.message = w.back }

func (w *script) back(s *Shard, r Ref, ev *proto.Event) bool {
	if st := s.Send(r, &Outbound{Payload: ev.Payload, Channel: ev.Channel, Reliable: true}); st != Sent {
		w.tb.Errorf("an answer was refused: %d", st)
	}
	return true
}

func (w *script) send(r Ref, payload []byte) {
	if st := w.client.shard.Send(r, &Outbound{Payload: payload, Reliable: true}); st != Sent {
		w.tb.Fatalf("a message was refused: %d", st)
	}
}

// count plays a phase and returns what happened while it was measured.
func (p *phase) count(tb testing.TB) counts {
	w := newScript(tb)
	measured := p.play(w)
	done, units, start := counts{}, w.units, w.now
	for name, n := range w.read() {
		done[name] -= n
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC() // what it runs may allocate
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	measured()
	runtime.ReadMemStats(&after)
	for name, n := range w.read() {
		done[name] += n
	}
	done["units"], done["microseconds"] = w.units-units, uint64(w.now.Sub(start)/mono.Microsecond)
	if !p.keys {
		done[allocations] = after.Mallocs - before.Mallocs
	}
	w.over()
	return done
}

// leastOf counts a phase again if there were more allocations than expected: now and then the runtime makes one of its own.
func (p *phase) leastOf(tb testing.TB, want counts) counts {
	c := p.count(tb)
	for range 4 {
		if n, counted := c[allocations]; countable(allocations) != "" || !counted || n <= want[allocations] && !*update {
			break
		}
		again := p.count(tb)
		again[allocations] = min(again[allocations], c[allocations])
		c = again
	}
	return c
}

const (
	allocations = "allocations"
	bytesCopied = "bytes copied"
)

// read returns what was counted at both ends.
func (w *script) read() counts {
	both := counts{}
	for name, e := range map[string]*end{"server ": w.server, "client ": w.client} {
		for what, n := range e.read() {
			both[name+what] = n
		}
	}
	return both
}

// countable says why a count cannot be judged in this build, or nothing.
func countable(name string) string {
	switch {
	case name == allocations && !exactAllocations:
		return "the race detector, the assertions and ciphers without assembly allocate"
	case strings.HasSuffix(name, bytesCopied) && !invariant.Enabled:
		return "counted with -tags godwitdebug only"
	}
	return ""
}

// TestCounts plays fixed workloads in virtual time and compares how often everything that costs time was done with testdata/counts.json,
// without any tolerance. With -v it prints the tables.
func TestCounts(t *testing.T) {
	want := golden(t)
	got := map[string]counts{}
	for i := range phases {
		p := &phases[i]
		got[p.name] = p.leastOf(t, want[p.name])
	}
	if testing.Verbose() {
		t.Logf("\n%s", tables(got))
	}
	if *update {
		write(t, merge(want, got))
		return
	}
	differences, skipped := compare(want, got)
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		t.Logf("not judged in this build: %s: %s", skipped[why], why)
	}
	if len(differences) > 0 {
		t.Errorf("%d counts differ from %s:\n%s\nIf the change is meant, run\n"+
			"\tgo test ./internal/shard -run TestCounts -update && go test -tags godwitdebug ./internal/shard -run TestCounts -update\n"+
			"and explain the differences in the commit.", len(differences), goldenFile, strings.Join(differences, "\n"))
	}
}

// compare returns a line for each count that differs, and the names of those that this build cannot judge, by reason.
func compare(want, got map[string]counts) (differences []string, skipped map[string]string) {
	skipped = map[string]string{}
	for _, p := range slices.Sorted(maps.Keys(joined(want, got))) {
		for _, name := range slices.Sorted(maps.Keys(joined(want[p], got[p]))) {
			if why := countable(name); why != "" {
				skipped[why] = strings.TrimPrefix(strings.TrimPrefix(name, "server "), "client ")
				continue
			}
			old, known := want[p][name]
			now, counted := got[p][name]
			switch {
			case !known:
				differences = append(differences, fmt.Sprintf("\t%s: %s: new: %d", p, name, now))
			case !counted:
				differences = append(differences, fmt.Sprintf("\t%s: %s: %d -> not counted any more", p, name, old))
			case old != now:
				percent := "from nothing"
				if old != 0 {
					percent = fmt.Sprintf("%+.2f %%", 100*(float64(now)/float64(old)-1))
				}
				differences = append(differences, fmt.Sprintf("\t%s: %s: %d -> %d (%s)", p, name, old, now, percent))
			}
		}
	}
	return differences, skipped
}

// joined returns the keys of both.
func joined[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return all
}

// merge returns what was counted, and of what this build cannot count what was known.
func merge(old, got map[string]counts) map[string]counts {
	for p, c := range got {
		for name := range c {
			if countable(name) == "" {
				continue
			}
			delete(c, name)
			if n, ok := old[p][name]; ok {
				c[name] = n
			}
		}
	}
	return got
}

const goldenFile = "testdata/counts.json"

// golden returns what is expected.
func golden(t *testing.T) map[string]counts {
	want := map[string]counts{}
	b, err := os.ReadFile(goldenFile)
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil && !*update {
		t.Fatal(err)
	}
	return want
}

func write(t *testing.T, c map[string]counts) {
	b, err := json.MarshalIndent(c, "", "\t")
	if err == nil {
		err = os.WriteFile(goldenFile, append(b, '\n'), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tables says how much of everything there was for each unit of work of each phase.
func tables(got map[string]counts) string {
	var b bytes.Buffer
	for i := range phases {
		fmt.Fprintf(&b, "%s: %d units, each a %s\n", phases[i].name, got[phases[i].name]["units"], phases[i].unit)
	}
	for _, side := range []string{"server ", "client ", ""} {
		out := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(out, "\n%s\t", cmp.Or(side, "both "))
		for i := range phases {
			fmt.Fprintf(out, "%s\t", phases[i].name)
		}
		fmt.Fprintln(out)
		for _, name := range slices.Sorted(maps.Keys(got[phases[0].name])) {
			what, ours := strings.CutPrefix(name, side)
			if !ours || name == "units" || side == "" && (strings.HasPrefix(name, "server ") || strings.HasPrefix(name, "client ")) {
				continue
			}
			fmt.Fprintf(out, "%s\t", what)
			for i := range phases {
				c := got[phases[i].name]
				n, counted := c[name]
				if !counted || countable(name) != "" {
					fmt.Fprint(out, "–\t")
					continue
				}
				fmt.Fprintf(out, "%.4g\t", float64(n)/float64(c["units"]))
			}
			fmt.Fprintln(out)
		}
		_ = out.Flush()
	}
	return b.String()
}
