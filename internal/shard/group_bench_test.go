//go:build unix

package shard

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
)

// BenchmarkGroupSend compares a message to a group of 1,000 with 1,000 messages: CPU time of the shard's thread a member, medians of all rounds.
//
// queue-ns is what the senders' calls cost, and the shard's taking of their items from the mailbox. whole-ns is everything until the packets are
// with the socket. before-ns is everything before packets are built: for single messages, which are found and queued at once, it is queue-ns.
// A group's members take their message when they have their turns to send, between packets; there before-ns is whole-ns less what
// the same packets cost when each member had taken its message beforehand. That run has the same turns and fetches the same memory ahead, so
// fetching counts as building; going about the members, finding and charging each, its queue, and waiting for memory that building would not
// have waited for count as before. Before each of the three measurements other memory passes through the caches.
//
// before-ratio is the mean of the ratios of ten successive parts of the rounds; before-ratio-error is twice its standard error.
func BenchmarkGroupSend(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := newWorld(b, 1, nil)
	r := groupRounds{b: b, w: w, s: w.server, g: NewGroup([]*Shard{w.server})}
	r.m = Outbound{Payload: make([]byte, 64), Reliable: true}
	for range groupMembers {
		w.connect()
	}
	w.run(mono.Second)
	for _, ref := range w.sapp.opened {
		r.g.Add(ref)
	}
	var rounds []groupRound
	for range 5 {
		r.round()
	}
	for b.Loop() {
		rounds = append(rounds, r.round())
	}
	single := median(rounds, func(r *groupRound) time.Duration { return r.single.whole })
	group := median(rounds, func(r *groupRound) time.Duration { return r.group.whole })
	b.ReportMetric(median(rounds, queueOfSingles), "single-queue-ns")
	b.ReportMetric(median(rounds, func(r *groupRound) time.Duration { return r.group.queue }), "group-queue-ns")
	b.ReportMetric(single, "single-whole-ns")
	b.ReportMetric(group, "group-whole-ns")
	b.ReportMetric(group/single, "whole-ratio")
	b.ReportMetric(median(rounds, beforeOfGroup), "group-before-ns")
	mean, off := ratios(rounds)
	b.ReportMetric(mean, "before-ratio")
	b.ReportMetric(off, "before-ratio-error")
}

const groupMembers = 1000

// groupRounds measures; the group's connections are all of the server's.
type groupRounds struct {
	b *testing.B
	w *world
	s *Shard
	g *Group
	m Outbound

	others [4 << 20]byte
}

type groupRound struct {
	single, group groupCost
	built         time.Duration // the group's packets alone
}

// groupCost is what 1,000 messages took.
type groupCost struct{ queue, whole time.Duration }

// round measures single messages, a group's, and a group's whose members have taken it.
func (r *groupRounds) round() (c groupRound) {
	r.settled(func() { c.single = r.cost(r.sendSingles) })
	r.settled(func() { c.group = r.cost(r.sendGroup) })
	r.settled(func() {
		r.sendGroup()
		members := r.s.backlog.first
		for _, m := range members.list {
			r.s.handOut(r.w.now, m.slot, r.s.at(m.slot))
		}
		r.passMemory()
		start := threadTime()
		r.turns(members)
		c.built = threadTime() - start
		r.step()
	})
	return c
}

func (r *groupRounds) cost(send func()) (c groupCost) {
	r.passMemory()
	start := threadTime()
	send()
	c.queue = threadTime() - start
	r.step()
	c.whole = threadTime() - start
	return c
}

func (r *groupRounds) sendSingles() {
	for _, ref := range r.w.sapp.opened {
		if r.s.Send(ref, &r.m) != Sent {
			r.b.Fatal("send")
		}
	}
	r.s.commands(r.w.now)
}

func (r *groupRounds) sendGroup() {
	if n, _ := r.g.Send(&r.m, Ref{}, false); n != groupMembers {
		r.b.Fatal(n)
	}
	r.s.commands(r.w.now)
}

// turns is what transmit does with a group's members.
func (r *groupRounds) turns(g *members) {
	for g.place = len(g.list) - 1; g.place >= 0; g.place-- {
		r.s.prefetch(g)
		slot := g.list[g.place].slot
		r.s.turn(r.w.now, slot, r.s.at(slot))
	}
	g.place = 0
	r.s.flush()
}

func (r *groupRounds) step() {
	for r.s.Step(r.w.now) <= r.w.now {
	}
}

// passMemory leaves nothing of the connections in the CPU's first caches.
func (r *groupRounds) passMemory() {
	for i := 0; i < len(r.others); i += 64 {
		r.others[i]++
	}
}

// settled runs send, expects a packet for each member, and lets them be acknowledged. The statistics are not renewed in between.
func (r *groupRounds) settled(send func()) {
	r.step()
	before := r.s.counters.Trains
	send()
	if n := r.s.counters.Trains - before; n != groupMembers {
		r.b.Fatalf("%d trains", n)
	}
	r.w.run(100 * mono.Millisecond)
}

func queueOfSingles(r *groupRound) time.Duration { return r.single.queue }

func beforeOfGroup(r *groupRound) time.Duration { return r.group.whole - r.built }

// median is in nanoseconds a member.
func median(rounds []groupRound, of func(r *groupRound) time.Duration) float64 {
	var all []time.Duration
	for i := range rounds {
		all = append(all, of(&rounds[i]))
	}
	slices.Sort(all)
	return float64(all[len(all)/2]) / groupMembers
}

// ratios returns the mean ratio of ten parts of the rounds and twice its standard error.
func ratios(rounds []groupRound) (mean, off float64) {
	parts := min(10, len(rounds))
	var squares float64
	for k := range parts {
		part := rounds[k*len(rounds)/parts : (k+1)*len(rounds)/parts]
		x := median(part, beforeOfGroup) / median(part, queueOfSingles)
		mean += x / float64(parts)
		squares += x * x / float64(parts)
	}
	return mean, 2 * math.Sqrt(max(squares-mean*mean, 0)/float64(max(parts-1, 1)))
}
