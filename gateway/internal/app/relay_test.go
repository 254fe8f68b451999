package app

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit"
)

// relayWorld is a relay and its clients, over sockets of loopback.
type relayWorld struct {
	t        testing.TB
	app      App
	server   *godwit.Endpoint
	identity string
}

func serveRelay(t *testing.T, cfg godwit.Config) *relayWorld {
	t.Helper()
	a, ok := New("relay")
	if !ok {
		t.Fatal("there is no relay")
	}
	w := &relayWorld{t: t, app: a, identity: t.TempDir()}
	cfg.Handler, cfg.Shards, cfg.Linger, cfg.Identity = a.Handler, 2, 100*time.Millisecond, w.identity
	server, err := godwit.Listen("127.0.0.1:0", &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	w.server = server
	return w
}

func (w *relayWorld) dial() godwit.Conn {
	w.t.Helper()
	c, err := godwit.Dial(w.t.Context(), w.server.Addr().String(), &godwit.Config{Identity: w.identity})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	return c
}

func (w *relayWorld) send(c godwit.Conn, m godwit.Message) {
	w.t.Helper()
	if err := c.SendMessage(m); err != nil {
		w.t.Fatal(err)
	}
}

// hear expects a message.
func (w *relayWorld) hear(c godwit.Conn, channel godwit.Channel, payload string) godwit.Message {
	w.t.Helper()
	m, err := c.Receive(w.t.Context(), nil)
	if err != nil || m.Channel != channel || string(m.Payload) != payload {
		w.t.Fatalf("it hears %q on channel %d, not %q on %d: %v", m.Payload, m.Channel, payload, channel, err)
	}
	return m
}

// say sends a command and expects its answer, of which only the beginning is compared.
func (w *relayWorld) say(c godwit.Conn, command, answer string) {
	w.t.Helper()
	w.send(c, godwit.Message{Payload: []byte(command)})
	m, err := c.Receive(w.t.Context(), nil)
	if err != nil || m.Channel != godwit.OrderedChannel || !bytes.HasPrefix(m.Payload, []byte(answer)) {
		w.t.Fatalf("%q is answered by %q, not %q: %v", command, m.Payload, answer, err)
	}
}

// until waits for figures.
func (w *relayWorld) until(what string, ok func(st RelayStats) bool) {
	w.t.Helper()
	var st RelayStats
	for range 2000 {
		if st = w.app.Stats().(RelayStats); ok(st) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("%s: %+v", what, st)
}

func TestRelayPassesMessagesOnWithinTheRoom(t *testing.T) {
	w := serveRelay(t, godwit.Config{})
	a, b, c, stranger := w.dial(), w.dial(), w.dial(), w.dial()
	for _, x := range []godwit.Conn{a, b} {
		w.say(x, "\x01kitchen", "\x01kitchen")
	}
	w.say(c, "\x01cellar", "\x01cellar")
	w.say(b, "\x01kitchen", "\x01kitchen") // is there already
	w.send(stranger, godwit.Message{Payload: []byte("hello?")})
	for i := range 5 {
		ch := godwit.Channel(i)
		text := fmt.Sprint("on ", ch)
		w.send(a, godwit.Message{Channel: ch, Key: 77, Payload: []byte(text)})
		if m := w.hear(b, ch, text); ch == godwit.LatestChannel && m.Key != 77 {
			t.Errorf("the key is %d", m.Key)
		}
	}
	w.send(a, godwit.Message{Channel: 0}) // an empty one is no command
	w.hear(b, 0, "")
	w.send(c, godwit.Message{Payload: []byte("anybody?")})
	w.until("the others", func(st RelayStats) bool { return st.Alone == 1 && st.Outside == 1 })
	w.say(b, "\x01cellar", "\x01cellar") // leaves the kitchen
	w.send(a, godwit.Message{Payload: []byte("to nobody")})
	w.send(c, godwit.Message{Payload: []byte("welcome")})
	w.hear(b, 0, "welcome")
	w.say(b, "\x02", "\x02")
	w.say(b, "\x02", "\x02")
	w.send(b, godwit.Message{Payload: []byte("from outside")})
	w.until("the end", func(st RelayStats) bool {
		return st == RelayStats{Rooms: 2, Members: 2, Joined: 4, Left: 2, Relayed: 7, Alone: 2, Outside: 2, MaxRooms: maxRooms}
	})
	a.Close()
	c.Close()
	w.until("everybody has gone", func(st RelayStats) bool { return st.Rooms == 0 && st.Members == 0 && st.Left == 4 })
}

func TestRelayRefusesWhatIsBeyondItsLimits(t *testing.T) {
	w := serveRelay(t, godwit.Config{})
	a, b := w.dial(), w.dial()
	w.say(a, "\x01", "\x03the name of a room")
	w.say(a, "\x01"+strings.Repeat("x", maxRoomName+1), "\x03the name of a room")
	w.say(a, "\x03forged", "\x03a message on channel 0")
	long := strings.Repeat("x", maxRoomName)
	w.say(a, "\x01"+long, "\x01"+long)
	w.until("refusals", func(st RelayStats) bool { return st.Refused == 3 && st.Rooms == 1 })
	w.say(b, "\x01"+long, "\x01"+long)
	w.send(a, godwit.Message{Channel: 1, Payload: []byte("\x01only channel 0 has commands")})
	w.hear(b, 1, "\x01only channel 0 has commands")
}

func TestRelayBoundsRoomsAndMembers(t *testing.T) {
	w := serveRelay(t, godwit.Config{})
	r := &relay{byName: map[string]*room{}}
	for i := range maxRooms {
		r.open(w.server, fmt.Sprint(i)).members = 1
	}
	if reason := r.enter(godwit.Conn{}, "one more"); !strings.Contains(reason, "too many rooms") {
		t.Errorf("one more room: %q", reason)
	}
	r.byName["7"].members = maxMembers
	if reason := r.enter(godwit.Conn{}, "7"); !strings.Contains(reason, "full") {
		t.Errorf("one more member: %q", reason)
	}
	gone := r.byName["9"]
	r.exit(gone)
	if next := r.open(w.server, "next"); next.index != gone.index || len(r.byName) != maxRooms {
		t.Errorf("the place of room %d went to %d", gone.index, next.index)
	}
	if reason := r.enter(godwit.Conn{}, "next"); !strings.Contains(reason, "try again") || r.byName["next"] != nil {
		t.Errorf("a connection that is gone: %q, and the room is %v", reason, r.byName["next"])
	}
}

func TestRelayDisconnectsAMemberThatDoesNotRead(t *testing.T) {
	w := serveRelay(t, godwit.Config{SendBuffer: 64 << 10})
	quick, slow := w.dial(), w.dial()
	for _, c := range []godwit.Conn{quick, slow} {
		w.say(c, "\x01room", "\x01room")
	}
	m := godwit.Message{Payload: make([]byte, 16<<10)}
	for range 1000 {
		if err := quick.SendWait(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if slow.State() != godwit.StateOpen {
			break
		}
		time.Sleep(time.Millisecond)
	}
	<-slow.Done()
	var closed *godwit.CloseError
	if err := slow.Err(); !errors.As(err, &closed) || !closed.Remote || closed.Code != closeCode || !strings.Contains(closed.Reason, "read faster") {
		t.Errorf("it ends with %v", err)
	}
	w.until("it has left", func(st RelayStats) bool { return st.TooSlow == 1 && st.Members == 1 })
}

// A room that is sent more than its shards can take loses no message silently: who sent it is told, and what the others hear of him ends there.
func TestRelayDisconnectsAMemberThatOverrunsItsRoom(t *testing.T) {
	w := serveRelay(t, godwit.Config{Tuning: godwit.Tuning{MailboxBytes: 64 << 10}})
	var conns []godwit.Conn
	for range 4 {
		c := w.dial()
		w.say(c, "\x01room", "\x01room")
		conns = append(conns, c)
	}
	fast, last, listeners := conns[0], conns[1], conns[2:]
	heard := make(chan error, len(listeners))
	for _, c := range listeners {
		go func() {
			for next := uint32(0); ; next++ {
				m, err := c.Receive(t.Context(), nil)
				if err == nil && string(m.Payload) == "end" {
					heard <- nil
					return
				}
				if err != nil || binary.BigEndian.Uint32(m.Payload) != next {
					heard <- fmt.Errorf("message %d is %.4x: %w", next, m.Payload, err)
					return
				}
			}
		}()
	}
	payload := make([]byte, 4<<10)
	for i := uint32(0); fast.State() == godwit.StateOpen; i++ {
		if i == 20_000 {
			t.Fatal("its room takes all that it sends")
		}
		binary.BigEndian.PutUint32(payload, i) // begins with byte 0, which is no command
		small := 9 * (i % 2)                   // finds room where the large one before did not
		if err := fast.SendWait(t.Context(), godwit.Message{Payload: payload[:len(payload)>>small]}); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	}
	<-fast.Done()
	var closed *godwit.CloseError
	if err := fast.Err(); !errors.As(err, &closed) || !closed.Remote || closed.Code != closeCode || !strings.Contains(closed.Reason, "send slower") {
		t.Errorf("it ends with %v", err)
	}
	w.until("it has left", func(st RelayStats) bool { return st.TooFast == 1 && st.TooSlow == 0 && st.Members == 3 })
	w.send(last, godwit.Message{Payload: []byte("end")})
	for range listeners {
		if err := <-heard; err != nil {
			t.Error(err)
		}
	}
}

// Members hear everything that each of them says, in the order it was said.
func TestRelayKeepsTheOrderOfEachSender(t *testing.T) {
	const members, messages = 20, 30
	w := serveRelay(t, godwit.Config{})
	var conns []godwit.Conn
	for range members {
		c := w.dial()
		w.say(c, "\x01room", "\x01room")
		conns = append(conns, c)
	}
	failed := make(chan error, members)
	for i, c := range conns {
		go func() {
			for k := range messages {
				if err := c.SendWait(t.Context(), godwit.Message{Payload: []byte{'m', byte(i), byte(k)}}); err != nil {
					failed <- err
					return
				}
			}
			next := make([]byte, members)
			for range messages * (members - 1) {
				m, err := c.Receive(t.Context(), nil)
				if err != nil || len(m.Payload) != 3 || next[m.Payload[1]] != m.Payload[2] {
					failed <- fmt.Errorf("member %d got %q: %w", i, m.Payload, err)
					return
				}
				next[m.Payload[1]]++
			}
			failed <- nil
		}()
	}
	for range members {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if st := w.server.Stats(); st.GroupSends != members*messages || st.GroupItems > 2*st.GroupSends {
		t.Errorf("%d sends took %d items", st.GroupSends, st.GroupItems)
	}
}
