package tools

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRenamedModuleBuilds(t *testing.T) {
	dir := copyRepository(t, "renamed")
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(mod), "\n")
	old := strings.TrimPrefix(first, "module ")

	run(t, dir, "tools/rename-module.sh", "example.org/birds/limosa")
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(old)) {
			t.Errorf("%s still names %s", path, old)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "build", "./...", "./gateway/...")
}

func TestRenameRefusesNonsense(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"godwit"}, {"two words/x"}, {"nodot/x"}, {"a.b/c|d"}, {"a.b/c", "d.e/f"}} {
		cmd := exec.Command("./rename-module.sh", args...)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "usage:") {
			t.Errorf("rename-module.sh %q: %v, %s", args, err, out)
		}
	}
}
