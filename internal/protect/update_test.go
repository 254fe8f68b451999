package protect

import (
	"bytes"
	"fmt"
	"testing"

	"godwit.example/godwit/internal/wire"
)

// exchange lets both ends send each other one packet.
func exchange(t *testing.T, s *Scratch, client, server *Keys, number uint64) {
	t.Helper()
	mustOpen(t, s, server, sealed(s, client, number, "upward"), "upward")
	mustOpen(t, s, client, sealed(s, server, number, "downward"), "downward")
}

func TestPeerFollowsAKeyUpdate(t *testing.T) {
	for _, suite := range suites[:3] {
		t.Run(suite.name, func(t *testing.T) {
			s := new(Scratch)
			client, server := pair(suite.id)
			exchange(t, s, client, server, 0)
			for round := range uint64(5) {
				n := 1 + 10*round
				late := sealed(s, client, n, "late")
				if !client.Update() {
					t.Fatal("update refused")
				}
				if _, ok := client.PhaseStart(); ok {
					t.Error("the phase has a first packet before one is sealed")
				}
				out := mustOpen(t, s, server, sealed(s, client, n+1, "new phase"), "new phase")
				if out.KeyPhase != uint8(round+1)&1 || server.Phase() != client.Phase() {
					t.Errorf("key phase %d", out.KeyPhase)
				}
				if start, ok := client.PhaseStart(); !ok || start != n+1 {
					t.Errorf("phase start %d", start)
				}
				mustOpen(t, s, server, late, "late") // the previous keys are still there
				exchange(t, s, client, server, n+2)
				if !client.HasPrevious() || !server.HasPrevious() {
					t.Error("previous keys are gone too early")
				}
				client.DropPrevious()
				server.DropPrevious()
				if client.before != nil || server.before != nil {
					t.Error("previous keys stay")
				}
			}
			if st := server.Stats(); st.Failed != 0 || st.Updates != 5 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestBothEndsMayUpdateAtOnce(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	exchange(t, s, client, server, 0)
	if !client.Update() || !server.Update() {
		t.Fatal("update refused")
	}
	exchange(t, s, client, server, 1)
	if client.Phase() != 1 || server.Phase() != 1 || client.Stats().Updates != 1 {
		t.Error("one update became two")
	}
}

func TestUpdateWaitsForThePeer(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	if client.Update() {
		t.Error("update before anything was sent")
	}
	sealed(s, client, 0, "upward")
	if client.Update() {
		t.Error("update before anything was received")
	}
	exchange(t, s, client, server, 1)
	if !client.Update() {
		t.Fatal("update refused")
	}
	client.DropPrevious()
	if client.before == nil {
		t.Fatal("the keys of the peer's packets were dropped")
	}
	sealed(s, client, 2, "new phase, lost")
	mustOpen(t, s, client, sealed(s, server, 2, "old phase"), "old phase")
	if client.Update() {
		t.Error("second update before the peer has followed")
	}
}

func TestOldKeysAreUselessOnceDropped(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	exchange(t, s, client, server, 0)
	late := sealed(s, client, 1, "late")
	client.Update()
	mustOpen(t, s, server, sealed(s, client, 2, "new phase"), "new phase")
	server.DropPrevious()
	refuse(t, s, server, late, OpenFailed)
}

// TestPhasesOutOfOrderAreAnError has peers whose numbers and phases do not rise
// together.
func TestPhasesOutOfOrderAreAnError(t *testing.T) {
	t.Run("a new phase below a number of the old one", func(t *testing.T) {
		s := new(Scratch)
		client, server := pair(suiteAES128)
		exchange(t, s, client, server, 0)
		twin, _ := pair(suiteAES128) // the same keys, used wrongly
		twin.phaseSent, twin.phaseRead = 1, 1
		twin.Update()
		bad := sealed(s, twin, 5, "new phase")
		mustOpen(t, s, server, sealed(s, client, 9, "old phase"), "old phase")
		refuse(t, s, server, bad, OpenKeyUpdate)
	})
	t.Run("the current phase below a number of the old one", func(t *testing.T) {
		s := new(Scratch)
		client, server := pair(suiteAES128)
		exchange(t, s, client, server, 0)
		server.Update() // the client's packets may still be of the old phase
		old := sealed(s, client, 9, "old phase")
		client.Update()
		twin, _ := pair(suiteAES128)
		twin.phaseSent, twin.phaseRead = 1, 1
		twin.Update()
		mustOpen(t, s, server, old, "old phase")
		refuse(t, s, server, sealed(s, twin, 5, "new phase"), OpenKeyUpdate)
	})
	t.Run("a storm of updates", func(t *testing.T) {
		s := new(Scratch)
		client, server := pair(suiteAES128)
		exchange(t, s, client, server, 0)
		client.Update()
		mustOpen(t, s, server, sealed(s, client, 1, "one"), "one")
		client.phaseRead = 1 // pretend that the server has followed
		client.Update()
		refuse(t, s, server, sealed(s, client, 2, "two"), OpenKeyUpdate)
	})
}

func TestForgedKeyPhaseCostsOneDerivation(t *testing.T) {
	s := new(Scratch)
	client, server := pair(suiteAES128)
	exchange(t, s, client, server, 0)
	for n := range uint64(100) {
		pkt := sealed(s, client, n+1, "payload")
		pkt[len(pkt)-1] ^= 1
		var out wire.Packet
		s.Open(server, pkt, 13, wire.LevelOneRTT, &out)
		flipped := bytes.Clone(pkt)
		flipped[0] ^= wire.KeyPhaseBit
		s.Open(server, flipped, 13, wire.LevelOneRTT, &out)
	}
	st := server.Stats()
	if st.Failed != 200 || st.NextTries < 10 || st.Updates != 0 {
		t.Errorf("stats %+v", st)
	}
	ahead := server.ahead
	mustOpen(t, s, server, sealed(s, client, 200, "still fine"), "still fine")
	client.Update()
	mustOpen(t, s, server, sealed(s, client, 201, "updated"), "updated")
	if ahead == nil || server.ahead != nil || server.Phase() != 1 {
		t.Error("the keys prepared for the next phase were not taken")
	}
}

func TestLimitsOfTheAEADs(t *testing.T) {
	for _, c := range []struct {
		suite                uint16
		sent, forged         uint64
		wantsUpdate, exhaust bool
	}{
		{suiteAES128, 1<<22 - 1, 0, false, false},
		{suiteAES128, 1 << 22, 0, true, false},
		{suiteAES256, 1<<23 - 1<<12, 0, true, true},
		{suiteAES128, 0, 1 << 36, false, false},
		{suiteAES128, 0, 1 << 52, false, true},
		{suiteChaCha20, 1 << 30, 0, true, false},
		{suiteChaCha20, 0, 1 << 36, false, true},
		{wire.SuitePlain, 1 << 40, 1 << 60, false, false},
	} {
		t.Run(fmt.Sprintf("%x sent %d forged %d", c.suite, c.sent, c.forged), func(t *testing.T) {
			k, _ := pair(c.suite)
			k.phaseSent, k.forged = c.sent, c.forged
			if k.WantsUpdate() != c.wantsUpdate || k.Exhausted() != c.exhaust {
				t.Errorf("wants update %v, exhausted %v", k.WantsUpdate(), k.Exhausted())
			}
		})
	}
	k, _ := pair(wire.SuitePlain)
	k.app.next = numberLimit
	if !k.Exhausted() || k.Update() {
		t.Error("packet numbers run out in plain mode too, and there is nothing to update")
	}
}
