package godwit_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A room says what one room of the root module, or one module beside it, may import. Paths are relative to the root module. A room
// covers the packages below it, and those may import one another.
type room struct {
	rooms    []string // rooms of this repository
	external []string // packages of other modules; a package below one is included
	std      []string // nil means the whole standard library
	inTests  []string // rooms that its tests may import besides
	pure     bool     // bannedInPureRooms applies, directly and through other rooms
}

const anyInternal, anyPublic = "internal/...", "public packages"

// rooms says what docs/ARCHITECTURE.md draws under "Imports". Whoever needs another arrow writes a record in docs/adr first.
var rooms = map[string]room{
	"internal/mono":       {},
	"internal/invariant":  {},
	"internal/mark":       {},
	"internal/mutant":     {}, // faults of builds with -tags godwitmutant: docs/adr/0003-mutants-live-in-the-code.md
	"internal/wire":       {std: []string{"encoding/binary", "math/bits"}, pure: true},
	"internal/congestion": {rooms: []string{"internal/mono"}, pure: true},
	"internal/impair":     {rooms: []string{"internal/mono"}, pure: true},
	"internal/wheel":      {rooms: []string{"internal/mono"}, pure: true},
	"internal/metric":     {rooms: []string{"internal/mono"}},
	"internal/token":      {rooms: []string{"internal/wire", "internal/mono"}, pure: true},
	"internal/proto": {
		rooms: []string{"internal/wire", "internal/congestion", "internal/token", "internal/mem", "internal/mono", "internal/invariant", "internal/mark", "internal/mutant"},
		pure:  true,
	},
	"internal/protect":   {rooms: []string{"internal/wire", "internal/mono"}, external: []string{"golang.org/x/crypto"}},
	"internal/handshake": {rooms: []string{"internal/protect", "internal/wire"}},
	"internal/mem":       {rooms: []string{"internal/mono", "internal/invariant"}},
	"internal/mailbox":   {rooms: []string{"internal/mono"}},
	"internal/udp":       {rooms: []string{"internal/mem", "internal/mono"}, external: []string{"golang.org/x/sys/unix", "golang.org/x/net/bpf"}},
	"internal/shard": {rooms: []string{
		"internal/proto", "internal/protect", "internal/wire", "internal/mem", "internal/mailbox", "internal/wheel", "internal/metric",
		"internal/mono", "internal/invariant", "internal/mark",
		"internal/udp", "internal/token", // docs/adr/0002-what-shard-may-import.md
		"internal/mutant", // docs/adr/0018-costs-are-counted.md
	}},

	".": {rooms: []string{anyInternal}, external: []string{"golang.org/x/sys/unix", "golang.org/x/crypto"}, inTests: []string{anyPublic}},
	"godwittest": {rooms: []string{
		".", "internal/impair", "internal/mono", "internal/proto", "internal/shard", "internal/udp", "internal/wire", "internal/protect", "internal/mark",
	}},
	"load":  {rooms: []string{".", "internal/metric", "internal/udp", "internal/mono"}},
	"netem": {rooms: []string{".", "internal/impair", "internal/udp", "internal/mono"}},

	"examples":       {rooms: []string{anyPublic}},
	"tools":          {rooms: []string{anyPublic}, external: []string{"golang.org/x/sys/unix"}}, // tools/container: control groups, seccomp
	"tools/crossvet": {external: []string{"golang.org/x/tools/go/analysis"}},
	"gateway":        {rooms: []string{anyPublic}, external: []string{"github.com/spf13/cobra"}},
	"bench": {rooms: []string{anyPublic}, external: []string{
		"github.com/coder/websocket", "github.com/pion/sctp", "github.com/quic-go/quic-go", "github.com/xtaci/kcp-go/v5", "golang.org/x/net", "golang.org/x/sys/unix",
	}},
	"grpctest": {rooms: []string{anyPublic}, external: []string{"google.golang.org/grpc"}},
}

// testOnly are the modules that any test may use and nothing else may.
var testOnly = []string{"pgregory.net/rapid", "go.uber.org/goleak", "golang.org/x/net/nettest"}

// bannedInPureRooms are the doors to the outside world: time and entropy are arguments, and sockets, files, locks and logs belong to
// others. Packages below these are banned too.
var bannedInPureRooms = []string{"net", "os", "syscall", "time", "sync", "math/rand", "crypto/rand", "log"}

// An arrow is one import of one file.
type arrow struct {
	file string // for the message
	from string // directory relative to the root module
	to   string // import path; packages of this repository are relative and begin with "./"
	test bool
}

func TestImportRules(t *testing.T) {
	var arrows []arrow
	for _, f := range repository(t) {
		arrows = append(arrows, f.arrows()...)
	}
	if len(arrows) < 10 {
		t.Fatalf("only %d imports found: the walk over the repository is broken", len(arrows))
	}
	for _, v := range importViolations(arrows) {
		t.Error(v)
	}
}

// importViolations returns a sentence for each arrow that the table does not allow.
func importViolations(arrows []arrow) []string {
	var found []string
	for _, a := range arrows {
		if why := a.violation(); why != "" {
			found = append(found, fmt.Sprintf("%s: %s may not import %s: %s", a.file, a.from, a.to, why))
		}
	}
	return append(found, reachViolations(arrows)...)
}

