package godwit_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/api from the code")

// publicPackages are those that applications import; docs/api has the surface of each.
var publicPackages = map[string]string{".": "godwit", "./load": "load", "./godwittest": "godwittest", "./netem": "netem"}

// TestPublicSurfaceIsThatOfDocsAPI makes a change of the public face visible: as a diff of docs/api in the same commit.
func TestPublicSurfaceIsThatOfDocsAPI(t *testing.T) {
	for dir, name := range publicPackages {
		out, err := exec.CommandContext(t.Context(), "go", "doc", "-all", dir).Output()
		if err != nil {
			t.Fatalf("go doc -all %s: %v", dir, err)
		}
		file := filepath.Join("docs", "api", name+".txt")
		if *update {
			if err := os.WriteFile(file, out, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, want) {
			t.Errorf("the public surface of %s is not that of %s, from line %s on. If the change is meant, run\n\tgo test -run TestPublicSurface . -update\nand say in CHANGELOG.md what it means for users",
				name, file, firstDifference(string(out), string(want)))
		}
	}
}

// firstDifference shows the first line that differs.
func firstDifference(got, want string) string {
	for want != "" {
		g, gotRest, _ := strings.Cut(got, "\n")
		w, wantRest, _ := strings.Cut(want, "\n")
		if g != w {
			return "\n\t- " + w + "\n\t+ " + g
		}
		got, want = gotRest, wantRest
	}
	return "\n\t+ " + got
}

func TestFirstDifference(t *testing.T) {
	if got := firstDifference("a\nb\nc\n", "a\nx\nc\n"); got != "\n\t- x\n\t+ b" {
		t.Errorf("%q", got)
	}
}
