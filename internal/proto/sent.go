package proto

import (
	"godwit.example/godwit/internal/mono"
)

// recordKind tells what a sent frame carried, so that it can be settled when its packet is acknowledged or lost.
type recordKind uint8

const (
	recAck            recordKind = iota // id = largest number acknowledged by the frame (acks of acks prune ranges)
	recMessages                         // channel, id = first, n = count: whole messages with consecutive IDs
	recFragment                         // channel, id, off, n = bytes
	recSkip                             // channel, id = up to
	recMaxData                          // id = limit
	recMaxChannel                       // channel, id = limit
	recBlocked                          // id = limit
	recChannelBlocked                   // channel, id = limit
	recCrypto                           // channel = level, off, n
	recHandshakeDone
	recNewConnID    // id = sequence number
	recRetireConnID // id = sequence number
	recAckFrequency // id = sequence number
	recPing
	recNewToken
	// Of streams: channel<<32 | off is the stream's number above 256.
	recStream        // n = bytes, recordFin; id = offset
	recStreamReset   // nothing
	recStreamStop    // nothing
	recStreamMax     // id = limit
	recStreamBlocked // id = limit
	recMaxStreams    // id = limit
)

// record is one frame of a sent packet: 24 bytes, no pointers. What was sent is repeated, never the packet.
type record struct {
	kind    recordKind
	channel uint16
	n       uint32
	off     uint32
	id      uint64
}

// sentPacket is what recovery remembers of one packet.
type sentPacket struct {
	time    mono.Time
	first   uint32 // index of its first record in the space's record log
	records uint16
	size    uint16
	state   packetState
	flags   uint8
}

type packetState uint8

const (
	packetOutstanding packetState = iota
	packetAcked
	packetLost
	packetSkipped // its number was never sent (optimistic-ACK defence)
)

const (
	flagAckEliciting uint8 = 1 << iota
	flagInFlight
	flagMTUProbe
	flagECT  // sent with ECT(0)
	flagPath // validates a path: not bound by the window
)

// sentLog keeps the packets of one packet-number space from the oldest unsettled to the newest, and their records, both in
// rings indexed by ever-growing counters.
type sentLog struct {
	packets ring[sentPacket]
	records ring[record]
	base    uint64 // packet number of packets.at(0)
	recBase uint32 // counter of records.at(0)
}

// add appends a record for the packet under construction.
func (l *sentLog) add(r record) { l.records.push(r) }
