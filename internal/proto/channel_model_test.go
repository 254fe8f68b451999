package proto

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// outModel is what an application remembers of the messages it sent on a channel, by their number.
type outModel struct {
	n      uint64
	newest map[uint64]uint64 // of a key: the number of the newest message
	sure   map[uint64]bool   // messages without TTL, by number
	keys   map[uint64]uint64
	tags   map[uint64]uint64 // number to tag
}

// inModel is what it remembers of those it received.
type inModel struct {
	next    uint64          // of ID
	got     map[uint64]bool // by number
	newest  map[uint64]uint64
	highest int64
	missing uint64 // by gap notices
}

// message checks a delivered message against the promise of its mode.
func (e *pipeEnd) message(ev *Event) {
	t, in, o := e.p.t, &e.in[ev.Channel], &e.peer().out[ev.Channel]
	n := binary.BigEndian.Uint64(ev.Payload) >> 8
	if want := payloadOf(make([]byte, len(ev.Payload)), ev.Channel, n, len(ev.Payload)); !bytes.Equal(want, ev.Payload) {
		t.Fatalf("channel %d: message %d has other bytes than were sent", ev.Channel, n)
	}
	mode := e.sh.Config.Channels[ev.Channel].Mode
	if in.got[n] {
		t.Fatalf("channel %d: message %d came twice", ev.Channel, n)
	}
	in.got[n] = true
	switch mode {
	case Ordered:
		if ev.ID != in.next {
			t.Fatalf("channel %d: ID %d instead of %d", ev.Channel, ev.ID, in.next)
		}
		in.next++
	case Latest:
		if ev.Key != o.keys[n] {
			t.Fatalf("channel %d: message %d has key %d", ev.Channel, n, ev.Key)
		}
		if last, ok := in.newest[ev.Key]; ok && last >= n {
			t.Fatalf("channel %d: value %d of key %d after %d", ev.Channel, n, ev.Key, last)
		}
		in.newest[ev.Key] = n
	case Sequenced:
		if int64(ev.ID) <= in.highest {
			t.Fatalf("channel %d: ID %d after %d", ev.Channel, ev.ID, in.highest)
		}
		in.highest = int64(ev.ID)
	}
	if mode.Reliable() {
		e.waiting = append(e.waiting, consumption{ev.Channel, len(ev.Payload)})
	}
}

func (e *pipeEnd) gap(ev *Event) {
	in := &e.in[ev.Channel]
	in.missing += uint64(ev.N)
	if e.sh.Config.Channels[ev.Channel].Mode == Ordered {
		if ev.ID != in.next+uint64(ev.N) {
			e.p.t.Fatalf("channel %d: a gap of %d ends at %d, the floor is %d", ev.Channel, ev.N, ev.ID, in.next)
		}
		in.next = ev.ID
	}
}

// streamCredit is what of the connection's credit streams must have taken, those that are over included.
func streamCredit(m *messages, st *streams) (reserved, counted, consumed uint64) {
	reserved, counted, consumed = m.reserved, m.counted, m.consumedTotal
	for i := range m.chans {
		ch := &m.chans[i]
		reserved, counted, consumed = reserved-ch.reserved, counted-ch.counted, consumed-ch.consumed
	}
	for _, s := range st.list {
		reserved, counted = reserved-s.sent, counted-s.highest
	}
	for _, v := range []uint64{reserved, counted, consumed} {
		if int64(v) < 0 { // less than those that are not over
			return 0, 0, 0
		}
	}
	for _, s := range st.list {
		reserved, counted = reserved+s.sent, counted+s.highest
	}
	return reserved, counted, consumed
}

