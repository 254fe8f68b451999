package godwittest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

// A world is a small authoritative game: players send steps on the ordered channel, which must all count; thirty times a second the
// server sends every player's position on the latest channel, where a newer one takes the place of an older one.
type world struct {
	players   []godwit.Conn
	positions map[godwit.Conn]int64
}

func (w *world) handler() godwit.Handler {
	return godwit.Handler{
		Open: func(c godwit.Conn) error {
			w.players = append(w.players, c)
			return nil
		},
		Message: func(c godwit.Conn, m godwit.Message) { w.positions[c] += int64(int8(m.Payload[0])) },
		Tick: func(s *godwit.Shard, _ time.Time) {
			for c := range s.Conns() {
				for k, p := range w.players {
					update := binary.BigEndian.AppendUint64(nil, uint64(w.positions[p]))
					_ = c.SendMessage(godwit.Message{Channel: godwit.LatestChannel, Key: uint64(k), Payload: update}) // the next tick says it again
				}
			}
		},
	}
}

// A screen is what one player sees.
type screen struct {
	n         *godwittest.Net
	positions [2]int64
	last      time.Duration // when the last update came
	worst     time.Duration // the longest time without one
}

func (s *screen) handler() godwit.Handler {
	return godwit.Handler{Message: func(_ godwit.Conn, m godwit.Message) {
		s.positions[m.Key] = int64(binary.BigEndian.Uint64(m.Payload))
		s.worst = max(s.worst, s.n.Now()-s.last)
		s.last = s.n.Now()
	}}
}

// Two players walk for ten seconds on a network that loses a twentieth of all datagrams, while the NAT of one forgets it and gives it
// another port. No step is lost, both see the same in the end, and nobody's screen stands still for long.
func TestGameOnABadNetwork(t *testing.T) {
	bad := godwittest.Link{Delay: 30 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.05}
	for seed := range uint64(20) {
		godwittest.Run(t, seed, bad, func(t testing.TB, n *godwittest.Net) {
			w := &world{positions: map[godwit.Conn]int64{}}
			server := n.Listen(&godwit.Config{Handler: w.handler()})
			screens := [2]*screen{{n: n}, {n: n}}
			var players [2]godwit.Conn
			for k, s := range screens {
				players[k] = n.Dial(server, &godwit.Config{Handler: s.handler()})
				s.last = n.Now()
			}
			var walked [2]int64
			for step := range 600 { // ten seconds at 60 Hz
				for k, c := range players {
					by := int64(1 + (step+k)%3)
					if err := c.Send(godwit.OrderedChannel, []byte{byte(by)}); err != nil {
						t.Fatal(err)
					}
					walked[k] += by
				}
				if step == 300 {
					n.Rebind(players[0])
				}
				n.Sleep(time.Second / 60)
			}
			n.Sleep(time.Second)
			for k, s := range screens {
				if s.positions != walked {
					t.Errorf("player %d sees %v, the players walked %v", k, s.positions, walked)
				}
				if s.worst > 500*time.Millisecond {
					t.Errorf("the screen of player %d stood still for %v", k, s.worst)
				}
			}
		})
	}
}

// A message crosses a network that is cut off for three seconds. Virtual time passes in no time, and the same way with each run.
func ExampleRun() {
	t := new(testing.T) // in a test: its own
	link := godwittest.Link{Delay: 25 * time.Millisecond, Loss: 0.05}
	godwittest.Run(t, 1, link, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(&godwit.Config{Handler: echo})
		c := n.Dial(server, nil)
		n.Blackout(3 * time.Second)
		if err := c.Send(godwit.OrderedChannel, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		m, err := c.Receive(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s after %d s\n", m.Payload, int(n.Now().Seconds()))
	})
	// Output: hello after 3 s
}
