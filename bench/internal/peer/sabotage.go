package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"godwit.example/godwit/load"
)

// Sabotages are what a broken adapter may do to messages. The self-test spoils a
// good one in each way and must notice.
var Sabotages = []string{"drop", "duplicate", "reorder", "stall"}

// sabotaged returns p with a client that spoils what it sends: its name is that of
// p, a + and the way.
func sabotaged(name string) (*Peer, error) {
	base, way, _ := strings.Cut(name, "+")
	p, err := Named(base)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Sabotages, way) || p.Transport == nil {
		return nil, fmt.Errorf("%s cannot be sabotaged by %q: peers that are not godwit's can, by %s", base, way, strings.Join(Sabotages, ", "))
	}
	q := *p
	q.Name = name
	q.Transport = func(addr netip.AddrPort, secret string) load.Transport {
		return &saboteur{Transport: p.Transport(addr, secret), way: way}
	}
	return &q, nil
}

// saboteur spoils one message of each thousand, or holds all up once.
type saboteur struct {
	load.Transport

	way   string
	sent  int
	held  []heldMessage
	began time.Time // of the stall
}

type heldMessage struct {
	conn int
	p    []byte
}

const (
	sabotageEvery = 1000
	stallTime     = 300 * time.Millisecond
)

func (s *saboteur) Send(k int, p []byte) bool {
	s.sent++
	mine := s.sent%sabotageEvery == 0
	switch s.way {
	case "drop":
		return mine || s.Transport.Send(k, p)
	case "duplicate":
		return s.Transport.Send(k, p) && (!mine || s.Transport.Send(k, p))
	case "reorder":
		return s.reorder(k, p, mine)
	default:
		return s.stall(k, p)
	}
}

// reorder holds a message until its connection's next one has been sent.
func (s *saboteur) reorder(k int, p []byte, mine bool) bool {
	if mine && len(s.held) == 0 {
		s.held = append(s.held, heldMessage{k, bytes.Clone(p)})
		return true
	}
	if !s.Transport.Send(k, p) {
		return false
	}
	if len(s.held) > 0 && s.held[0].conn == k {
		s.Transport.Send(k, s.held[0].p)
		s.held = s.held[:0]
	}
	return true
}

// stall lets nothing through for a while, once.
func (s *saboteur) stall(k int, p []byte) bool {
	if s.sent == sabotageEvery {
		s.began = time.Now()
	}
	if s.began.IsZero() || len(s.held) == 0 && time.Since(s.began) >= stallTime {
		return s.Transport.Send(k, p)
	}
	s.held = append(s.held, heldMessage{k, bytes.Clone(p)})
	if time.Since(s.began) >= stallTime {
		for _, h := range s.held {
			s.Transport.Send(h.conn, h.p)
		}
		s.held = nil
	}
	return true
}
