package godwit_test

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"godwit.example/godwit"
)

// TestTroubleshootingNamesEveryError looks for each error and each log line of the root package on the page that explains
// them.
func TestTroubleshootingNamesEveryError(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "TROUBLESHOOTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	var wanted []string
	for _, f := range repository(t) {
		if f.dir() == "." && !f.isTest() {
			wanted = append(wanted, errorNames(f)...)
			wanted = append(wanted, logLines(f)...)
		}
	}
	if len(wanted) < 12 {
		t.Fatalf("only %d errors and log lines found: %q", len(wanted), wanted)
	}
	for _, w := range wanted {
		if !strings.Contains(string(page), w) {
			t.Errorf("docs/TROUBLESHOOTING.md does not explain %q", w)
		}
	}
}

// errorNames returns the exported error types of a file, the names of its exported error variables, and the texts of the others.
func errorNames(f *source) (names []string) {
	for _, d := range f.file.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if name := spec.Name.Name; spec.Name.IsExported() && strings.HasSuffix(name, "Error") {
					names = append(names, "*"+name)
				}
			case *ast.ValueSpec:
				if !strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "err") || len(spec.Values) == 0 {
					continue
				}
				if spec.Names[0].IsExported() {
					names = append(names, spec.Names[0].Name)
				}
				if call, ok := spec.Values[0].(*ast.CallExpr); ok {
					text := strings.TrimPrefix(firstString(call), "godwit: ")
					text, _, _ = strings.Cut(strings.TrimSuffix(text, ": %w"), " %") // up to the first argument
					names = append(names, text)
				}
			}
		}
	}
	return names
}

// logLines returns the messages that a file of the root gives to the logger: the first string of calls of its methods and of the root's own
// functions for it.
func logLines(f *source) (lines []string) {
	ast.Inspect(f.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "log", "debug"}, sel.Sel.Name) {
			return true
		}
		for _, arg := range call.Args {
			if lit, ok := arg.(*ast.BasicLit); ok {
				if text, err := strconv.Unquote(lit.Value); err == nil && text != "godwit: " {
					lines = append(lines, text)
				}
				break
			}
		}
		return true
	})
	return lines
}

func TestErrorsAndLogLinesAreFound(t *testing.T) {
	f := example(t, "errors.go", "package godwit\n\nvar ErrX = errors.New(\"godwit: x y\")\n\ntype YError struct{}\n\nvar errZ = fmt.Errorf(\"godwit: z: %w\", err)\n")
	if got, want := fmt.Sprint(errorNames(f)), "[ErrX x y *YError z]"; got != want {
		t.Errorf("errors: %s, want %s", got, want)
	}
	f = example(t, "a.go", "package godwit\n\nfunc f() { e.log(\"listening\", a); l.Logger.Warn(\"godwit: slow\", \"took\", d) }\n")
	if got, want := fmt.Sprint(logLines(f)), "[listening godwit: slow]"; got != want {
		t.Errorf("log lines: %s, want %s", got, want)
	}
}

// TestTuningNamesEverySwitch looks for each number, time and switch of Config and Tuning, and each flag of serve, on the page about them.
func TestTuningNamesEverySwitch(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "TUNING.md"))
	if err != nil {
		t.Fatal(err)
	}
	tuning, config := reflect.TypeFor[godwit.Tuning](), reflect.TypeFor[godwit.Config]()
	var wanted []string
	for i := range tuning.NumField() {
		wanted = append(wanted, "`"+tuning.Field(i).Name+"`")
	}
	for i := range config.NumField() {
		switch f := config.Field(i); f.Type.Kind() {
		case reflect.Int, reflect.Int64, reflect.Bool: // sizes, times and switches
			wanted = append(wanted, "`"+f.Name+"`")
		}
	}
	for _, f := range repository(t) {
		if f.path == "gateway/internal/command/serve.go" {
			wanted = append(wanted, flagNames(f)...)
		}
	}
	if len(wanted) < 35 {
		t.Fatalf("only %d fields and flags found: %q", len(wanted), wanted)
	}
	for _, w := range wanted {
		if !strings.Contains(string(page), w) {
			t.Errorf("docs/TUNING.md does not speak of %s", w)
		}
	}
}

// flagNames returns the flags that a file of the gateway defines.
func flagNames(f *source) (names []string) {
	ast.Inspect(f.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasSuffix(sel.Sel.Name, "Var") {
			return true
		}
		if lit, ok := call.Args[1].(*ast.BasicLit); ok {
			if name, err := strconv.Unquote(lit.Value); err == nil {
				names = append(names, "--"+name)
			}
		}
		return true
	})
	return names
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// TestLinksOfPagesLeadSomewhere follows the links between the files of the repository.
func TestLinksOfPagesLeadSomewhere(t *testing.T) {
	count := 0
	err := walk(func(name string) error {
		if filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			count++
			if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.FromSlash(name)), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 20 {
		t.Errorf("only %d links found", count)
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	goName   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
)

// TestArchitectureNamesWhatExists looks up each name of the pipelines and code spans of the page among the names that the code declares, so
// that a renamed function takes the page with it, and looks for each file of the root, of netem and of internal.
func TestArchitectureNamesWhatExists(t *testing.T) {
	known := map[string]bool{}
	var files []string
	for _, f := range repository(t) {
		for name := range declaredNames(f) {
			known[name] = true
		}
		if (f.in(".") || f.in("netem") || strings.HasPrefix(f.path, "internal/")) && !f.isTest() {
			files = append(files, path.Base(f.path))
		}
		for _, part := range strings.Split(f.path, "/") {
			known[part], known[strings.TrimSuffix(part, ".go")] = true, true
		}
	}
	page, err := os.ReadFile(filepath.Join("docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file != "doc.go" && !strings.Contains(string(page), "`"+file+"`") {
			t.Errorf("docs/ARCHITECTURE.md has no word about %s", file)
		}
	}
	names := namesOfPage(string(page))
	if len(names) < 150 {
		t.Fatalf("only %d names found", len(names))
	}
	for _, name := range names {
		if !known[name] && !slices.Contains(foreignNames, name) {
			t.Errorf("docs/ARCHITECTURE.md speaks of %s, which the code does not have", name)
		}
	}
}

// foreignNames are those of the page that belong to others: the kernel, the compiler, the English language.
var foreignNames = []string{"BUG", "UDP_SEGMENT", "UDPConn", "epoll_pwait2", "_test", "attacks_", "go", "gathers", "if", "sleeps", "the", "unknown"}

// namesOfPage returns the names in the pipelines and code spans of a page: spans that are paths, commands or flags are left out, and so are
// diagrams.
func namesOfPage(page string) (names []string) {
	fence := ""
	for line := range strings.Lines(page) {
		if mark, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			if fence == "" {
				fence = "```" + mark
			} else {
				fence = ""
			}
			continue
		}
		if fence == "```" {
			names = append(names, goName.FindAllString(line, -1)...)
		}
		if fence != "" {
			continue
		}
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(m[1], "/") && !strings.HasPrefix(m[1], "go ") && !strings.HasPrefix(m[1], "make ") && !strings.HasPrefix(m[1], "-") {
				names = append(names, goName.FindAllString(m[1], -1)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// declaredNames returns every name that a file declares: of functions, types, fields, methods, variables and constants.
func declaredNames(f *source) map[string]bool {
	names := map[string]bool{f.file.Name.Name: true}
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			names[n.Name.Name] = true
		case *ast.TypeSpec:
			names[n.Name.Name] = true
		case *ast.ValueSpec:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		case *ast.Field:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		}
		return true
	})
	return names
}
