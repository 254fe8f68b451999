package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMistakesAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"-workloads W1,W77":         `no workload "W77"`,
		"-peers godwit,carrier":     `no peer "carrier"; there are godwit,`,
		"-runs 1 something":         `"something"`,
		"serve carrier echo":        `no peer "carrier"`,
		"serve tcp nothing":         `no application "nothing"`,
		"serve tcp echo somewhere":  `"somewhere"`,
		"-peers gamenetworking -h2": "-h2",
	} {
		err := start(t.Context(), strings.Fields(args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
