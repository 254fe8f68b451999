//go:build godwitdebug

package proto

import (
	"strings"
	"testing"

	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// rareStories are what random histories are too short for.
var rareStories = []func(t *testing.T){
	func(t *testing.T) { // a Retry is followed
		p := newPair(t, 1, nil)
		p.client.flush()
		src, _ := wire.MakeConnID([]byte("another-one!"))
		p.client.c.HandleRetry(p.now, src, []byte("token"))
	},
	func(t *testing.T) { // the oldest message is lost, again and again, until IDs run out
		p, s := hostile(t, 2, nil)
		p.link.drop = func(from *side, d *datagram) bool {
			return from == s && strings.Contains(describe(d.packets[0].Payload), "(1:0+")
		}
		for range unorderedWindow + 1 {
			s.say(1, "")
			s.flush()
			p.run(mono.Millisecond)
		}
		p.link.drop = nil
		p.run(mono.Second)
	},
	func(t *testing.T) { // unreliable messages that nobody takes
		p, s := hostile(t, 5, nil)
		p.link.blackout = true
		for i := range 2000 {
			s.say(4, text(i, 1000))
		}
	},
	func(t *testing.T) { // a message is sent in fragments, then whole: packets have become larger
		_, s := hostile(t, 6, nil)
		s.attack(fragmentFrame(1, 0, 0, 9, "abc"))
		s.attack(messageFrame(1, 0, "abcdefghi"))
	},
	func(t *testing.T) { // more gaps than ranges are kept, and no ACK gets through
		p, s := hostile(t, 3, nil)
		p.link.drop = func(from *side, _ *datagram) bool { return from == s }
		for range 2 * maxReceivedRanges {
			s.peer.c.app.push(sentPacket{state: packetSkipped})
			s.attack(ping)
		}
	},
	func(t *testing.T) { // ACKs that nobody acknowledges
		p, s := hostile(t, 4, nil)
		p.link.drop = func(from *side, _ *datagram) bool { return from == s }
		for range maxSilent + 2000 {
			s.attack(immediateAck)
			s.flush()
		}
	},
	TestSendTrainQueuesWhatFindsNoPacket,
	TestRecoveryLeavesABlackHoleWhenSmallerPacketsPass,
	TestRecoveryCollapsesOnPersistentCongestionOnly,
	TestRecoveryClientBreaksADeadlock,
	TestRecoveryPingsInARunOfACKs,
	TestReturningHomeNeedsNoProof,
	TestAStreamArrivesWholeOverABadLink,
	TestPiecesOfAStreamMayOverlap,
	TestASlowReaderStallsItsStreamOnly,
	TestStreamsHaveAShareOfABusyConnection,
}

// TestHistoriesReachEveryRarePath proves, in builds that count them, that the paths that traffic rarely takes are taken here.
func TestHistoriesReachEveryRarePath(t *testing.T) {
	before := make([]uint64, len(mark.Names))
	for id := range before {
		before[id] = mark.Count(mark.ID(id))
	}
	for seed := range uint64(100) {
		w := newWorld(t, randomHistory(seed, 900))
		w.play()
		w.heal()
	}
	histories := make([]uint64, len(mark.Names))
	for id := range histories {
		histories[id] = mark.Count(mark.ID(id)) - before[id]
	}
	for _, story := range rareStories {
		story(t)
	}
	for id, name := range mark.Names {
		if n := mark.Count(mark.ID(id)) - before[id]; strings.HasPrefix(name, "proto: ") {
			t.Logf("%6d in histories, %6d in all: %s", histories[id], n, name)
			if n == 0 {
				t.Errorf("%s: never", name)
			}
		}
	}
}
