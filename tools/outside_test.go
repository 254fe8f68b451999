package tools

import (
	"os"
	"path/filepath"
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
