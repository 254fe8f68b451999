package app

import (
	"fmt"
	"sync"
	"sync/atomic"

	"godwit.example/godwit"
)

// Limits of the relay.
const (
	maxRooms    = 10_000
	maxMembers  = 10_000 // of one room
	maxRoomName = 64     // bytes
)

// The first byte of messages on the ordered channel that are the relay's own. Members cannot send them to one another, so a client that gets
// one knows who wrote it.
const (
	relayJoin   = 1 // and a name; as an answer: the sender is in that room now
	relayLeave  = 2 // as an answer: the sender is in no room now
	relayRefuse = 3 // and a reason; an answer only
)

// relay passes messages on to the others in their sender's room, of which a connection is in one at a time.
type relay struct {
	mu     sync.Mutex
	byName map[string]*room
	free   []uint32 // indices of rooms that were used and are not now
	used   uint32   // indices from here on were never used

	// rooms is read without the lock: a connection's tag is the index of its room + 1, and a room stays where it is while it has a member.
	rooms [maxRooms]atomic.Pointer[room]

	joined, left, relayed, alone, refused, outside, tooSlow, tooFast atomic.Uint64
}

// room is the members of one name.
type room struct {
	name    string
	group   *godwit.Group
	index   uint32
	members int
}

// RelayStats are the figures of a relay.
type RelayStats struct {
	Rooms    int    `json:"rooms"`    // with members
	Members  int    `json:"members"`  // connections in a room
	Joined   uint64 `json:"joined"`   // times that a connection entered a room
	Left     uint64 `json:"left"`     // times that one left, or ended in, a room
	Relayed  uint64 `json:"relayed"`  // messages passed on, once each whatever the number of members
	Alone    uint64 `json:"alone"`    // messages with nobody to pass them on to, unreliable ones whose room has too many waiting among them
	Refused  uint64 `json:"refused"`  // commands answered by a refusal: bad ones, and those beyond a limit
	Outside  uint64 `json:"outside"`  // messages of connections in no room, dropped
	TooSlow  uint64 `json:"too_slow"` // members disconnected because they had no room for a message of a reliable channel
	TooFast  uint64 `json:"too_fast"` // members disconnected because their room had too many waiting for their message of a reliable channel
	MaxRooms int    `json:"max_rooms"`
}

func newRelay() App {
	r := &relay{byName: map[string]*room{}}
	return App{
		Handler: godwit.Handler{Message: r.message, Outcome: r.outcome, Close: r.closed},
		Stats:   func() any { return r.stats() },
	}
}

