package protect

import (
	"testing"
	"unsafe"

	"godwit.example/godwit/internal/wire"
)

// What Sealing returns is where the ciphers lie, or the prefetch is in vain.
func TestSealingLeadsToTheCiphers(t *testing.T) {
	k := NewKeys()
	if aead, header := k.Sealing(); aead != nil || header != nil {
		t.Error("there are ciphers without keys")
	}
	s := wire.Secret{Suite: wire.SuiteAES128GCMSHA256, Len: 32}
	k.Install(wire.LevelOneRTT, true, s, 0)
	k.app.write.build()
	aead, header := k.Sealing()
	value := k.app.write.header
	if aead == nil || header == nil || aead == header || header != (*[2]unsafe.Pointer)(unsafe.Pointer(&value))[1] {
		t.Errorf("the ciphers lie at %p and %p", aead, header)
	}
}
