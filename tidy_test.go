package godwit_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines = 600
	maxFuncLines = 70
)

// dispatchFunctions are single switches over a wire or event type, which read best unbroken. Nothing else belongs here.
var dispatchFunctions = []string{}

// A check looks at one file and returns a sentence for each thing it finds.
type check func(f *source) []string

var fileChecks = map[string]check{
	"size": sizeFindings, "format": formatFindings, "call": callFindings, "panic": panicFindings, "linkname": linknameFindings,
}

func TestSourceIsTidy(t *testing.T) {
	for _, f := range repository(t) {
		for name, look := range fileChecks {
			for _, finding := range look(f) {
				t.Errorf("%s: %s", name, finding)
			}
		}
	}
	for _, finding := range docFindings(repository(t)) {
		t.Error(finding)
	}
	for _, finding := range leakFindings(repository(t)) {
		t.Error(finding)
	}
}

// sizeFindings bounds files and functions: what does not fit on a few screens hides more than one concern.
func sizeFindings(f *source) []string {
	if ast.IsGenerated(f.file) {
		return nil
	}
	var found []string
	if n := bytes.Count(f.text, []byte("\n")); n > maxFileLines {
		found = append(found, fmt.Sprintf("%s has %d lines, more than %d", f.path, n, maxFileLines))
	}
	for _, d := range f.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || slices.Contains(dispatchFunctions, f.dir()+"."+fn.Name.Name) {
			continue
		}
		if n := f.lines(fn, f.isTest()); n > maxFuncLines {
			found = append(found, fmt.Sprintf("%s: %s has %d lines, more than %d", f.at(fn.Pos()), fn.Name.Name, n, maxFuncLines))
		}
	}
	return found
}

// lines counts the lines of a function. In a test, the bodies of function literals are left out if they are short enough themselves:
// the model of a container is a table of short actions, and belongs into one function however many there are.
func (f *source) lines(fn ast.Node, test bool) int {
	span := func(n ast.Node) int { return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1 }
	total := span(fn)
	if !test {
		return total
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		lit, ok := n.(*ast.FuncLit)
		if !ok || n == fn {
			return true
		}
		if f.lines(lit, test) <= maxFuncLines {
			total -= max(span(lit)-2, 0)
		}
		return false
	})
	return total
}

func formatFindings(f *source) []string {
	if out, err := format.Source(f.text); err != nil || !bytes.Equal(out, f.text) {
		return []string{f.path + " is not formatted: make fmt"}
	}
	return nil
}

// docFindings asks for a package comment in every package: it says what the room is for.
func docFindings(files []*source) []string {
	documented := map[string]bool{}
	for _, f := range files {
		if f.isTest() {
			continue
		}
		want := "Package " + f.file.Name.Name + " "
		if f.isCommand() {
			want = "Command "
		}
		documented[f.dir()] = documented[f.dir()] || f.file.Doc != nil && strings.HasPrefix(f.file.Doc.Text(), want)
	}
	var found []string
	for dir, ok := range documented {
		if !ok {
			found = append(found, dir+": no package comment that begins with Package NAME, or Command NAME for a program")
		}
	}
	slices.Sort(found)
	return found
}

// leakFindings asks for goleak in every package that starts goroutines, itself or in its tests.
func leakFindings(files []*source) []string {
	starts, checked, tested := map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, f := range files {
		tested[f.dir()] = tested[f.dir()] || f.isTest()
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				starts[f.dir()] = f.at(n.Pos())
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "VerifyTestMain" && f.isTest() {
					checked[f.dir()] = true
				}
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
					starts[f.dir()] = f.at(n.Pos()) // sync.WaitGroup.Go
				}
			}
			return true
		})
	}
	var found []string
	for dir, at := range starts {
		program := strings.HasPrefix(dir, "examples/") || strings.HasPrefix(dir, "tools/")
		if !checked[dir] && (tested[dir] || !program) {
			found = append(found, fmt.Sprintf("%s starts a goroutine, but no TestMain of %s calls goleak.VerifyTestMain", at, dir))
		}
	}
	slices.Sort(found)
	return found
}

func linknameFindings(f *source) []string {
	var found []string
	for _, group := range f.file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname") {
				found = append(found, f.at(c.Pos())+": go:linkname ties the code to one version of the runtime")
			}
		}
	}
	return found
}

// bannedWords are marks of unfinished work and paths of one person's machine. They are put together here so that this file has none.
var bannedWords = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|(^|[\s"'(=:` + "`" + `])/(ro` + `ot|wo` + `rk|ho` + `me|Us` + `ers)/|\bissue ` + `#?\d`)

