package main

import (
	"fmt"
	"sync"

	"godwit.example/godwit"
)

// room is who is there. The handlers of different shards run at the same time, hence the lock; sends never block, so it is held only for
// microseconds. It also makes the order of lines the same for everybody.
type room struct {
	mu       sync.Mutex
	names    map[godwit.Conn]string
	everyone *godwit.Group
}

// open makes the group with the first connection: before that the endpoint does not exist.
func (r *room) open(c godwit.Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.everyone == nil {
		r.everyone = c.Endpoint().NewGroup()
	}
	return nil
}

// message takes the name of a newcomer, and afterwards what is said.
func (r *room) message(c godwit.Conn, m godwit.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, known := r.names[c]
	if known {
		r.tell(c, name+": "+string(m.Payload))
		return
	}
	name = string(m.Payload) // a string is a copy: the payload is ours only until this function returns
	if err := r.everyone.Add(c); err != nil {
		_ = c.CloseWithError(2, err.Error())
		return
	}
	r.names[c] = name
	r.tell(c, name+" has come")
	_ = c.Send(godwit.OrderedChannel, fmt.Appendf(nil, "welcome, %s: %d in the room", name, len(r.names)))
}

func (r *room) leave(c godwit.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, known := r.names[c]; known {
		delete(r.names, c) // it has left the group by itself
		r.tell(c, name+" has left")
	}
}

// tell sends a line to everybody but from. The tag asks for what becomes of it.
func (r *room) tell(from godwit.Conn, line string) {
	r.everyone.SendExcept(from, godwit.Message{Channel: godwit.OrderedChannel, Payload: []byte(line), Tag: 1})
}

// outcome shows the door to who reads so slowly that there was no room for another line.
func (r *room) outcome(c godwit.Conn, _ uint64, o godwit.Outcome) {
	if o == godwit.Refused {
		_ = c.CloseWithError(1, "you read too slowly")
	}
}
