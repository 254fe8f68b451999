package godwit

import (
	"errors"
	"testing"

	"godwit.example/godwit/internal/wire"
)

func TestClientsBeyondTheAuthorizationsUnderWayAreCounted(t *testing.T) {
	e := &Endpoint{limits: &limits{}, engine: &engine{}}
	e.authorizing.Store(maxAuthorizing)
	if err := e.authorize(&wire.HandshakeOutput{}, wire.Addr{}); !errors.Is(err, errAuthorizing) {
		t.Error(err)
	}
	if n := e.Stats().AuthorizeRefused; n != 1 || e.authorizing.Load() != maxAuthorizing {
		t.Errorf("%d counted, %d under way", n, e.authorizing.Load())
	}
}
