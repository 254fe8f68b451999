package godwit_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// maxExampleLines bounds a whole example, its tests apart: what a newcomer reads in one sitting, and what the API has to be good enough for.
const maxExampleLines = 120

// examples are the applications that the README promises.
var examples = []string{"chat", "echo", "file", "game", "http", "market", "reqreply"}

func TestExamplesAreTidy(t *testing.T) {
	for _, finding := range exampleFindings(repository(t), examples) {
		t.Error(finding)
	}
}

// exampleFindings asks for each of the examples, for no other, and bounds their lines.
func exampleFindings(files []*source, names []string) []string {
	lines := make(map[string]int)
	for _, f := range files {
		if rest, ok := strings.CutPrefix(f.dir(), "examples/"); ok && !f.isTest() {
			name, _, _ := strings.Cut(rest, "/")
			lines[name] += bytes.Count(f.text, []byte("\n"))
		}
	}
	var found []string
	for _, name := range names {
		if lines[name] == 0 {
			found = append(found, "there is no examples/"+name)
		}
	}
	for name, n := range lines {
		if !slices.Contains(names, name) {
			found = append(found, "examples/"+name+" is not on the list")
		}
		if n > maxExampleLines {
			found = append(found, fmt.Sprintf("examples/%s has %d lines, more than %d", name, n, maxExampleLines))
		}
	}
	slices.Sort(found)
	return found
}

func TestExampleTidyChecksCanFail(t *testing.T) {
	half := "package main\n" + strings.Repeat("\n", maxExampleLines/2-1)
	files := []*source{
		example(t, "examples/echo/main.go", half), example(t, "examples/echo/more.go", half), example(t, "examples/echo/main_test.go", half),
		example(t, "examples/examples_test.go", half), example(t, "load/load.go", half+half[len("package main\n"):]),
	}
	if got := exampleFindings(files, []string{"echo"}); len(got) != 0 {
		t.Errorf("an example of just so many lines: %q", got)
	}
	files = append(files, example(t, "examples/echo/sub/one.go", "package sub\n"))
	if got := exampleFindings(files, []string{"echo"}); len(got) != 1 {
		t.Errorf("an example of a line too many: %q", got)
	}
	if got := exampleFindings(files[:1], []string{"chat"}); len(got) != 2 {
		t.Errorf("an example that is missing and one too many: %q", got)
	}
}