func (r *relay) stats() RelayStats {
	st := RelayStats{
		Joined: r.joined.Load(), Left: r.left.Load(), Relayed: r.relayed.Load(), Alone: r.alone.Load(),
		Refused: r.refused.Load(), Outside: r.outside.Load(),
		TooSlow: r.tooSlow.Load(), TooFast: r.tooFast.Load(), MaxRooms: maxRooms,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	st.Rooms = len(r.byName)
	for _, room := range r.byName {
		st.Members += room.members
	}
	return st
}

func (r *relay) message(c godwit.Conn, m godwit.Message) {
	if m.Channel == godwit.OrderedChannel && len(m.Payload) > 0 {
		switch name := m.Payload[1:]; m.Payload[0] {
		case relayJoin:
			r.join(c, string(name))
			return
		case relayLeave:
			r.leave(c)
			answer(c, relayLeave, "")
			return
		case relayRefuse:
			r.refuse(c, "a message on channel 0 cannot begin with byte 3")
			return
		}
	}
	room := r.roomOf(c)
	if room == nil {
		r.outside.Add(1)
		return
	}
	if m.TTL, m.Tag = 0, 0; reliable(m.Channel) {
		m.Tag = 1 // a member that misses it is heard of
	}
	switch members, err := room.group.SendExcept(c, m); {
	case err != nil && reliable(m.Channel):
		r.overrun(c)
	case members == 0:
		r.alone.Add(1)
	default:
		r.relayed.Add(1)
	}
}

// overrun ends a connection whose message some or all of its room will miss. It leaves first: what it has sent since then is passed on to
// nobody, so that no member hears what came after a gap.
func (r *relay) overrun(c godwit.Conn) {
	r.tooFast.Add(1)
	r.leave(c)
	c.CloseWithError(closeCode, "the room has too many messages waiting: send slower") // nothing to do if it is gone already
}

// reliable reports whether a channel of the default configuration repeats its messages until they arrive.
func reliable(ch godwit.Channel) bool {
	return ch != godwit.SequencedChannel && ch != godwit.UnreliableChannel
}

// roomOf returns the room that a connection is in, if any. It belongs to the connection's callbacks, which never run two at a time.
func (r *relay) roomOf(c godwit.Conn) *room {
	tag := c.Tag()
	if tag == 0 {
		return nil
	}
	return r.rooms[tag-1].Load()
}

// join moves a connection to the room of that name, which is made if there is none.
func (r *relay) join(c godwit.Conn, name string) {
	if name == "" || len(name) > maxRoomName {
		r.refuse(c, fmt.Sprintf("the name of a room has 1 to %d bytes", maxRoomName))
		return
	}
	if reason := r.enter(c, name); reason != "" {
		r.refuse(c, reason)
		return
	}
	answer(c, relayJoin, name)
}

// enter is join without the answer: it returns why not, if not. A connection that is refused stays where it is.
func (r *relay) enter(c godwit.Conn, name string) (refusal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, next := r.roomOf(c), r.byName[name]
	switch {
	case next != nil && next == old:
		return ""
	case next == nil && len(r.byName) == maxRooms:
		return "there are too many rooms"
	case next != nil && next.members == maxMembers:
		return "the room is full"
	case next == nil:
		next = r.open(c.Endpoint(), name)
	}
	if err := next.group.Add(c); err != nil {
		r.vacate(next)
		return "try again: " + err.Error()
	}
	next.members++
	if old != nil {
		old.group.Remove(c)
		r.exit(old)
	}
	c.SetTag(uint64(next.index) + 1)
	r.joined.Add(1)
	return ""
}

// open makes a room.
func (r *relay) open(ep *godwit.Endpoint, name string) *room {
	room := &room{name: name, group: ep.NewGroup(), index: r.used}
	if n := len(r.free); n > 0 {
		room.index, r.free = r.free[n-1], r.free[:n-1]
	} else {
		r.used++
	}
	r.byName[name] = room
	r.rooms[room.index].Store(room)
	return room
}

// exit counts a member out.
func (r *relay) exit(room *room) {
	room.members--
	r.left.Add(1)
	r.vacate(room)
}

// vacate removes a room that nobody is in.
func (r *relay) vacate(room *room) {
	if room.members > 0 {
		return
	}
	room.group.Close()
	delete(r.byName, room.name)
	r.rooms[room.index].Store(nil)
	r.free = append(r.free, room.index)
}

// leave takes a connection out of its room.
func (r *relay) leave(c godwit.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.roomOf(c)
	if room == nil {
		return
	}
	c.SetTag(0)
	room.group.Remove(c)
	r.exit(room)
}

// refuse answers a command that was not carried out.
func (r *relay) refuse(c godwit.Conn, reason string) {
	r.refused.Add(1)
	answer(c, relayRefuse, reason)
}

// answer sends what the relay itself has to say. A client that leaves no room even for that does not read.
func answer(c godwit.Conn, kind byte, text string) {
	if err := c.Send(godwit.OrderedChannel, append([]byte{kind}, text...)); err != nil {
		c.CloseWithError(closeCode, "the relay cannot answer: "+err.Error()) // nothing to do if it is gone already
	}
}

// outcome ends a connection that misses a message of a reliable channel: a silent gap would break the channel's promise.
func (r *relay) outcome(c godwit.Conn, _ uint64, o godwit.Outcome) {
	if o != godwit.Refused || c.State() != godwit.StateOpen {
		return
	}
	r.tooSlow.Add(1)
	c.CloseWithError(closeCode, "no room for a message of the room: read faster, or accept larger messages")
}

func (r *relay) closed(c godwit.Conn, _ error) { r.leave(c) }
