package protect

import (
	"testing"

	"pgregory.net/rapid"

	"godwit.example/godwit/internal/wire"
)

// flight is a packet under way, with the phase it was sealed in and what its
// sender had received by then.
type flight struct {
	pkt    []byte
	number uint64
	phase  uint32
	ack    int64
}

// modelEnd is one end of a connection under random updates.
type modelEnd struct {
	keys  *Keys
	next  uint64
	acked int64 // largest of its packets that it knows to be received
	out   []flight
}

func (e *modelEnd) send(s *Scratch) {
	f := flight{number: e.next, phase: e.keys.updates, ack: e.keys.Largest(wire.LevelOneRTT)}
	f.pkt = sealed(s, e.keys, e.next, "some payload")
	e.next++
	e.out = append(e.out, f)
}

// TestHonestEndsSurviveUpdatesUnderLossAndReordering lets both ends update as
// often as the rules permit, on a path that loses and reorders. A packet opens
// unless the keys of its phase are gone, and is never taken for an error.
func TestHonestEndsSurviveUpdatesUnderLossAndReordering(t *testing.T) {
	updates := uint32(0)
	rapid.Check(t, func(t *rapid.T) {
		s := new(Scratch)
		client, server := pair(suiteChaCha20)
		ends := [2]*modelEnd{{keys: client, acked: -1}, {keys: server, acked: -1}}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "end")
			from, to := ends[i], ends[1-i]
			switch rapid.SampledFrom([]string{"send", "send", "deliver", "deliver", "deliver", "lose", "update", "drop", "evict"}).Draw(t, "step") {
			case "send":
				from.send(s)
			case "deliver", "lose":
				if len(from.out) == 0 {
					continue
				}
				n := rapid.IntRange(0, min(len(from.out)-1, 5)).Draw(t, "which")
				f := from.out[n]
				from.out = append(from.out[:n:n], from.out[n+1:]...)
				if rapid.IntRange(0, 9).Draw(t, "lost") > 0 {
					deliverModel(t, s, to, &f)
				}
			case "update":
				if start, ok := from.keys.PhaseStart(); ok && from.acked >= int64(start) {
					from.keys.Update()
				}
			case "drop":
				from.keys.DropPrevious()
			case "evict":
				from.keys.Evict()
			}
			for _, e := range ends {
				updates = max(updates, e.keys.updates)
			}
		}
		// In the end both ends still understand each other.
		for range 2 {
			for i, e := range ends {
				e.send(s)
				deliverModel(t, s, ends[1-i], &e.out[len(e.out)-1])
			}
		}
	})
	if updates < 3 {
		t.Errorf("no run had more than %d updates", updates)
	}
}

func deliverModel(t *rapid.T, s *Scratch, to *modelEnd, f *flight) {
	k := to.keys
	want := OpenOK
	if k.updates > f.phase+1 || k.updates == f.phase+1 && k.before == nil {
		want = OpenFailed
	}
	var out wire.Packet
	if got := s.Open(k, f.pkt, 1+len(testID), wire.LevelOneRTT, &out); got != want {
		t.Fatalf("packet %d of phase %d: %v, want %v; receiver in phase %d", f.number, f.phase, got, want, k.updates)
	}
	if want == OpenOK {
		if out.Number != f.number {
			t.Fatalf("packet %d came out as %d", f.number, out.Number)
		}
		to.acked = max(to.acked, f.ack)
	}
}
