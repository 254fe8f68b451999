package godwit_test

import (
	"testing"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/wire"
)

func TestCloseErrorNamesItsCode(t *testing.T) {
	for want, err := range map[string]godwit.CloseError{
		"godwit: connection closed by the peer, transport code 0x6707 SHUTDOWN":              {Code: uint64(wire.Shutdown), Remote: true, Transport: true},
		"godwit: connection closed, transport code 0x1 INTERNAL_ERROR: too bad":              {Code: 1, Transport: true, Reason: "too bad"},
		"godwit: connection closed by the peer, code 0x6707: an application's number":        {Code: 0x6707, Remote: true, Reason: "an application's number"},
		"godwit: connection closed, transport code 0x100000000: the peer knows it no longer": {Code: 1 << 32, Transport: true, Reason: "the peer knows it no longer"},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
