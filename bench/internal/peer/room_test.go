package peer

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"godwit.example/godwit/bench/internal/room"
)

// Each peer that has a server of rooms relays, and is an authority: both ends in
// this process, so that it is a test and no measurement.
func TestRooms(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out a second or two for each of some twenty peers")
	}
	for _, p := range All() {
		if p.Room == nil {
			continue
		}
		for name, app := range map[string]room.App{"relay": {}, "authority": {State: 1000, Tick: time.Second / 30}, "large": {State: 4000, Tick: time.Second / 30}} {
			if p.MaxMessage > 0 && app.State > p.MaxMessage {
				continue
			}
			t.Run(p.Name+"/"+name, func(t *testing.T) {
				t.Parallel() // ticks are waited for, most of the time
				l := room.Load{App: app, Members: 6, Size: 128, Rate: 30, Duration: 400 * time.Millisecond, Warmup: 100 * time.Millisecond}
				if app.Relay() {
					l.Each = 10
				}
				checkRoom(t, p, &l)
			})
		}
	}
}

func checkRoom(t *testing.T, p *Peer, l *room.Load) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	up, ended := make(chan room.Transport, 1), make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() {
		ended <- p.ServeApp(serving, l.App.String(), func(addr netip.AddrPort, secret string) { up <- p.Members(l, addr, secret) })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server: %v", err)
		}
	}()
	select {
	case members := <-up:
		r, f, err := room.Run(ctx, l, members, os.Getpid(), "")
		if err != nil {
			t.Fatal(err)
		}
		if r.Corrupted > 0 || r.Lost > 0 || f.StatesDelivered < f.StatesDue/2 || f.InputsTaken != nil && *f.InputsTaken < 0.9 {
			t.Errorf("%+v\n%+v", r, f)
		}
	case err := <-ended:
		ended <- nil
		t.Fatalf("the server: %v", err)
	case <-ctx.Done():
		t.Fatal("the server is not up")
	}
}
