package godwit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A source is one Go file of the repository, of any module and under any build tag.
type source struct {
	path string // slash-separated, relative to the root
	text []byte
	fset *token.FileSet
	file *ast.File
}

// repository parses every Go file once for all policy tests.
func repository(t *testing.T) []*source {
	t.Helper()
	files, err := parseRepository()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var parseRepository = sync.OnceValues(func() ([]*source, error) {
	var files []*source
	err := walk(func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		f, err := parse(name, string(text))
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
})

// walk visits the files of the repository, those of git, of build output and of test data left out.
func walk(visit func(name string) error) error {
	return filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "bin", ".cache", "testdata", "node_modules", "__pycache__":
				return filepath.SkipDir
			}
			return nil
		}
		return visit(filepath.ToSlash(name))
	})
}

func parse(name, text string) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &source{path: name, text: []byte(text), fset: fset, file: file}, nil
}

// example parses a made-up file, for the tests that prove that a check can fail.
func example(t *testing.T, name, text string) *source {
	t.Helper()
	f, err := parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *source) dir() string     { return path.Dir(f.path) }
func (f *source) isTest() bool    { return strings.HasSuffix(f.path, "_test.go") }
func (f *source) isCommand() bool { return f.file.Name.Name == "main" }

// in tells whether the file lies in one of the directories, given as paths relative to the root; "." means the root package alone.
func (f *source) in(dirs ...string) bool {
	for _, dir := range dirs {
		if f.dir() == dir || dir != "." && strings.HasPrefix(f.path, dir+"/") {
			return true
		}
	}
	return false
}

func (f *source) at(pos token.Pos) string {
	p := f.fset.Position(pos)
	return f.path + ":" + strconv.Itoa(p.Line)
}

// rootModule is the module path, read from go.mod so that the tests hold after a rename.
var rootModule = sync.OnceValue(func() string {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		panic("BUG: the policy tests run in the root directory: " + err.Error())
	}
	first, _, _ := strings.Cut(string(mod), "\n")
	return strings.TrimSpace(strings.TrimPrefix(first, "module "))
})

// arrows lists what the file imports.
func (f *source) arrows() []arrow {
	var arrows []arrow
	for _, spec := range f.file.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it
		}
		if to == rootModule() {
			to = "./."
		} else if rest, ok := strings.CutPrefix(to, rootModule()+"/"); ok {
			to = "./" + rest
		}
		arrows = append(arrows, arrow{file: f.path, from: f.dir(), to: to, test: f.isTest()})
	}
	return arrows
}
