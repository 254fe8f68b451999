package shard

import (
	"sync"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
)

// Counters is what a shard counts beside its connections' own counts. They only grow.
type Counters struct {
	Datagrams, BytesIn         uint64 // received
	Trains, Segments, BytesOut uint64 // sent: entries, datagrams, bytes
	Cycles                     uint64

	Opened, Closed, Confirmed, Dials  uint64 // connections
	HandshakesStarted, HandshakesDone uint64 // sessions of a server begun, and all that completed
	HandshakesShed                    uint64 // not begun because the workers had too much to do
	HalfOpenFull, HalfOpenExpired     uint64
	RetriesSent, RetriesSuppressed    uint64
	RetriesFollowed                   uint64 // as a client
	TokensRejected                    uint64
	Refused                           uint64 // no room, or shutting down
	VersionsNegotiated, ResetsSent    uint64

	Malformed, Strays               uint64 // datagrams dropped: unreadable, of no connection
	FailedPackets, DuplicatePackets uint64 // packets dropped: not authentic, seen before
	NoKeys                          uint64 // packets dropped for want of keys
	Forwarded, ForwardsDropped      uint64 // datagrams of another shard
	SocketErrors, SocketFull        uint64
	GroupItems, GroupDeliveries     uint64 // a group's messages taken from the mailbox; times that one was given to a member
	GroupSkipped                    uint64 // times that a member did not take one
	GroupOverflows                  uint64 // times that too many messages waited, so that a group's members were given theirs at once
	SendsFailed, SendsDropped       uint64 // messages refused by their connection; unreliable ones without room in the mailbox
	Faults, SlotsLost               uint64 // panics of this code that cost one connection; slots that could not even be freed
	KeyUpdates, SlowHandlers        uint64
	Stalls                          uint64 // times that something else than a handler held the shard up for over a millisecond
	Spins, SpinPauses               uint64 // looks for work that took the place of sleeping; times that others wanted the CPU for that
	KeysEvicted, Rests              uint64 // idle: cipher objects let go, times that a quiet shard gave memory back
	Hibernations, Wakes             uint64 // connections packed into records, and unpacked again
	WakesShed                       uint64 // packets for connections that hibernate that were not tried, because too many before were not authentic
}

// Snapshot is a shard's figures at one moment.
type Snapshot struct {
	Counters
	Proto       proto.Stats
	Connections int // alive, the closing ones too
	Hibernating int // of them
	HalfOpen    int
	PoolHeld    int64
	PoolInUse   int
	Socket      udp.Stats
	At          mono.Time
}

// publisher keeps the snapshot that other goroutines read. The shard renews it at most every publishEvery, and once more after it fell
// idle, so the hot path pays a comparison.
type publisher struct {
	mu   sync.Mutex
	last Snapshot
	due  mono.Time // when the next one is published; Never if nothing happened since the last
}

// publish renews the snapshot if it is due.
func (s *Shard) publish(now mono.Time) {
	s.counters.Cycles++
	p := &s.published
	if now < p.due {
		if p.due == mono.Never &&
			(s.counters.Datagrams != p.last.Datagrams || s.counters.Trains != p.last.Trains || s.live != p.last.Connections ||
				s.counters.GroupItems != p.last.GroupItems || s.hibernating != p.last.Hibernating) {
			p.due = now.Add(publishEvery)
		}
		return
	}
	p.due = mono.Never
	s.snapshot(now)
	if s.cfg.Published != nil {
		s.cfg.Published(now)
	}
}

func (s *Shard) snapshot(now mono.Time) {
	s.counters.SendsDropped = s.dropped.Load()
	s.counters.SpinPauses = s.spinner.pauses
	pool := s.shared.Pool.Stats()
	p := &s.published
	p.mu.Lock()
	p.last = Snapshot{
		Counters: s.counters, Proto: s.shared.Stats, Connections: s.live, Hibernating: s.hibernating, HalfOpen: s.halfOpen.used - s.halfOpen.soft,
		PoolHeld: pool.Held, PoolInUse: s.shared.Pool.InUse(), Socket: s.socket.Stats(), At: now,
	}
	p.mu.Unlock()
}

// Stats returns the figures of the last 100 ms in which the shard did anything.
func (s *Shard) Stats() Snapshot {
	s.published.mu.Lock()
	defer s.published.mu.Unlock()
	return s.published.last
}
