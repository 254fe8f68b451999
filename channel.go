package godwit

import (
	"fmt"

	"godwit.example/godwit/internal/proto"
)

// Channel is the number of a channel, 0 to 255. Channels are independent of each other: a lost message holds
// up only later messages of its own channel, and only if the channel is ordered.
type Channel uint16

// The channels that exist without configuration, one for each mode.
const (
	OrderedChannel    Channel = 0
	UnorderedChannel  Channel = 1
	LatestChannel     Channel = 2
	SequencedChannel  Channel = 3
	UnreliableChannel Channel = 4
)

// maxChannels is the number of message channels of a connection.
const maxChannels = 256

// Mode says what a channel promises for its messages.
type Mode uint8

// The modes of a channel.
const (
	Ordered    = Mode(proto.Ordered)    // each message once, in the order sent
	Unordered  = Mode(proto.Unordered)  // each message once, as it arrives
	Latest     = Mode(proto.Latest)     // the newest message of each Key, at least that one; older ones may be skipped
	Sequenced  = Mode(proto.Sequenced)  // not repeated when lost; older than the newest delivered is dropped
	Unreliable = Mode(proto.Unreliable) // not repeated when lost; delivered as it arrives
)

var modeNames = [...]string{"ordered", "unordered", "latest", "sequenced", "unreliable"}

// String returns the mode's name in lower case.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// Reliable reports whether messages of the mode are repeated until the peer has them.
func (m Mode) Reliable() bool { return m <= Latest }

// ChannelConfig shapes one channel. Both ends must configure a channel alike.
type ChannelConfig struct {
	// Mode is the delivery guarantee. The zero value is Ordered.
	Mode Mode
	// Priority orders channels: as long as a channel of higher priority has something to send, lower ones share 1/32
	// of the bytes.
	Priority int8
	// Weight is the share of the channel among those of equal priority, 1 to 255; 0 means 16.
	Weight uint8
}

const defaultWeight = 16

// defaultChannel is the configuration of a channel that Config.Channels does not name.
func defaultChannel(ch Channel) ChannelConfig {
	c := ChannelConfig{Weight: defaultWeight}
	if ch <= UnreliableChannel {
		c.Mode = Mode(ch)
	}
	return c
}
