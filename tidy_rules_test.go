package godwit_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A ban names calls that are allowed only in some places. Tests are exempt, programs below tools/ too.
type ban struct {
	calls []string // package path, dot, name; a * at the end stands for the rest of the name
	in    []string // only below these directories; empty means everywhere
	not   []string // except below these directories or in these files
	why   string
}

var bans = []ban{
	{
		calls: []string{"time.Now", "time.Since", "time.Until"},
		not:   []string{".", "internal/mono", "internal/handshake", "internal/host", "load", "netem", "doctor", "godwittest", "gateway", "examples", "bench"},
		why:   "below the face the only clock is mono, and only shard and root read it",
	},
	{
		calls: []string{"godwit/internal/mono.Now"},
		not:   []string{".", "internal/mono", "internal/shard", "load", "netem", "doctor"},
		why:   "time is an argument; shard and root read the clock",
	},
	{
		calls: []string{"time.NewTimer", "time.AfterFunc", "time.After", "time.Tick", "time.NewTicker", "time.Sleep"},
		in:    []string{"internal"},
		not:   []string{"internal/host", "internal/handshake", "internal/udp/portable.go"}, // the engine without a wait of its own
		why:   "deadlines belong to the wheel and to the socket's wait: Go's timers end up to 1 ms late",
	},
	{
		calls: []string{"fmt.Errorf", "errors.New"},
		in:    []string{"internal/wire", "internal/proto", "internal/token", "internal/congestion", "internal/fec", "internal/wheel"},
		why:   "parsers and the core return ok, a length or a code, never an allocated error",
	},
	{calls: []string{"os.Exit", "log.Fatal*"}, not: []string{"gateway/cmd", "bench/cmd"}, why: "only a main function ends the process"},
	{
		calls: []string{"runtime/debug.SetGCPercent", "runtime/debug.SetMemoryLimit"},
		not:   []string{"gateway", "examples"}, // docs/adr/0008-memory-is-measured-from-outside.md
		why:   "the process belongs to the application, which alone may tune it",
	},
	{calls: []string{"runtime.GC", "runtime/debug.FreeOSMemory"}, not: []string{"gateway", "examples"}, why: "a library does not stop the world"},
	{calls: []string{"fmt.Print*", "log.Print*"}, not: []string{"gateway", "examples", "bench/cmd"}, why: "a library writes to the logger it was given"},
	{calls: []string{"net/http.ListenAndServe*", "net/http.Handle", "net/http.HandleFunc"}, why: "the default mux and a server without timeouts are open doors"},
}

// rawCalls are the system calls that never block, so that RawSyscall is safe for them: a RawSyscall that blocks hangs the collector.
// The value names the flag or variable that a call must carry to be one of them, or the position of an argument that must be a literal zero.
var rawCalls = map[string]any{
	"SYS_GETCPU": nil, "SYS_SCHED_GETAFFINITY": nil, "SYS_CLOCK_GETTIME": nil, "SYS_GETTID": nil, "SYS_PRCTL": nil,
	"SYS_RECVMMSG": "MSG_DONTWAIT", "SYS_SENDMMSG": "MSG_DONTWAIT", "SYS_RECVMSG": "MSG_DONTWAIT", "SYS_SENDMSG": "MSG_DONTWAIT",
	"SYS_RECVFROM": "MSG_DONTWAIT", "SYS_SENDTO": "MSG_DONTWAIT",
	"SYS_EPOLL_PWAIT": 4,                                        // its timeout
	"SYS_PPOLL":       "bounded", "SYS_EPOLL_PWAIT2": "bounded", // a timeout that is
}

