package peer

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"godwit.example/godwit/bench/internal/room"
)

// overLinks gives p what all peers over links have in common.
func (p *Peer) overLinks() {
	p.Serve = func(ctx context.Context, answer Answer, ready func(netip.AddrPort, string)) error {
		return p.serveLinks(ctx, func(l link) { answerLink(l, answer) }, ready)
	}
	p.Room = func(ctx context.Context, app room.App, ready func(netip.AddrPort, string)) error {
		h := &hub{app: app}
		if !app.Relay() {
			ctx, stop := context.WithCancel(ctx)
			defer stop()
			go h.ticks(ctx)
		}
		return p.serveLinks(ctx, h.serve, ready)
	}
	p.Members = func(_ *room.Load, addr netip.AddrPort, secret string) room.Transport {
		return roomLinks{p.Transport(addr, secret).(*links)}
	}
}

// roomLinks is the members' end over links, which carry messages of all kinds alike.
type roomLinks struct{ *links }

func (t roomLinks) Drive(ctx context.Context, m *room.Members) error { return t.drive(ctx, m) }

func (t roomLinks) Send(member int, _ room.Kind, p []byte) bool { return t.links.Send(member, p) }

// hub is the server of a room over links. A goroutine a member receives, another one
// sends: whoever reads slowly holds up nobody, and a state that has not left when the
// sender's next one comes is replaced by it.
type hub struct {
	app room.App

	mu      sync.RWMutex
	members []*hubMember
}

type hubMember struct {
	link

	number uint32 // as it calls itself

	mu     sync.Mutex
	queue  []byte // framed
	turn   uint32 // of the queue: counts how often it has left
	at     []place
	inputs uint64
	filled chan struct{}
}

// place is where in the queue a sender's newest state is, if turn is that of the queue.
type place struct{ turn, offset uint32 }

// mostUnread bounds what waits for a member, who is sent away beyond.
const mostUnread = 4 << 20

func (h *hub) serve(l link) {
	m := &hubMember{link: l, turn: 1, filled: make(chan struct{}, 1)}
	go m.writes()
	joined := false
	for l.receive(func(p []byte) {
		var head room.Header
		switch {
		case !head.Parse(p) || head.Member >= room.MostMembers:
		case head.Kind == room.Hello && !joined:
			joined, m.number = true, head.Member
			m.put(&head, p)
			h.mu.Lock()
			h.members = append(h.members, m)
			h.mu.Unlock()
		case joined && h.app.Relay():
			h.relay(m, &head, p)
		case joined:
			m.mu.Lock()
			m.inputs++
			m.mu.Unlock()
		}
	}) == nil {
	}
	h.leave(m)
}

func (h *hub) leave(m *hubMember) {
	h.mu.Lock()
	for i, o := range h.members {
		if o == m {
			h.members = append(h.members[:i], h.members[i+1:]...)
			break
		}
	}
	h.mu.Unlock()
	m.mu.Lock()
	close(m.filled)
	m.filled = nil // nobody puts anything into the queue now
	m.mu.Unlock()
	_ = m.Close()
}

func (h *hub) relay(from *hubMember, head *room.Header, p []byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, m := range h.members {
		if m != from {
			m.put(head, p)
		}
	}
}

// put queues a message for a member.
func (m *hubMember) put(head *room.Header, p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.filled == nil {
		return
	}
	if head.Kind == room.State && m.replace(head.Member, p) {
		return
	}
	if len(m.queue)+len(p) > mostUnread {
		_ = m.Close() // its reader will leave
		return
	}
	m.queue = appendFrame(m.queue, p)
	select {
	case m.filled <- struct{}{}:
	default:
	}
}

// replace puts a state in the place of one that has not left, and notes where it
// will be if there is none. m.mu is held.
func (m *hubMember) replace(sender uint32, p []byte) bool {
	for len(m.at) <= int(sender) {
		m.at = append(m.at, place{})
	}
	if at := m.at[sender]; at.turn == m.turn && int(binary.LittleEndian.Uint32(m.queue[at.offset:])) == len(p) {
		copy(m.queue[at.offset+frameHeader:], p)
		return true
	}
	m.at[sender] = place{m.turn, uint32(len(m.queue))}
	return false
}

func (m *hubMember) writes() {
	m.mu.Lock()
	filled := m.filled
	m.mu.Unlock()
	var out []byte
	for range filled {
		m.mu.Lock()
		out, m.queue = m.queue, out[:0]
		m.turn++
		m.mu.Unlock()
		if len(out) > 0 && m.send(out) != nil {
			_ = m.Close()
			return
		}
	}
}

// ticks tells each member of an authority's room, tick by tick, what it has said.
func (h *hub) ticks(ctx context.Context) {
	each := time.NewTicker(h.app.Tick)
	defer each.Stop()
	var b []byte
	for tick := uint64(1); ; tick++ {
		select {
		case <-each.C:
		case <-ctx.Done():
			return
		}
		now := room.Now()
		h.mu.RLock()
		for _, m := range h.members {
			m.mu.Lock()
			head := room.Header{Kind: room.State, Member: m.number, Seq: tick, Time: now, Inputs: m.inputs}
			m.mu.Unlock()
			b = head.Append(b[:0], h.app.State)
			m.put(&head, b)
		}
		h.mu.RUnlock()
	}
}
