package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

// A room: what one member says goes to all others.
func ExampleGroup() {
	var room *godwit.Group
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) {
			if string(m.Payload) == "join" {
				if err := room.Add(c); err != nil {
					c.CloseWithError(1, err.Error())
					return
				}
				if _, err := room.Send(godwit.Message{Channel: m.Channel, Payload: []byte("somebody came")}); err != nil {
					log.Print(err)
				}
				return
			}
			if _, err := room.SendExcept(c, m); err != nil {
				c.CloseWithError(1, err.Error()) // it sends more than the room can be given
			}
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	room = server.NewGroup()

	ctx := context.Background()
	var members []godwit.Conn
	for range 3 {
		c, err := godwit.Dial(ctx, server.Addr().String(), nil)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		_ = c.Send(godwit.OrderedChannel, []byte("join"))
		if _, err := c.Receive(ctx, nil); err != nil { // it is a member now
			log.Fatal(err)
		}
		members = append(members, c)
	}
	fmt.Println(room.Len(), "members")
	_ = members[2].Send(godwit.OrderedChannel, []byte("hello"))
	for i, c := range members[:2] {
		for {
			m, err := c.Receive(ctx, nil)
			if err != nil {
				log.Fatal(err)
			}
			if string(m.Payload) == "hello" {
				fmt.Println("member", i, "heard hello")
				break
			}
		}
	}
	// Output:
	// 3 members
	// member 0 heard hello
	// member 1 heard hello
}

