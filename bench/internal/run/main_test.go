package run

import (
	"testing"

	"go.uber.org/goleak"
)

// kcp-go starts its timers' goroutines when it is imported, and never ends them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }
