package process

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Echo is a running examples/echo, or another server that takes its address as its only argument.
type Echo struct {
	*Server

	Addr     string
	Identity string // directory of its development identity
}

// StartEcho starts a program of Program at a free port of loopback and waits until it has its identity, which appears before its socket. Until
// that is there, handshakes go unanswered and are repeated.
func StartEcho(ctx context.Context, place Place, program string) (*Echo, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := Start(place.Command(ctx, program, addr))
	if err != nil {
		return nil, err
	}
	s := &Echo{Server: p, Addr: addr, Identity: filepath.Join(place.State, "godwit")}
	for range 100 {
		if _, err := s.Memory(); err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(s.Identity, "identity.pem")); err == nil {
			return s, nil
		}
		if err := Wait(ctx, 20*time.Millisecond); err != nil {
			s.Stop()
			return nil, err
		}
	}
	return nil, s.Failed(errors.New("the server does not start: it has made no identity"))
}

// freeAddress finds a port that nobody has at the moment.
func freeAddress() (string, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.LocalAddr().String(), nil
}

// Wait lets d pass, or returns the error of ctx when that ends.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