// accepted dials n clients and returns both ends of each.
func accepted(t testing.TB, e *godwit.Endpoint, n int) (here, there []godwit.Conn) {
	for range n {
		there = append(there, dial(t, e, godwit.Config{}))
		c, err := e.Accept(deadline(t, 10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		here = append(here, c)
	}
	return here, there
}

func TestGroupSendsOneItemAShard(t *testing.T) {
	const shards, conns, messages = 3, 12, 50
	e := listen(t, godwit.Config{Shards: shards})
	here, there := accepted(t, e, conns)
	g := e.NewGroup()
	for _, c := range here {
		if err := g.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	if g.Len() != conns {
		t.Errorf("%d members", g.Len())
	}
	for i := range messages {
		if n, err := g.SendExcept(here[i%conns], godwit.Message{Payload: fmt.Append(nil, i)}); n != conns-1 || err != nil {
			t.Fatalf("addressed to %d", n)
		}
	}
	for i, c := range there {
		for k := range messages {
			if k%conns == i {
				continue
			}
			m, err := c.Receive(deadline(t, 10*time.Second), nil)
			if err != nil || string(m.Payload) != fmt.Sprint(k) {
				t.Fatalf("client %d got %q for %d: %v", i, m.Payload, k, err)
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	st := e.Stats()
	if st.GroupSends != messages || st.GroupItems > messages*shards || st.GroupDeliveries != messages*(conns-1) || st.GroupSkipped+st.GroupRefused != 0 {
		t.Errorf("%d sends, %d items, %d deliveries, %d skipped, %d refused",
			st.GroupSends, st.GroupItems, st.GroupDeliveries, st.GroupSkipped, st.GroupRefused)
	}
}

func TestGroupMembersLeaveAndAreRefused(t *testing.T) {
	e := listen(t, godwit.Config{Shards: 2})
	here, there := accepted(t, e, 4)
	g, other := e.NewGroup(), listen(t, godwit.Config{}).NewGroup()
	for _, c := range here {
		if err := errors.Join(g.Add(c), g.Add(c)); err != nil {
			t.Fatal(err)
		}
		if other.Add(c) == nil {
			t.Error("another endpoint's group took a connection")
		}
	}
	g.Remove(here[0])
	there[1].Close()
	here[2].Close()
	for range 1000 {
		if g.Len() == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n, err := g.Send(godwit.Message{Payload: []byte("x")}); n != 1 || err != nil {
		t.Errorf("addressed to %d: %v", n, err)
	}
	if err := g.Add(here[2]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
	}
	if err := g.Add(godwit.Conn{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("no connection: %v", err)
	}
	for _, m := range []godwit.Message{{Channel: 256}, {Channel: 2, Key: 1 << 62}} {
		if n, err := g.Send(m); n != 0 || err == nil {
			t.Errorf("an impossible message was sent to %d: %v", n, err)
		}
	}
	g.Close()
	g.Close()
	if err := g.Add(here[0]); !errors.Is(err, net.ErrClosed) || g.Len() != 0 {
		t.Errorf("a closed group: %v, %d members", err, g.Len())
	}
	if n, err := g.Send(godwit.Message{}); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("a message for a closed group: %d, %v", n, err)
	}
	exchanged := make(chan error)
	go func() {
		m, err := there[3].Receive(deadline(t, 10*time.Second), nil)
		if string(m.Payload) != "x" {
			err = fmt.Errorf("%q, %w", m.Payload, err)
		}
		exchanged <- err
	}()
	if err := <-exchanged; err != nil {
		t.Error(err)
	}
}

// A shard does not read its mailbox while it calls a handler, which therefore fills the group's share of it for certain.
func TestGroupSendTellsThatAShardHasNoRoom(t *testing.T) {
	const size = 1000
	type answer struct{ sent, members int }
	answers := make(chan answer, 1)
	var g *godwit.Group
	e := listen(t, godwit.Config{Shards: 1, Tuning: godwit.Tuning{MailboxBytes: 64 << 10}, Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) {
			_ = g.Add(c)
			var a answer
			for a.sent < 100 {
				n, err := g.Send(godwit.Message{Payload: make([]byte, size)})
				if err == godwit.ErrWouldBlock {
					a.members = n
					break
				}
				a.sent++
			}
			answers <- a
		},
	}})
	g = e.NewGroup()
	c := dial(t, e, godwit.Config{})
	if err := c.Send(godwit.OrderedChannel, []byte("go on")); err != nil {
		t.Fatal(err)
	}
	if a, share := <-answers, 64<<10/8; a.sent == 0 || a.sent*size > share || a.members != 0 {
		t.Errorf("%d messages of %d B fit into %d B, and the next was for %d members", a.sent, size, share, a.members)
	}
	if st := e.Stats(); st.GroupRefused != 1 {
		t.Errorf("counted %d times", st.GroupRefused)
	}
}

// Every mode travels through a group over a bad link, on both ends' real code.
func TestGroupOverABadLink(t *testing.T) {
	link := godwittest.Link{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1, Duplicate: 0.05, Corrupt: 0.02}
	for seed := range uint64(5) {
		godwittest.Run(t, seed, link, func(t testing.TB, n *godwittest.Net) {
			outcomes := map[godwit.Outcome]int{}
			var g *godwit.Group
			server := n.Listen(&godwit.Config{Shards: 2, Handler: godwit.Handler{
				Open:    func(godwit.Conn) error { return nil },
				Outcome: func(_ godwit.Conn, tag uint64, o godwit.Outcome) { outcomes[o]++ },
				Message: func(c godwit.Conn, m godwit.Message) {
					if err := g.Add(c); err != nil {
						t.Error(err)
					}
				},
			}})
			g = server.NewGroup()
			got := map[godwit.Conn][]string{}
			var clients []godwit.Conn
			for range 5 {
				c := n.Dial(server, &godwit.Config{Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
					if m.Channel == godwit.OrderedChannel {
						got[c] = append(got[c], string(m.Payload))
					}
				}}})
				_ = c.Send(0, []byte("join"))
				clients = append(clients, c)
			}
			n.Sleep(2 * time.Second)
			const messages = 100
			for i := range messages {
				k, err := g.Send(godwit.Message{Channel: godwit.Channel(i % 5), Tag: 1, Key: 3, Payload: fmt.Append(nil, i, strings.Repeat(".", i*40))})
				if k != 5 || err != nil {
					t.Fatalf("addressed to %d: %v", k, err)
				}
				n.Sleep(5 * time.Millisecond)
			}
			n.Sleep(10 * time.Second)
			for _, c := range clients {
				if len(got[c]) != messages/5 {
					t.Errorf("%d ordered messages", len(got[c]))
				}
				for i, s := range got[c] {
					if !strings.HasPrefix(s, fmt.Sprint(i*5)) {
						t.Errorf("message %d is %.5q", i, s)
					}
				}
			}
			sum := 0
			for _, k := range outcomes {
				sum += k
			}
			if sum != messages*5 {
				t.Errorf("outcomes %v", outcomes)
			}
		})
	}
}

func TestGroupSendDoesNotAllocate(t *testing.T) {
	const conns = 8
	e := listen(t, godwit.Config{Shards: 1})
	here, _ := accepted(t, e, 1)
	var n atomic.Int64
	done := make(chan struct{}, 1)
	g := e.NewGroup()
	for range conns {
		dial(t, e, godwit.Config{Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) {
			if n.Add(1)%conns == 0 {
				done <- struct{}{}
			}
		}}})
		c, err := e.Accept(deadline(t, 10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	payload := make([]byte, 200)
	round := func() {
		if n, err := g.SendExcept(here[0], godwit.Message{Payload: payload}); n != conns || err != nil {
			t.Fatalf("addressed to %d: %v", n, err)
		}
		<-done
	}
	for range 500 {
		round()
	}
	if got := allocations(500, conns, round); got > 0.1 {
		t.Errorf("%.3f allocations a delivery", got)
	}
}
