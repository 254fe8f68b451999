package godwit

import (
	"fmt"
	"io"
	"time"

	"godwit.example/godwit/internal/shard"
)

// Stats are the figures of an endpoint since it was opened. Counts only grow. They are those of the last 100 ms in which a shard
// did anything. Those of a dialed connection's endpoint are of all dials that share its engine.
// The names in JSON, as on the page /varz of the gateway, are those of the fields in lower case with underscores.
type Stats struct {
	Uptime      time.Duration `json:"uptime_ns"`
	Engine      string        `json:"engine"` // Config.Engine, the default filled in
	Shards      int           `json:"shards"`
	Connections int           `json:"connections"` // alive, the closing ones too
	HalfOpen    int           `json:"half_open"`   // handshakes whose client has not proven its address

	Hibernating           int    `json:"hibernating"`     // connections that are records now
	Opened                uint64 `json:"opened"`          // connections
	Closed                uint64 `json:"closed"`          // connections
	Handshakes            uint64 `json:"handshakes"`      // completed
	HandshakesShed        uint64 `json:"handshakes_shed"` // not begun for want of workers
	RetriesSent           uint64 `json:"retries_sent"`
	RetriesSuppressed     uint64 `json:"retries_suppressed"`
	Refused               uint64 `json:"refused"`           // connections there was no room for
	AuthorizeRefused      uint64 `json:"authorize_refused"` // clients turned away because 1,024 calls of Config.Authorize were under way
	StreamsRefused        uint64 `json:"streams_refused"`   // streams reset because nobody accepted those of NetListener in time
	StreamsOpened         uint64 `json:"streams_opened"`    // by this end
	StreamsAccepted       uint64 `json:"streams_accepted"`  // opened by peers
	StreamsReset          uint64 `json:"streams_reset"`     // directions of streams that either end gave up
	StreamBytesSent       uint64 `json:"stream_bytes_sent"` // each once, as BytesSent; not among those
	StreamBytesReceived   uint64 `json:"stream_bytes_received"`
	StreamBytesRepeated   uint64 `json:"stream_bytes_repeated"` // sent again because they were lost
	MessagesSent          uint64 `json:"messages_sent"`
	MessagesReceived      uint64 `json:"messages_received"`
	BytesSent             uint64 `json:"bytes_sent"`     // of payload
	BytesReceived         uint64 `json:"bytes_received"` // of payload
	PacketsSent           uint64 `json:"packets_sent"`
	PacketsReceived       uint64 `json:"packets_received"`
	PacketsLost           uint64 `json:"packets_lost"`     // declared lost
	PacketsSpurious       uint64 `json:"packets_spurious"` // of those, acknowledged later
	MessagesRetransmitted uint64 `json:"messages_retransmitted"`
	DatagramsSent         uint64 `json:"datagrams_sent"`
	DatagramsReceived     uint64 `json:"datagrams_received"`
	WireBytesSent         uint64 `json:"wire_bytes_sent"`     // of UDP payload
	WireBytesReceived     uint64 `json:"wire_bytes_received"` // of UDP payload
	Trains                uint64 `json:"trains"`              // entries handed to the kernel: datagrams side by side for one peer
	Expired               uint64 `json:"expired"`             // messages given up because their TTL had passed
	Superseded            uint64 `json:"superseded"`          // because a newer one of their key took their place
	Evicted               uint64 `json:"evicted"`             // because the buffer was full
	SendsDropped          uint64 `json:"sends_dropped"`       // unreliable messages that found the mailbox full
	GroupSends            uint64 `json:"group_sends"`         // calls of Group.Send
	GroupItems            uint64 `json:"group_items"`         // messages that shards took for them, at most one a call and shard
	GroupDeliveries       uint64 `json:"group_deliveries"`    // of those, messages given to a member
	GroupSkipped          uint64 `json:"group_skipped"`       // not given: it had no room or was closed meanwhile, or the TTL was over
	GroupOverflows        uint64 `json:"group_overflows"`     // times that too many messages waited for members, so that all of a group were given theirs out of turn
	GroupRefused          uint64 `json:"group_refused"`       // group messages that a shard's mailbox had no room for
	Unread                uint64 `json:"unread"`              // unreliable messages dropped because Receive, or a worker of Async, was too slow
	Strays                uint64 `json:"strays"`              // datagrams of no connection
	Malformed             uint64 `json:"malformed"`           // unreadable
	FailedPackets         uint64 `json:"failed_packets"`      // packets not authentic
	DuplicatePackets      uint64 `json:"duplicate_packets"`   // packets seen before
	HalfOpenFull          uint64 `json:"half_open_full"`      // handshakes not begun because the table of unproven clients was full
	ResetsSent            uint64 `json:"resets_sent"`         // stateless resets
	Forwarded             uint64 `json:"forwarded"`           // datagrams handed to another shard
	Faults                uint64 `json:"faults"`              // connections dropped for an error of this library
	SlowHandlers          uint64 `json:"slow_handlers"`       // times that handlers held up their shard for over a millisecond
	Panics                uint64 `json:"panics"`              // panics given to Config.Panic
	Stalls                uint64 `json:"stalls"`              // times that a shard was held up for over a millisecond by others: the kernel ran something else, as a rule
	Hibernations          uint64 `json:"hibernations"`        // times that a connection became a record
	Wakes                 uint64 `json:"wakes"`               // ... and was unpacked again
	WakesShed             uint64 `json:"wakes_shed"`          // packets for such connections that were not tried, because too many before were not authentic
	PoolHeld              int64  `json:"pool_held"`           // bytes of the buffer pools
	Waits                 uint64 `json:"waits"`               // times that a shard slept until there was work
	WaitsHeld             uint64 `json:"waits_held"`          // of those, that kept their processor because datagrams came in quick succession
	Spins                 uint64 `json:"spins"`               // that it looked again instead
	SpinPauses            uint64 `json:"spin_pauses"`         // that it stopped looking for a while, because others wanted its CPU or the system does not say whether they do
	ReadCalls             uint64 `json:"read_calls"`          // system calls to receive
	WriteCalls            uint64 `json:"write_calls"`         // system calls to send
	KernelDrops           uint64 `json:"kernel_drops"`        // datagrams the kernel dropped for want of buffer
	GSO                   bool   `json:"gso"`                 // segmentation offload, in force on every socket
	GRO                   bool   `json:"gro"`                 // receive offload, in force on every socket
	ReceiveBuffer         int    `json:"receive_buffer"`      // bytes the kernel granted each socket; the least of them
	Impaired              bool   `json:"impaired"`            // Config.Impair is set
	ImpairDropped         uint64 `json:"impair_dropped"`      // datagrams that it dropped, of both directions
	BufferHint            string `json:"buffer_hint"`         // how an administrator grants more; empty if all that was asked for was granted
}