func (a arrow) violation() string {
	name := roomOf(a.from)
	r, known := rooms[name]
	switch {
	case !known:
		return "this room is not in the table of rooms"
	case a.to == "C" && name == "bench":
		return "" // a peer in C, behind a build tag
	case a.to == "C":
		return "no cgo"
	case a.test && below(a.to, testOnly):
		return ""
	case strings.HasPrefix(a.to, "./"):
		return r.mayEnter(name, strings.TrimPrefix(a.to, "./"), a.test)
	case strings.Contains(strings.Split(a.to, "/")[0], "."):
		if below(a.to, r.external) {
			return ""
		}
		return "not among the outside packages of this room"
	case a.test:
		return "" // tests of every room may use the whole standard library
	case r.pure && below(a.to, bannedInPureRooms):
		return "a pure room has no clock, no locks, no entropy and no outside world"
	case r.std != nil && !slices.Contains(r.std, a.to):
		return "outside the short list of this room"
	}
	return ""
}

// mayEnter says why the room called name may not import the package at dir, or nothing if it may.
func (r room) mayEnter(name, dir string, test bool) string {
	to := roomOf(dir)
	allowed := r.rooms
	if test {
		allowed = slices.Concat(allowed, r.inTests)
	}
	internal := strings.HasPrefix(dir, "internal/")
	switch {
	case to == name, slices.Contains(allowed, to):
		return ""
	case internal && slices.Contains(allowed, anyInternal):
		return ""
	case !internal && slices.Contains(allowed, anyPublic) && to != "gateway" && to != "examples" && to != "tools":
		return ""
	}
	return "the table of rooms has no such arrow"
}

// reachViolations follows the arrows from each pure room through the other rooms, mono excepted, and names the doors that it reaches.
func reachViolations(arrows []arrow) []string {
	next, doors := map[string]map[string]bool{}, map[string]map[string]bool{}
	add := func(m map[string]map[string]bool, from, to string) {
		if m[from] == nil {
			m[from] = map[string]bool{}
		}
		m[from][to] = true
	}
	for _, a := range arrows {
		switch {
		case a.test:
		case strings.HasPrefix(a.to, "./"):
			add(next, roomOf(a.from), roomOf(strings.TrimPrefix(a.to, "./")))
		case below(a.to, bannedInPureRooms):
			add(doors, roomOf(a.from), a.to)
		}
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		if !rooms[name].pure {
			continue
		}
		seen := map[string]bool{name: true, "internal/mono": true}
		queue := slices.Sorted(maps.Keys(next[name]))
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			if seen[at] {
				continue
			}
			seen[at] = true
			for _, door := range slices.Sorted(maps.Keys(doors[at])) {
				found = append(found, fmt.Sprintf("%s is pure and reaches %s through %s", name, door, at))
			}
			queue = append(queue, slices.Sorted(maps.Keys(next[at]))...)
		}
	}
	return found
}

// roomOf returns the longest entry of the table that covers dir, or dir itself.
func roomOf(dir string) string {
	best := ""
	for name := range rooms {
		if (dir == name || strings.HasPrefix(dir, name+"/")) && len(name) > len(best) {
			best = name
		}
	}
	return cmp.Or(best, dir)
}

// below tells whether path is one of the packages or lies below one.
func below(path string, packages []string) bool {
	return slices.ContainsFunc(packages, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

func TestImportRulesCanFail(t *testing.T) {
	bad := []arrow{
		{from: "internal/wire", to: "fmt"},
		{from: "internal/wire", to: "./internal/mono"},
		{from: "internal/proto", to: "./internal/protect"},
		{from: "internal/proto", to: "./internal/handshake", test: true},
		{from: "internal/proto", to: "time"},
		{from: "internal/token", to: "crypto/rand"},
		{from: "internal/congestion", to: "sync/atomic"},
		{from: "internal/shard", to: "./internal/handshake"},
		{from: "internal/mono", to: "golang.org/x/sys/unix"},
		{from: "internal/mem", to: "./internal/wire"},
		{from: "internal/udp", to: "C"},
		{from: "internal/helpers", to: "fmt"},
		{from: "load", to: "./internal/proto"},
		{from: "netem", to: "./internal/proto"},
		{from: ".", to: "./load"},
		{from: ".", to: "pgregory.net/rapid"},
		{from: "examples/echo", to: "./internal/udp"},
		{from: "gateway/internal/command", to: "./internal/metric"},
		{from: "gateway/internal/command", to: "./internal/metric", test: true},
		{from: "gateway", to: "./examples/echo"},
		{from: "tools/test", to: "github.com/spf13/cobra"},
		{from: "gateway/internal/command", to: "google.golang.org/grpc"},
	}
	for _, a := range bad {
		if len(importViolations([]arrow{a})) != 1 {
			t.Errorf("%s may import %s (in tests: %v)", a.from, a.to, a.test)
		}
	}
	good := []arrow{
		{from: "internal/wire", to: "encoding/binary"},
		{from: "internal/wire", to: "testing", test: true},
		{from: "internal/wire", to: "pgregory.net/rapid", test: true},
		{from: "internal/mono/entropy", to: "./internal/mono"},
		{from: "internal/proto", to: "./internal/mono/entropy"},
		{from: "internal/protect", to: "golang.org/x/crypto/chacha20poly1305"},
		{from: ".", to: "./internal/shard"},
		{from: ".", to: "./godwittest", test: true},
		{from: "gateway/cmd/godwit", to: "./gateway/internal/command"},
		{from: "gateway/internal/command", to: "./load"},
		{from: "gateway/internal/command", to: "./."},
	}
	for _, a := range good {
		for _, v := range importViolations([]arrow{a}) {
			t.Error(v)
		}
	}
	through := []arrow{{from: "internal/proto", to: "./internal/mem"}, {from: "internal/mem", to: "os"}}
	if got := importViolations(through); len(got) != 1 || !strings.Contains(got[0], "reaches os through internal/mem") {
		t.Errorf("proto -> mem -> os gives %q", got)
	}
}
