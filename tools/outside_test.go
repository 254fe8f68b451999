package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A block is one fenced block of a Markdown page.
type block struct{ language, text string }

// blocks returns the fenced blocks below the given heading, up to the next heading of the same level.
func blocks(page, heading string) []block {
	_, section, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		return nil
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var found []block
	for {
		_, after, ok := strings.Cut(section, "\n```")
		if !ok {
			return found
		}
		language, rest, _ := strings.Cut(after, "\n")
		text, rest, _ := strings.Cut(rest, "\n```")
		found = append(found, block{language, text + "\n"})
		section = rest
	}
}

// goBlocks returns the Go blocks of a page.
func goBlocks(page string) (found []string) {
	for {
		_, after, ok := strings.Cut(page, "\n```go\n")
		if !ok {
			return found
		}
		text, rest, _ := strings.Cut(after, "\n```")
		found, page = append(found, text+"\n"), "\n"+rest
	}
}

// packageNames are what the Go blocks of the guide use without importing it.
var packageNames = map[string]string{
	"binary": "encoding/binary", "bytes": "bytes", "context": "context", "errors": "errors", "fmt": "fmt", "io": "io", "log": "log", "net": "net", "os": "os", "slog": "log/slog",
	"rand": "math/rand/v2", "sync": "sync", "testing": "testing", "time": "time", "tls": "crypto/tls", "x509": "crypto/x509", "http": "net/http",
	"godwit": "godwit.example/godwit", "godwittest": "godwit.example/godwit/godwittest",
}

// complete makes a source file of a block of declarations, or leaves it alone if it is one.
func complete(block, name string) string {
	if strings.HasPrefix(block, "package ") {
		return block
	}
	var imports []string
	for used, path := range packageNames {
		if regexp.MustCompile(`\b` + used + `\.[A-Z]`).MatchString(block) {
			imports = append(imports, strconv.Quote(path))
		}
	}
	slices.Sort(imports)
	return "package " + name + "\n\nimport (\n" + strings.Join(imports, "\n") + "\n)\n\n" + block
}

// TestGuideWorksOutside compiles each Go block of the documentation as a package of a module outside this repository, and runs those that
// are tests.
func TestGuideWorksOutside(t *testing.T) {
	clone := copyRepository(t, "godwit")
	module := filepath.Join(filepath.Dir(clone), "guide")
	pages, err := filepath.Glob(filepath.Join(clone, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range goBlocks(string(text)) {
			name := fmt.Sprintf("%s%d", strings.ToLower(strings.TrimSuffix(filepath.Base(page), ".md")), i+1)
			dir, file := filepath.Join(module, name), "block.go"
			if strings.Contains(b, "testing.T)") {
				file = "block_test.go"
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(complete(b, name)), 0o644); err != nil {
				t.Fatal(err)
			}
			count++
		}
	}
	if count < 9 {
		t.Fatalf("only %d Go blocks found in %d pages", count, len(pages))
	}
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	run(t, module, "go", "mod", "init", "example.com/guide")
	run(t, module, "go", "mod", "edit", "-require=godwit.example/godwit@v0.0.0", "-replace=godwit.example/godwit=../godwit")
	run(t, module, "go", "mod", "tidy")
	run(t, module, "go", "vet", "./...")
	out := run(t, module, "go", "test", "-v", "./...")
	if n := strings.Count(out, "--- PASS: "); n < 2 {
		t.Errorf("%d tests of the guide ran, want at least 2:\n%s", n, out)
	}
}

func TestGoBlocksOfAPage(t *testing.T) {
	got := goBlocks("# x\n```go\na\n```\n\n```sh\nb\n```\n```go\nc\nd\n```\n")
	if len(got) != 2 || got[0] != "a\n" || got[1] != "c\nd\n" {
		t.Errorf("%q", got)
	}
	if got := complete("func f(c godwit.Conn) { fmt.Println(c) }\n", "x1"); got !=
		"package x1\n\nimport (\n\"fmt\"\n\"godwit.example/godwit\"\n)\n\nfunc f(c godwit.Conn) { fmt.Println(c) }\n" {
		t.Errorf("%q", got)
	}
}

// TestReadmeWorksOutside does what the README says a user of the library does: a module of its own beside a clone, the program pasted,
// the commands typed. What the program prints is what the README says it prints.
func TestReadmeWorksOutside(t *testing.T) {
	clone := copyRepository(t, "godwit")
	page, err := os.ReadFile(filepath.Join(clone, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts := blocks(string(page), "## Use the library")
	var languages []string
	for _, b := range parts {
		languages = append(languages, b.language)
	}
	if got, want := strings.Join(languages, " "), "sh go sh text"; got != want {
		t.Fatalf("the section has the blocks %q, want %q: commands, program, commands, output", got, want)
	}
	beside := filepath.Dir(clone)
	run(t, beside, "bash", "-euo", "pipefail", "-c", parts[0].text)
	module := filepath.Join(beside, "hello")
	if err := os.WriteFile(filepath.Join(module, "main.go"), []byte(parts[1].text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "")
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the development identity of the example
	got := run(t, module, "bash", "-euo", "pipefail", "-c", parts[2].text)
	if !strings.HasSuffix(got, parts[3].text) { // go mod tidy may have said something before
		t.Errorf("it printed\n%s\nand the README says\n%s", got, parts[3].text)
	}
}

func TestBlocksOfAPage(t *testing.T) {
	page := "# x\n\n## A\n\n```sh\na\n```\n\n## B\n\ntext\n\n```go\nb\nc\n```\n\n```\nd\n```\n\n## C\n\n```sh\ne\n```\n"
	got := blocks(page, "## B")
	if len(got) != 2 || got[0] != (block{"go", "b\nc\n"}) || got[1] != (block{"", "d\n"}) {
		t.Errorf("%q", got)
	}
}
