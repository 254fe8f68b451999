package peer

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/load"
)

// Each peer carries small messages and, if it can, large ones, and the server's
// receipts: both ends in this process, so that it is a test and no measurement.
func TestPeers(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("-short leaves out a second or two for each of some twenty peers")
			}
			t.Run("open loop", func(t *testing.T) {
				check(t, p, "echo", load.Config{Connections: 5, Size: 128, Rate: 1000, Duration: 300 * time.Millisecond})
			})
			t.Run("closed loop", func(t *testing.T) {
				check(t, p, "echo", load.Config{Connections: 5, Size: 64, Outstanding: 16, Duration: 300 * time.Millisecond})
			})
			if p.MaxMessage == 0 || p.MaxMessage >= 64<<10 {
				t.Run("one way", func(t *testing.T) {
					check(t, p, "sink", load.Config{Connections: 1, Size: 64 << 10, Outstanding: 8, Receipts: true, Duration: 300 * time.Millisecond})
				})
			}
		})
	}
}

func check(t *testing.T, p *Peer, app string, cfg load.Config) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	type place struct {
		addr   netip.AddrPort
		secret string
	}
	up, ended := make(chan place, 1), make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() {
		ended <- p.Serve(serving, Answers[app], func(addr netip.AddrPort, secret string) { up <- place{addr, secret} })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server: %v", err)
		}
	}()
	select {
	case at := <-up:
		cfg.Warmup = 100 * time.Millisecond
		r, err := p.Run(ctx, cfg, at.addr, at.secret)
		if err == nil && r.Received == 0 { // a first packet may be lost, and some wait for seconds before they repeat it
			cfg.Duration = 5 * time.Second
			r, err = p.Run(ctx, cfg, at.addr, at.secret)
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Received == 0 || r.Corrupted != 0 || p.Mode.Reliable() && r.Lost != 0 {
			t.Errorf("%+v", r)
		}
	case err := <-ended:
		ended <- nil
		t.Fatalf("the server: %v", err)
	case <-ctx.Done():
		t.Fatal("the server is not up")
	}
}

func TestTooManyConnectionsAreRefused(t *testing.T) {
	p := &Peer{Name: "small", MaxConnections: 3}
	_, err := p.Run(t.Context(), load.Config{Connections: 4}, listen, "")
	if err == nil || !strings.Contains(err.Error(), "small takes at most 3") {
		t.Errorf("4 connections to a peer that takes 3: %v", err)
	}
}
