package netem

import "time"

// Stats are the figures of a proxy since it was opened. Counts only grow. The names in JSON are those of the fields in lower case with
// underscores.
type Stats struct {
	Uptime time.Duration `json:"uptime_ns"`
	Up     LinkStats     `json:"up"`   // from the clients to the target
	Down   LinkStats     `json:"down"` // back

	Flows        int    `json:"flows"` // clients that are remembered
	FlowsOpened  uint64 `json:"flows_opened"`
	FlowsExpired uint64 `json:"flows_expired"` // forgotten after Config.IdleTimeout
	Rebinds      uint64 `json:"rebinds"`       // of flows

	// KernelDrops counts datagrams that the kernel dropped because the proxy did not read them in time: losses that nobody drew. It is
	// known where the kernel says so, with the next datagram. BufferHint says how to make the socket's buffer larger, if it is small.
	KernelDrops uint64 `json:"kernel_drops"`
	BufferHint  string `json:"buffer_hint,omitempty"`
	// Unreachable counts answers by ICMP that nobody listens at the target, as far as the kernel passes them on.
	Unreachable uint64 `json:"unreachable"`
}

// LinkStats are the figures of one direction. At any time Received and Duplicated together are the sum of Forwarded, Unsent, Lost, BurstLost,
// BlackedOut, TooLarge, QueueDropped, NoFlow, Overflowed and UnderWay.
type LinkStats struct {
	Received       uint64 `json:"received"` // datagrams read from the sockets
	ReceivedBytes  uint64 `json:"received_bytes"`
	Forwarded      uint64 `json:"forwarded"` // datagrams that the kernel took
	ForwardedBytes uint64 `json:"forwarded_bytes"`
	UnderWay       int    `json:"under_way"` // datagrams whose time has not come

	// What the link did on purpose.
	Lost         uint64 `json:"lost"`          // by Link.Loss
	BurstLost    uint64 `json:"burst_lost"`    // by Link.Burst
	BlackedOut   uint64 `json:"blacked_out"`   // by Blackout
	TooLarge     uint64 `json:"too_large"`     // longer than Link.MTU
	QueueDropped uint64 `json:"queue_dropped"` // found the bottleneck's queue full
	Duplicated   uint64 `json:"duplicated"`    // additional copies
	Reordered    uint64 `json:"reordered"`     // took longer than those behind them may have
	Corrupted    uint64 `json:"corrupted"`     // had a bit flipped
	// QueueMost is the longest that the bottleneck's queue has been, in bytes, what was under way through the bottleneck included.
	QueueMost int64 `json:"queue_most"`

	// What went wrong.
	NoFlow     uint64 `json:"no_flow"`    // dropped: of clients beyond Config.MaxFlows, or whose socket could not be opened
	Overflowed uint64 `json:"overflowed"` // dropped: Config.Buffer was full
	Unsent     uint64 `json:"unsent"`     // dropped: empty, or the kernel did not take them

	// Lateness is how long after its time a datagram was given to the kernel; of those whose time is at once, how long the proxy took
	// from reading to sending. Late counts those that were late by more than a millisecond.
	Late         uint64        `json:"late"`
	MeanLateness time.Duration `json:"mean_lateness_ns"`
	MaxLateness  time.Duration `json:"max_lateness_ns"`
}

// sum adds up what became of all datagrams.
func (s *LinkStats) sum() uint64 {
	return s.Forwarded + s.Unsent + s.Lost + s.BurstLost + s.BlackedOut + s.TooLarge + s.QueueDropped + s.NoFlow + s.Overflowed + uint64(s.UnderWay)
}
