package shard

import "testing"

// TestSessionsEndWithTheirShard has a worker finish with a session before, and after, its shard is released: nobody else knows of it, and it
// may have a goroutine of its own.
func TestSessionsEndWithTheirShard(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := newWorld(t, 1, nil).client
		ended := 0
		h := &handshake{shard: s, session: &fakeSession{client: true, ended: &ended}, busy: true}
		if late {
			s.Release()
			s.post(h)
		} else {
			s.post(h)
			s.Release()
		}
		if ended != 1 {
			t.Errorf("late %v: the session was closed %d times", late, ended)
		}
	}
}
