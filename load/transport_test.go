package load

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"godwit.example/godwit"
)

// mirror is a Transport that returns what answer makes of each message, at the next turn.
type mirror struct {
	answer func(n int, p []byte) []byte
	back   [][]byte
	conns  []int
	sent   int
	closed bool
	fails  error
}

func (m *mirror) Connect(context.Context, int) error { return nil }

func (m *mirror) Send(k int, p []byte) bool {
	m.back, m.conns = append(m.back, m.answer(m.sent, p)), append(m.conns, k)
	m.sent++
	return true
}

func (m *mirror) Drive(ctx context.Context, l *Load) error {
	for ctx.Err() == nil && m.fails == nil {
		wait, done := l.Turn()
		if done {
			return nil
		}
		if len(m.back) == 0 {
			time.Sleep(min(wait, time.Millisecond))
			continue
		}
		back, conns := m.back, m.conns
		m.back, m.conns = nil, nil
		l.Arrived()
		for i, p := range back {
			if p != nil {
				l.Message(conns[i], p)
			}
		}
	}
	return m.fails
}

func (m *mirror) Close() { m.closed = true }

func peerRun(t *testing.T, m *mirror, cfg Config) (*Result, error) {
	cfg.Addr, cfg.Connections, cfg.Rate, cfg.Duration, cfg.Warmup = "127.0.0.1:9", 2, 2000, 100*ms, -1
	return RunPeer(deadline(t), cfg, Peer{Name: "mirror", Transport: m, Mode: godwit.Ordered})
}

func TestPeersAreJudgedByTheSameGenerator(t *testing.T) {
	echo := func(_ int, p []byte) []byte { return bytes.Clone(p) }
	finished := false
	m := &mirror{answer: echo}
	r, err := peerRun(t, m, Config{Finished: func() { finished = !m.closed }})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, 2)
	if !m.closed || !finished {
		t.Errorf("closed %v, Finished called before that %v", m.closed, finished)
	}
	r, err = peerRun(t, &mirror{answer: func(n int, p []byte) []byte {
		p = bytes.Clone(p)
		if n == 7 {
			p[30] ^= 1
		}
		return p
	}}, Config{})
	if err != nil || r.Corrupted == 0 {
		t.Errorf("one message of 200 was changed: %+v, %v", r, err)
	}
	broken := errors.New("broken")
	if _, err := peerRun(t, &mirror{answer: echo, fails: broken}, Config{}); !errors.Is(err, broken) {
		t.Errorf("a transport that breaks: %v", err)
	}
}

func TestReceipts(t *testing.T) {
	r, err := peerRun(t, &mirror{answer: func(_ int, p []byte) []byte { return AppendReceipt(nil, p) }}, Config{Receipts: true, Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, 2)
	r, err = peerRun(t, &mirror{answer: func(n int, p []byte) []byte {
		if n == 7 {
			p[4000] ^= 1
		}
		return AppendReceipt(nil, p)
	}}, Config{Receipts: true, Size: 4096})
	if err != nil || r.Corrupted == 0 {
		t.Errorf("a message was changed on the way to the server: %+v, %v", r, err)
	}
}