// textFiles are checked for bannedWords, by extension or by name.
var textFiles = []string{".go", ".md", ".sh", ".py", ".s", ".yaml", ".yml", ".mod", ".work", "Makefile", "run", ".gitignore"}

func TestNoBannedWords(t *testing.T) {
	err := walk(func(name string) error {
		if !slices.Contains(textFiles, path.Ext(name)) && !slices.Contains(textFiles, path.Base(name)) {
			return nil
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		for _, finding := range wordFindings(name, string(text)) {
			t.Error(finding)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wordFindings(name, text string) []string {
	var found []string
	for i, line := range strings.Split(text, "\n") {
		if w := bannedWords.FindString(line); w != "" {
			found = append(found, fmt.Sprintf("%s:%d: banned word %q", name, i+1, strings.TrimSpace(w)))
		}
	}
	return found
}

func TestTidyChecksCanFail(t *testing.T) {
	long := strings.Repeat("\n", maxFileLines)
	body := strings.Repeat("\t_ = 0\n", maxFuncLines)
	cases := []struct {
		name string
		look check
		path string
		text string
		want int
	}{
		{"a long file", sizeFindings, "a/a.go", "package a\n" + long, 1},
		{"a long function", sizeFindings, "a/a.go", "package a\n\nfunc f() {\n" + body + "}\n", 1},
		{"a table of short actions in a test", sizeFindings, "a/a_test.go", "package a\n\nfunc f() {\n\tg = func() {\n" + body[:len(body)/2] + "\t}\n\tg = func() {\n" + body[len(body)/2:] + "\t}\n}\n", 0},
		{"one long action in a test", sizeFindings, "a/a_test.go", "package a\n\nfunc f() {\n\tg = func() {\n" + body + "\t}\n}\n", 1},
		{"a generated long file", sizeFindings, "a/a.go", "// Code generated by gen. DO NOT EDIT.\n\npackage a\n" + long, 0},
		{"an unformatted file", formatFindings, "a/a.go", "package a\nvar  x int\n", 1},
		{"a formatted file", formatFindings, "a/a.go", "package a\n\nvar x int\n", 0},
		{"linkname", linknameFindings, "a/a.go", "package a\n\n//go:linkname nanotime runtime.nanotime\nfunc nanotime() int64\n", 1},
		{"a marked panic", panicFindings, "a/a.go", "package a\n\nfunc f(n string) { panic(\"BUG: \" + n) }\n", 0},
		{"an unmarked panic", panicFindings, "a/a.go", "package a\n\nfunc f() { panic(\"oops\") }\n", 1},
		{"panic of an error", panicFindings, "a/a.go", "package a\n\nfunc f(err error) { panic(err) }\n", 1},
		{"panic in a test", panicFindings, "a/a_test.go", "package a\n\nfunc f(err error) { panic(err) }\n", 0},
	}
	for _, c := range cases {
		if got := c.look(example(t, c.path, c.text)); len(got) != c.want {
			t.Errorf("%s: %d findings %q, want %d", c.name, len(got), got, c.want)
		}
	}
}

func TestPackageChecksCanFail(t *testing.T) {
	goroutine := "package a\n\nfunc f() { go f() }\n"
	leakTest := "package a\n\nimport \"go.uber.org/goleak\"\n\nfunc TestMain(m *testing.M) { goleak.VerifyTestMain(m) }\n"
	if got := leakFindings([]*source{example(t, "a/a.go", goroutine)}); len(got) != 1 {
		t.Errorf("a goroutine without goleak: %q", got)
	}
	if got := leakFindings([]*source{example(t, "a/a.go", "package a\n\nfunc f() { wg.Go(f) }\n")}); len(got) != 1 {
		t.Errorf("a WaitGroup's goroutine without goleak: %q", got)
	}
	if got := leakFindings([]*source{example(t, "a/a.go", goroutine), example(t, "a/a_test.go", leakTest)}); len(got) != 0 {
		t.Errorf("a goroutine with goleak: %q", got)
	}
	if got := docFindings([]*source{example(t, "a/a.go", "package a\n"), example(t, "b/b.go", "// Some words.\npackage b\n")}); len(got) != 2 {
		t.Errorf("packages without a comment: %q", got)
	}
	if got := docFindings([]*source{example(t, "a/a.go", "package a\n"), example(t, "a/doc.go", "// Package a is one.\npackage a\n")}); len(got) != 0 {
		t.Errorf("a package with a comment: %q", got)
	}
	bad := "a TO" + "DO here\ncp /ro" + "ot/x y\nsee issue " + "#12\nfine\n"
	if got := wordFindings("a.md", bad); len(got) != 3 {
		t.Errorf("banned words: %q", got)
	}
}