// Stats returns the endpoint's figures.
func (e *Endpoint) Stats() Stats {
	st := Stats{Uptime: e.limits.now().Sub(e.opened), Engine: e.limits.Engine, Shards: len(e.engine.shards), GSO: true, GRO: true}
	for _, s := range e.engine.shards {
		n := s.Stats()
		st.add(&n)
	}
	for _, s := range e.engine.sockets {
		if i, ok := s.(*impairedSocket); ok {
			st.Impaired = true
			st.ImpairDropped += i.out.dropped.Load() + i.in.dropped.Load()
		}
	}
	st.Panics, st.Unread = e.panics.Load(), e.unread.Load()
	st.AuthorizeRefused, st.StreamsRefused = e.unasked.Load(), e.listening.refused.Load()
	st.GroupSends, st.GroupRefused = e.groupSends.Load(), e.groupRefused.Load()
	return st
}

func (st *Stats) add(n *shard.Snapshot) {
	st.Connections += n.Connections
	st.HalfOpen += n.HalfOpen
	st.Hibernating += n.Hibernating
	st.Opened += n.Opened
	st.Closed += n.Closed
	st.Handshakes += n.HandshakesDone
	st.HandshakesShed += n.HandshakesShed
	st.RetriesSent += n.RetriesSent
	st.RetriesSuppressed += n.RetriesSuppressed
	st.Refused += n.Refused
	st.StreamsOpened += n.Proto.StreamsOpened
	st.StreamsAccepted += n.Proto.StreamsAccepted
	st.StreamsReset += n.Proto.StreamsReset
	st.StreamBytesSent += n.Proto.StreamBytesSent
	st.StreamBytesReceived += n.Proto.StreamBytesReceived
	st.StreamBytesRepeated += n.Proto.StreamBytesRetransmitted
	st.MessagesSent += n.Proto.MessagesSent
	st.MessagesReceived += n.Proto.MessagesReceived
	st.BytesSent += n.Proto.BytesSent
	st.BytesReceived += n.Proto.BytesReceived
	st.PacketsSent += n.Proto.PacketsSent
	st.PacketsReceived += n.Proto.PacketsReceived
	st.PacketsLost += n.Proto.PacketsLost
	st.PacketsSpurious += n.Proto.PacketsSpurious
	st.MessagesRetransmitted += n.Proto.MessagesRetransmitted
	st.DatagramsSent += n.Segments
	st.DatagramsReceived += n.Datagrams
	st.WireBytesSent += n.BytesOut
	st.WireBytesReceived += n.BytesIn
	st.Trains += n.Trains
	st.Expired += n.Proto.Expired
	st.Superseded += n.Proto.Superseded
	st.Evicted += n.Proto.Evicted
	st.SendsDropped += n.SendsDropped
	st.GroupItems += n.GroupItems
	st.GroupDeliveries += n.GroupDeliveries
	st.GroupSkipped += n.GroupSkipped
	st.GroupOverflows += n.GroupOverflows
	st.Strays += n.Strays
	st.Malformed += n.Malformed
	st.FailedPackets += n.FailedPackets
	st.DuplicatePackets += n.DuplicatePackets
	st.HalfOpenFull += n.HalfOpenFull
	st.ResetsSent += n.ResetsSent
	st.Forwarded += n.Forwarded
	st.Faults += n.Faults
	st.SlowHandlers += n.SlowHandlers
	st.Stalls += n.Stalls
	st.Hibernations += n.Hibernations
	st.Wakes += n.Wakes
	st.WakesShed += n.WakesShed
	st.PoolHeld += n.PoolHeld
	st.Waits += n.Socket.Waits
	st.WaitsHeld += n.Socket.HeldWaits
	st.Spins += n.Spins
	st.SpinPauses += n.SpinPauses
	st.ReadCalls += n.Socket.ReadCalls
	st.WriteCalls += n.Socket.WriteCalls
	st.KernelDrops += n.Socket.KernelDrops
	st.GSO = st.GSO && n.Socket.GSO
	st.GRO = st.GRO && n.Socket.GRO
	if st.ReceiveBuffer == 0 || n.Socket.ReceiveBuffer < st.ReceiveBuffer {
		st.ReceiveBuffer, st.BufferHint = n.Socket.ReceiveBuffer, n.Socket.Hint
	}
}