// callFindings looks for banned calls, and for raw system calls that may block.
func callFindings(f *source) []string {
	if f.isTest() || f.in("tools") {
		return nil
	}
	imports := f.importNames()
	var found []string
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			name := qualified(imports, n)
			for _, b := range bans {
				if name != "" && b.covers(f, name) {
					found = append(found, fmt.Sprintf("%s: %s: %s", f.at(n.Pos()), name, b.why))
				}
			}
		case *ast.CallExpr:
			why := rawFinding(imports, n)
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && qualified(imports, sel) == "runtime.GOMAXPROCS" && !isZero(n.Args[0]) && !f.in("gateway") {
				why = "runtime.GOMAXPROCS sets the number of processors of the whole process, which is the application's"
			}
			if why != "" {
				found = append(found, f.at(n.Pos())+": "+why)
			}
		}
		return true
	})
	return found
}

func (b ban) covers(f *source, name string) bool {
	if f.isCommand() && (name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "fmt.Print")) {
		return false
	}
	banned := slices.ContainsFunc(b.calls, func(call string) bool {
		if prefix, ok := strings.CutSuffix(call, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return name == call
	})
	return banned && (len(b.in) == 0 || f.in(b.in...)) && !f.in(b.not...) && !slices.Contains(b.not, f.path)
}

// rawFinding returns what is wrong with a call of RawSyscall or RawSyscall6, if anything is.
func rawFinding(imports map[string]string, call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !strings.HasPrefix(sel.Sel.Name, "RawSyscall") || len(call.Args) == 0 {
		return ""
	}
	if pkg := qualified(imports, sel); !strings.HasPrefix(pkg, "syscall.") && !strings.HasPrefix(pkg, "golang.org/x/sys/unix.") {
		return ""
	}
	if trap, ok := call.Args[0].(*ast.SelectorExpr); ok && neverBlocks(trap.Sel.Name, call) {
		return ""
	}
	return "RawSyscall of a call that may block hangs the collector: use Syscall6"
}

func neverBlocks(trap string, call *ast.CallExpr) bool {
	needs, known := rawCalls[trap]
	switch needs := needs.(type) {
	case string:
		return slices.ContainsFunc(call.Args, func(e ast.Expr) (found bool) {
			ast.Inspect(e, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				found = found || ok && id.Name == needs
				return true
			})
			return found
		})
	case int:
		return needs < len(call.Args) && isZero(call.Args[needs])
	}
	return known
}

func isZero(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Value == "0"
}

// panicFindings asks for the BUG: mark: only a programmer's error may panic, and the message says so.
func panicFindings(f *source) []string {
	if f.isTest() || f.in("tools") {
		return nil
	}
	var found []string
	ast.Inspect(f.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" && !strings.HasPrefix(firstString(call.Args[0]), "BUG:") {
			found = append(found, f.at(call.Pos())+`: a panic says "BUG:"; errors of peers and of the environment are returned`)
		}
		return true
	})
	return found
}

// firstString returns the string literal that a message begins with: itself, the left end of a sum, or a format.
func firstString(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, _ := strconv.Unquote(e.Value)
			return s
		}
	case *ast.BinaryExpr:
		return firstString(e.X)
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			return firstString(e.Args[0])
		}
	}
	return ""
}

// importNames maps the names that the file uses for its imports to their paths, those of this module shortened to godwit/….
func (f *source) importNames() map[string]string {
	names := map[string]string{}
	for _, spec := range f.file.Imports {
		to, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(to)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if rest, ok := strings.CutPrefix(to, rootModule()+"/"); ok {
			to = "godwit/" + rest
		}
		names[name] = to
	}
	return names
}

// qualified returns "import/path.Name" for a selector on an imported package, and nothing for any other.
func qualified(imports map[string]string, sel *ast.SelectorExpr) string {
	if id, ok := sel.X.(*ast.Ident); ok && imports[id.Name] != "" {
		return imports[id.Name] + "." + sel.Sel.Name
	}
	return ""
}

