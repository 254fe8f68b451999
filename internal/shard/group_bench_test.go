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
// A group's members take their message when they have their turns to send, between packets; there before-ns is queue-ns and what such turns
// cost more than those that build the same packets from the queues of members who had taken their message beforehand. Both kinds fetch the same
// memory ahead, so fetching counts as building; going about the members, finding and charging each, its queue, and waiting for memory
// that building would not have waited for count as before. A message that is built as it is taken passes
// the queue: what that saves in building is set off. before-queued-ratio is the same for turns that put the message into the queue first, as those of members
// do that have other things to send.
//
// Turns of both kinds alternate within one pass over the members, in blocks: a difference is that of two neighbours, which the machine treated alike
// but for the last tenth of a millisecond. Before each measurement other memory passes through the caches.
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
	b.ReportMetric(beforeOfGroup(rounds, false), "group-before-ns")
	b.ReportMetric(beforeOfGroup(rounds, true)/median(rounds, queueOfSingles), "before-queued-ratio")
	mean, off := ratios(rounds)
	b.ReportMetric(mean, "before-ratio")
	b.ReportMetric(off, "before-ratio-error")
}

const (
	groupMembers = 1000
	groupBlock   = 3 * flushTrains // members that are measured together
	groupPairs   = groupMembers / groupBlock / 2
)

// groupRounds measures; the group's connections are all of the server's.
type groupRounds struct {
	b *testing.B
	w *world
	s *Shard
	g *Group
	m Outbound
	n int // rounds

	others [4 << 20]byte
}

type groupRound struct {
	single, group groupCost
	taking        [groupPairs]time.Duration // what turns that begin with taking the message cost more than those that do not: a block each
	queued        bool                      // it went through the queue
}

// groupCost is what 1,000 messages took.
type groupCost struct{ queue, whole time.Duration }

// round measures single messages, a group's, and one that every other block of members has taken beforehand.
func (r *groupRounds) round() (c groupRound) {
	r.settled(func() { c.single = r.cost(r.sendSingles) })
	r.settled(func() { c.group = r.cost(r.sendGroup) })
	c.queued = r.n%8 >= 6
	r.settled(func() { c.taking = r.taking(c.queued) })
	r.n++
	return c
}

// taking has blocks of members take their message in turn and beforehand, alternately. The few members that are left over come first.
func (r *groupRounds) taking(queued bool) (more [groupPairs]time.Duration) {
	r.sendGroup()
	g := r.s.backlog.first
	for k := range groupPairs * 2 * groupBlock {
		if (k/groupBlock+r.n)%2 == 0 {
			r.s.handOut(r.w.now, g.list[k].slot, r.s.at(g.list[k].slot))
		}
	}
	r.passMemory()
	g.until, g.place = r.s.backlog.newest, len(g.list)
	for g.place > groupPairs*2*groupBlock {
		r.turn(g, true, queued)
	}
	r.s.flush()
	for g.place > 0 {
		pair, taking := g.place/groupBlock, (g.place/groupBlock-1+r.n)%2 != 0
		start := threadTime()
		for range groupBlock {
			r.turn(g, taking, queued)
		}
		cost := threadTime() - start
		if !taking {
			cost = -cost
		}
		more[(pair-1)/2] += cost
	}
	r.step()
	return more
}

// turn is what transmit does with a group's member. One that has taken its message is not looked for.
func (r *groupRounds) turn(g *members, taking, queued bool) {
	if taking {
		for {
			if slot, p := r.s.next(); p != nil {
				if queued {
					r.s.handOut(r.w.now, slot, p)
				}
				r.s.turn(r.w.now, slot, p)
				return
			}
		}
	}
	g.place--
	r.s.prefetch(g)
	slot := g.list[g.place].slot
	r.s.turn(r.w.now, slot, r.s.at(slot))
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

// beforeOfGroup is in nanoseconds a member.
func beforeOfGroup(rounds []groupRound, queued bool) float64 {
	var all []time.Duration
	for i := range rounds {
		if rounds[i].queued == queued {
			all = append(all, rounds[i].taking[:]...)
		}
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return median(rounds, func(r *groupRound) time.Duration { return r.group.queue }) + float64(all[len(all)/2])/groupBlock
}

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
		x := beforeOfGroup(part, false) / median(part, queueOfSingles)
		mean += x / float64(parts)
		squares += x * x / float64(parts)
	}
	return mean, 2 * math.Sqrt(max(squares-mean*mean, 0)/float64(max(parts-1, 1)))
}
