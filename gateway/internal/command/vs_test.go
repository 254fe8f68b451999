package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVsNeedsTheComparison(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := benchVs(t.Context(), "tcp", nil, nil); err == nil || !strings.Contains(err.Error(), "make bin/godwit-bench") {
		t.Error(err)
	}
}

func TestVsRunsTheComparison(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, comparison), []byte("#!/bin/sh\necho \"$@\"\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for peers, want := range map[string]string{"all": "-quick\n", "tcp,tls": "-quick -peers godwit,tcp,tls\n"} {
		var out strings.Builder
		if err := benchVs(t.Context(), peers, &out, &out); err != nil || out.String() != want {
			t.Errorf("--vs %s: %q, %v", peers, &out, err)
		}
	}
}
