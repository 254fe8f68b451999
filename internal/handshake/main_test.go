package handshake

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks that every session's goroutine inside crypto/tls has ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
