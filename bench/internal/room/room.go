// Package room is the load of rooms, the same for all peers: who sends what and
// when, what the server does about it, and how well it arrives. A relay passes
// everything on to all other members; an authority takes inputs and tells each
// member, tick by tick, what has become of the world.
package room

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MostMembers bounds the numbers of members.
const MostMembers = 1 << 12

// An App is what a server does.
type App struct {
	// State is the size of what an authority tells each member at each tick, in
	// bytes. It is 0 for a relay.
	State int
	Tick  time.Duration // between two ticks of an authority
}

// ParseApp reads what String wrote.
func ParseApp(text string) (a App, ok bool) {
	if text == "relay" {
		return a, true
	}
	state, tick, _ := strings.Cut(strings.TrimPrefix(text, "authority-"), "-")
	size, err1 := strconv.Atoi(state)
	each, err2 := time.ParseDuration(tick)
	return App{State: size, Tick: each}, err1 == nil && err2 == nil && size >= LeastSize && size <= MostSize && each > 0
}

// String names the application: relay, or authority-SIZE-TICK.
func (a App) String() string {
	if a.Relay() {
		return "relay"
	}
	return fmt.Sprintf("authority-%d-%v", a.State, a.Tick)
}

// Relay reports whether the server passes on what members say.
func (a App) Relay() bool { return a.State == 0 }

// Load is what the members of one room do.
type Load struct {
	App     App
	Members int
	// Size is that of states, which members of a relay send, or of inputs, which
	// members of an authority do; Rate is how often, in Hz.
	Size int
	Rate float64
	// Each is the number of states after which a member also sends one reliable
	// message of the same size; 0 for none.
	Each int

	Duration time.Duration // of the measurement
	Warmup   time.Duration // of load before it
}

// slack is what may be added to one interval until a state is called stale.
const slack = 20 * time.Millisecond

// limits of staleness: what a member sees must not be older than the time
// between two states, and a little.
func (l *Load) mostStale() time.Duration {
	if l.App.Relay() {
		return time.Duration(float64(time.Second)/l.Rate) + slack
	}
	return l.App.Tick + slack
}

// gap is the time between two sends of any members: they take turns, evenly.
func (l *Load) gap() float64 { return float64(time.Second) / l.Rate / float64(l.Members) }

// A Kind says what a message is, and what a transport owes it.
type Kind uint8

// The kinds. Hello and Reliable must arrive, in order; of states only the newest
// of each sender matters.
const (
	Hello    Kind = 1 + iota // a member is there, and the server's answer
	State                    // a state, or an input
	Reliable                 // what must not be missed
)

// Transport is the members' end of a room. Its methods are called in the order in
// which they stand here, Send from within Members' Turn and Message.
type Transport interface {
	// Connect opens a connection for each member, numbered from 0.
	Connect(ctx context.Context, members int) error
	// Drive calls m.Turn again and again, and m.Message for what comes, until Turn
	// says that all is over. Calls of m must not overlap.
	Drive(ctx context.Context, m *Members) error
	// Send takes a copy of a member's next message, or refuses it for want of room.
	Send(member int, kind Kind, p []byte) bool
	Close()
}