// checkCounts compares what is counted with what there is. Credit of streams that are over is taken as counted right.
func checkCounts(t testing.TB, m *messages, st *streams) {
	ready, unresolved, windowed, windows, buffered, partials := btoi(m.due != 0), 0, 0, 0, 0, int(m.loose.n)
	var reserved, counted, consumed uint64
	if st != nil {
		ready += btoi(st.busy)
		for _, s := range st.list {
			unresolved += btoi(s.holding)
		}
		reserved, counted, consumed = streamCredit(m, st)
	}
	for i := range m.chans {
		ch := &m.chans[i]
		ready += btoi(ch.due != 0) + btoi(ch.armed&armedFresh != 0) + btoi(ch.armed&armedRepeat != 0)
		if ch.mode.Reliable() {
			unresolved += ch.queue.len()
			windowed += int(ch.sent)
		}
		windows += ch.window.len()
		repeats, cost, frontCost := 0, uint64(0), ch.frontCost
		for j := range ch.queue.len() {
			q := ch.queue.at(j)
			if q.flags&entryDropped == 0 {
				buffered += q.cost()
			}
			if q.flags&entryReserved != 0 {
				frontCost += uint64(q.cost())
			}
			repeats += btoi(q.flags&entryRepeat != 0)
		}
		for j := range ch.window.len() {
			cost += ch.window.at(j).cost()
			partials += btoi(ch.window.at(j).state() == incomingPartial)
		}
		if repeats != int(ch.repeats) || cost != ch.windowCost || frontCost != ch.reserved || ch.reserved > ch.limit {
			t.Fatalf("channel %d: %d repeats counted as %d, window cost %d as %d, reserved %d as %d of %d",
				ch.number, repeats, ch.repeats, cost, ch.windowCost, frontCost, ch.reserved, ch.limit)
		}
		reserved, counted, consumed = reserved+ch.reserved, counted+ch.counted, consumed+ch.consumed
	}
	inUse := 0
	for i := range m.reasm {
		inUse += btoi(m.reasm[i].total != 0)
	}
	if ready != m.ready || unresolved != m.unresolved || windowed != m.windowed || windows != m.windows || buffered != m.buffered ||
		reserved != m.reserved || counted != m.counted || consumed != m.consumedTotal || partials != m.partials+int(m.loose.n) || inUse != partials {
		t.Fatalf("counted %d %d %d %d %d %d %d %d %d, there are %d %d %d %d %d %d %d %d %d (%d)",
			m.ready, m.unresolved, m.windowed, m.windows, m.buffered, m.reserved, m.counted, m.consumedTotal, m.partials+int(m.loose.n),
			ready, unresolved, windowed, windows, buffered, reserved, counted, consumed, partials, inUse)
	}
}

// promises checks that everything that had to arrive did.
func (e *pipeEnd) promises() {
	for c := range numChannels {
		o, in := &e.out[c], &e.peer().in[c]
		mode := e.sh.Config.Channels[c].Mode
		switch mode {
		case Ordered, Unordered:
			for n := range o.n {
				outcome := Outcome(0)
				if tag := o.tags[n]; tag != 0 {
					outcome = e.taken[tag].outcome
				}
				if o.sure[n] && !in.got[n] || outcome == Delivered && !in.got[n] || o.sure[n] && outcome > Delivered {
					e.p.t.Fatalf("channel %d: message %d: arrived %v, outcome %d", c, n, in.got[n], outcome)
				}
			}
			if arrived := uint64(len(in.got)); arrived+in.missing != o.n {
				e.p.t.Fatalf("channel %d: %d messages sent, %d arrived, %d are missing by the notices", c, o.n, arrived, in.missing)
			}
		case Latest:
			for key, n := range o.newest {
				if o.sure[n] && in.newest[key] != n {
					e.p.t.Fatalf("channel %d: the newest value of key %d is %d, %d arrived", c, key, n, in.newest[key])
				}
			}
		}
	}
}

// credit checks that at rest nothing is owed, to the byte.
func (e *pipeEnd) credit() {
	m, peer := &e.m, &e.peer().m
	if m.reserved != peer.counted || peer.counted != peer.consumedTotal {
		e.p.t.Fatalf("%d taken, %d counted, %d given back", m.reserved, peer.counted, peer.consumedTotal)
	}
	for i := range m.chans {
		ch := &m.chans[i]
		if o := peer.existing(ch.number); o != nil && (ch.reserved != o.counted || o.counted != o.consumed) {
			e.p.t.Fatalf("channel %d: %d taken, %d counted, %d given back", ch.number, ch.reserved, o.counted, o.consumed)
		}
	}
}
