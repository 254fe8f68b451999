//go:build !godwitdebug

package shard

import (
	"testing"

	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// In builds tagged godwitdebug a fault of this code ends the process.

func TestFaultCostsOneConnection(t *testing.T) {
	faults := 0
	w := newWorld(t, 1, func(c *Config) { c.Fault = func(*Shard, any, []byte) { faults++ } })
	w.server.shared.Pool = mem.NewPool(func(int) []byte { panic("whoever needs a block") }, 0)
	good, bad := w.connect(), w.connect()
	w.send(w.client, bad, string(make([]byte, 10_000)))
	w.run(mono.Second)
	if faults != 1 || w.server.counters.Faults != 1 || len(w.sapp.closed) != 1 {
		t.Fatalf("%d faults reported, %d counted, %d closed", faults, w.server.counters.Faults, len(w.sapp.closed))
	}
	w.send(w.client, good, "still there?")
	w.run(mono.Second)
	if w.sapp.messages != 1 {
		t.Error("the other connection did not survive")
	}
	if c := w.capp.closed; len(c) != 1 || c[0].Code != proto.CodeStatelessReset {
		t.Errorf("the client saw %+v", c)
	}
	w.over()
}

func TestPanickingSessionFailsItsHandshake(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) {
		c.NewSession = func([]byte) Session { panic("no session") }
	})
	d := w.dial(w.client)
	w.run(mono.Second)
	if d.done != 1 || d.end == nil || d.end.Code != uint64(wire.CryptoAlert(alertInternal)) {
		t.Errorf("done %d, %+v", d.done, d.end)
	}
	w.over()
}
