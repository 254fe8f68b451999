package run

import (
	"context"
	"fmt"
	"strings"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/room"
)

// Largest is how many members a room may have over a peer until one of its criteria
// is missed.
type Largest struct {
	Peer     string `json:"peer"`
	Workload string `json:"workload"`
	Members  int    `json:"largest_members"` // 0 if even the smallest room was not in order
	// MessagesPerSecond is what arrived in that room, ServerPerMessage the server's CPU time for each.
	MessagesPerSecond float64  `json:"messages_per_second"`
	ServerPerMessage  *float64 `json:"server_us_per_message"`
	// Bound says what was missed in a room a little larger. ClientBound is set if the
	// members' CPU was busy then: the server might have been capable of more.
	Bound       string    `json:"bound"`
	ClientBound bool      `json:"client_bound"`
	Runs        []*Result `json:"runs"`
}

const (
	fewestMembers = 16
	// tries is how often a room may miss its criteria until it is believed: a machine that
	// others use makes rooms miss them that could be in order.
	tries = 2
	// closeEnough is the share of the result within which it is found.
	closeEnough = 16
	// saturated is when the members' CPU may be what bounds a room, in percent.
	saturated = 90
)

// Largest doubles the members of w's room until a criterion is missed, and then
// looks between.
func (o *Options) Largest(ctx context.Context, p *peer.Peer, w *Workload, progress func(*Result)) *Largest {
	l := largest(func(n int) *Result {
		sized, _ := withMembers(fmt.Sprintf("%s@%d", w.Name, n))
		r := o.Run(ctx, p, &sized)
		progress(r)
		return r
	}, func() bool { return ctx.Err() != nil })
	l.Peer, l.Workload = p.Name, w.Name
	return l
}

// largest searches; try makes a run with n members.
func largest(try func(n int) *Result, over func() bool) *Largest {
	l := &Largest{}
	low, high := 0, 0 // in order, and not
	for n := fewestMembers; !over(); {
		if l.fits(n, try, over) {
			low = n
		} else {
			high = n
		}
		switch {
		case high == 0 && low == room.MostMembers:
			l.Bound = fmt.Sprintf("%d members are all that are tried", low)
			return l
		case high == 0:
			n = min(2*low, room.MostMembers)
		case low == 0, high-low <= max(low/closeEnough, 1):
			return l
		default:
			n = (low + high) / 2
		}
	}
	return l
}

// fits reports whether a room of n members is in order.
func (l *Largest) fits(n int, try func(n int) *Result, over func() bool) bool {
	for range tries {
		r := try(n)
		l.Runs = append(l.Runs, r)
		switch {
		case over():
			return false
		case r.Failed != "":
			l.Bound = firstLine(r.Failed)
			return false
		case len(r.Room.Misses) == 0:
			l.Members, l.MessagesPerSecond, l.ServerPerMessage = n, r.MessagesPerSecond, r.ServerPerMessage
			return true
		}
		l.Bound = fmt.Sprintf("%d members: %s", n, strings.Join(r.Room.Misses, "; "))
		l.ClientBound = r.Room.ClientCPU != nil && *r.Room.ClientCPU >= saturated
	}
	return false
}

// String is the result in one line.
func (l *Largest) String() string {
	per := 0.0
	if l.ServerPerMessage != nil {
		per = *l.ServerPerMessage
	}
	text := fmt.Sprintf("%-8s %-18s %4d members, %.0f messages/s, %.3f server µs/message; %s", l.Workload, l.Peer, l.Members, l.MessagesPerSecond, per, l.Bound)
	if l.ClientBound {
		text += "; the members' CPU was busy: a lower bound"
	}
	return text
}