// WriteReport writes the endpoint's figures as text for people.
func (e *Endpoint) WriteReport(w io.Writer) error {
	st := e.Stats()
	where := e.addr.String()
	if e.dialed {
		where = "of dialed connections"
	}
	seconds := max(st.Uptime.Seconds(), 1e-9)
	_, err := fmt.Fprintf(w, `godwit endpoint %v, up %v
  shards %d, connections %d (%d half open, %d hibernating), opened %d, closed %d, refused %d
  messages  sent %d (%.0f/s), received %d (%.0f/s), repeated %d, expired %d, superseded %d, evicted %d
  payload   sent %d B, received %d B
  streams   opened %d, accepted %d, reset %d, refused %d; sent %d B, repeated %d B, received %d B
  packets   sent %d, received %d, lost %d (%.3f %%), spurious %d
  datagrams sent %d in %d trains (%.1f a train), received %d; %.1f B a sent message on the wire
  socket    %s engine, %d reads, %d writes, GSO %v, GRO %v, kernel drops %d
  dropped   strays %d, malformed %d, not authentic %d; resets sent %d
  handshakes %d, retries %d, shed %d
  memory    %d B of buffers; slow handlers %d, stalls %d, panics %d
`,
		where, st.Uptime.Round(time.Millisecond),
		st.Shards, st.Connections, st.HalfOpen, st.Hibernating, st.Opened, st.Closed, st.Refused,
		st.MessagesSent, float64(st.MessagesSent)/seconds, st.MessagesReceived, float64(st.MessagesReceived)/seconds,
		st.MessagesRetransmitted, st.Expired, st.Superseded, st.Evicted,
		st.BytesSent, st.BytesReceived,
		st.StreamsOpened, st.StreamsAccepted, st.StreamsReset, st.StreamsRefused, st.StreamBytesSent, st.StreamBytesRepeated, st.StreamBytesReceived,
		st.PacketsSent, st.PacketsReceived, st.PacketsLost, 100*ratio(st.PacketsLost, st.PacketsSent), st.PacketsSpurious,
		st.DatagramsSent, st.Trains, ratio(st.DatagramsSent, st.Trains), st.DatagramsReceived, ratio(st.WireBytesSent, st.MessagesSent),
		st.Engine, st.ReadCalls, st.WriteCalls, st.GSO, st.GRO, st.KernelDrops,
		st.Strays, st.Malformed, st.FailedPackets, st.ResetsSent,
		st.Handshakes, st.RetriesSent, st.HandshakesShed,
		st.PoolHeld, st.SlowHandlers, st.Stalls, st.Panics)
	return err
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