func TestBannedCallsCanFail(t *testing.T) {
	header := func(pkg string, imports ...string) string {
		s := "package " + pkg + "\n"
		for _, i := range imports {
			s += "import " + i + "\n"
		}
		return s
	}
	cases := []struct {
		name, path, text string
		want             int
	}{
		{"the clock in proto", "internal/proto/a.go", header("proto", `"time"`) + "var t = time.Now()", 1},
		{"the clock under another name", "internal/mem/a.go", header("mem", `clock "time"`) + "var t = clock.Now()", 1},
		{"the clock as a value", "internal/mem/a.go", header("mem", `"time"`) + "var now = time.Now", 1},
		{"the clock in the face", "conn.go", header("godwit", `"time"`) + "var t = time.Now()", 0},
		{"mono in proto", "internal/proto/a.go", header("proto", `"`+rootModule()+`/internal/mono"`) + "var t = mono.Now()", 1},
		{"mono in shard", "internal/shard/a.go", header("shard", `"`+rootModule()+`/internal/mono"`) + "var t = mono.Now()", 0},
		{"a timer in udp", "internal/udp/a.go", header("udp", `"time"`) + "var t = time.NewTimer(1)", 1},
		{"an allocated error in wire", "internal/wire/a.go", header("wire", `"fmt"`) + "var err = fmt.Errorf(\"x\")", 1},
		{"an error in udp", "internal/udp/a.go", header("udp", `"fmt"`) + "var err = fmt.Errorf(\"x\")", 0},
		{"exit in a library", "load/a.go", header("load", `"os"`) + "func f() { os.Exit(1) }", 1},
		{"exit in a program", "examples/echo/main.go", header("main", `"os"`) + "func main() { os.Exit(1) }", 0},
		{"exit in a test", "load/a_test.go", header("load", `"os"`) + "func f() { os.Exit(1) }", 0},
		{"the collector", "endpoint.go", header("godwit", `"runtime/debug"`) + "func f() { debug.SetGCPercent(50) }", 1},
		{"the collector in the daemon", "gateway/internal/command/a.go", header("command", `"runtime/debug"`) + "func f() { debug.SetGCPercent(50) }", 0},
		{"setting processors", "endpoint.go", header("godwit", `"runtime"`) + "func f() { runtime.GOMAXPROCS(2) }", 1},
		{"counting processors", "endpoint.go", header("godwit", `"runtime"`) + "var n = runtime.GOMAXPROCS(0)", 0},
		{"printing", "endpoint.go", header("godwit", `"fmt"`) + "func f() { fmt.Println() }", 1},
		{"a raw call that blocks", "internal/udp/a.go", header("udp", `"syscall"`) + "func f() { syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0) }", 1},
		{"a raw call by number", "internal/udp/a.go", header("udp", `"syscall"`) + "func f(n uintptr) { syscall.RawSyscall(n, 0, 0, 0) }", 1},
		{"a raw call that returns", "internal/topo/a.go", header("topo", `"golang.org/x/sys/unix"`) + "func f() { unix.RawSyscall(unix.SYS_GETCPU, 0, 0, 0) }", 0},
		{"a raw receive that waits", "internal/udp/a.go", header("udp", `"syscall"`) + "func f() { syscall.RawSyscall6(syscall.SYS_RECVMMSG, 3, 0, 1, 0, 0, 0) }", 1},
		{"a raw receive that does not", "internal/udp/a.go", header("udp", `"syscall"`) + "func f() { syscall.RawSyscall6(syscall.SYS_RECVMMSG, 3, 0, 1, syscall.MSG_DONTWAIT, 0, 0) }", 0},
		{"a raw poll that waits", "internal/udp/a.go", header("udp", `"syscall"`) + "func f() { syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, 3, 0, 1, ms, 0, 0) }", 1},
		{"a method of the same name", "internal/mem/a.go", header("mem") + "func f(time clock) { time.Now() }", 0},
	}
	for _, c := range cases {
		if got := callFindings(example(t, c.path, c.text)); len(got) != c.want {
			t.Errorf("%s: %d findings %q, want %d", c.name, len(got), got, c.want)
		}
	}
}
