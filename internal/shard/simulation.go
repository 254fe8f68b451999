package shard

import (
	"net/netip"
	"sync"

	"godwit.example/godwit/internal/mono"
)

// Simulation takes the place of sockets, clock and randomness, so that real endpoints run in virtual time. Package godwittest provides it; a nil
// one is the real world. With Wait it takes the place of goroutines too: everything runs on one. Without, shards run and callers wait as in
// the real world, and Start, Stop and Later are not used.
type Simulation struct {
	// Listen opens the sockets of a server, Client those of a shard that dials.
	Listen func(addr netip.AddrPort, shards int) ([]Socket, error)
	Client func() (Socket, error)
	Now    func() mono.Time
	// Seed returns the next seed of whatever needs randomness.
	Seed func() [32]byte
	// Start has the shard stepped from now on, Stop steps it a last time.
	Start, Stop func(s *Shard)
	// Wait lets time pass until ready returns true. What waits for a channel in the real world calls it on the goroutine of the
	// simulation.
	Wait func(ready func() bool) error
	// Later runs fn between two steps.
	Later func(fn func())
	// RealTLS runs TLS instead of the fake handshake, which is faster and the same each time.
	RealTLS bool
	// ShardOf returns the shard of a connection of the public face. The root sets it by Once, because endpoints are opened by many goroutines.
	ShardOf func(conn any) *Shard
	Once    sync.Once
}

// Socket returns what the shard sends and receives through.
func (s *Shard) Socket() Socket { return s.socket }

// SocketOf returns the socket of a connection that has one of its own. The shard must not be running.
func (s *Shard) SocketOf(r Ref) (socket uint32, ok bool) {
	p := s.find(r.Slot, r.Gen)
	if p == nil || !p.ownSock {
		return 0, false
	}
	return p.socket, true
}

// Idle announces that the shard will not be stepped until its socket has something, Wake was called, or the time that Step
// returned has come. It returns false if there is more to do at once.
func (s *Shard) Idle() bool { return s.mailbox.Sleep() }
