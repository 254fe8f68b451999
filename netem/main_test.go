package netem

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProxy) != "" {
		os.Exit(proxyProcess())
	}
	dir, err := os.MkdirTemp("", "netem")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The development identity of the tests' servers.
	os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}
