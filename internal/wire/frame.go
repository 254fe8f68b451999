package wire

// Frame types. A type is sent as one byte, the shortest varint (RFC 9000, section 12.4): a first byte of 0x40 or more is an
// unknown frame, and an unknown frame closes the connection with FRAME_ENCODING_ERROR.
const (
	FramePadding                   = 0x00
	FramePing                      = 0x01
	FrameAck                       = 0x02
	FrameAckECN                    = 0x03
	FrameResetStream               = 0x04
	FrameStopSending               = 0x05
	FrameCrypto                    = 0x06
	FrameNewToken                  = 0x07
	FrameStream                    = 0x08 // to 0x0f: the low bits are StreamFin, StreamLen and StreamOff
	FrameMaxData                   = 0x10
	FrameMaxChannel                = 0x11
	FrameMaxStreams                = 0x12
	FrameBlocked                   = 0x14
	FrameChannelBlocked            = 0x15
	FrameNewConnectionID           = 0x18
	FrameRetireConnectionID        = 0x19
	FramePathChallenge             = 0x1a
	FramePathResponse              = 0x1b
	FrameClose                     = 0x1c
	FrameApplicationClose          = 0x1d
	FrameHandshakeDone             = 0x1e
	FrameImmediateAck              = 0x1f
	FrameAckFrequency              = 0x20
	FrameMessage                   = 0x30
	FrameMessageKeyed              = 0x31
	FrameMessages                  = 0x32
	FrameMessagesKeyed             = 0x33
	FrameFragment                  = 0x34
	FrameFragmentKeyed             = 0x35
	FrameSkip                      = 0x36
	FrameFECSource                 = 0x40 // reserved, as are those below
	FrameRepair                    = 0x41
	FrameRecovered                 = 0x42
	FrameTimeRequest               = 0x43
	FrameTimeResponse              = 0x44
	FrameRedirect                  = 0x45
	FrameMove                      = 0x46
	numFrameTypes                  = 0x40 // those that this version knows lie below
	streamFrames            uint64 = 0xff << FrameStream
)

// Flag bits of the STREAM types (RFC 9000, section 19.8).
const (
	StreamFin = 0x01
	StreamLen = 0x02
	StreamOff = 0x04
)

// Sets of frame types, one bit a type.
const (
	everywhere uint64 = 1<<FramePadding | 1<<FramePing | 1<<FrameAck | 1<<FrameAckECN | 1<<FrameCrypto | 1<<FrameClose

	appFrames uint64 = 1<<FrameResetStream | 1<<FrameStopSending | 1<<FrameNewToken | streamFrames |
		1<<FrameMaxData | 1<<FrameMaxChannel | 1<<FrameMaxStreams | 1<<FrameBlocked | 1<<FrameChannelBlocked |
		1<<FrameNewConnectionID | 1<<FrameRetireConnectionID | 1<<FramePathChallenge | 1<<FramePathResponse |
		1<<FrameApplicationClose | 1<<FrameHandshakeDone | 1<<FrameImmediateAck | 1<<FrameAckFrequency |
		1<<FrameMessage | 1<<FrameMessageKeyed | 1<<FrameMessages | 1<<FrameMessagesKeyed |
		1<<FrameFragment | 1<<FrameFragmentKeyed | 1<<FrameSkip

	knownFrames = everywhere | appFrames

	silentFrames uint64 = 1<<FramePadding | 1<<FrameAck | 1<<FrameAckECN | 1<<FrameClose | 1<<FrameApplicationClose

	ackEliciting = knownFrames &^ silentFrames

	probingFrames uint64 = 1<<FramePadding | 1<<FramePathChallenge | 1<<FramePathResponse | 1<<FrameNewConnectionID
)

// AllowedFrames is, a level, the set of frame types that its packets may carry: bit t stands for type t.
func AllowedFrames(l Level) uint64 {
	if l == LevelOneRTT {
		return knownFrames
	}
	return everywhere
}

// IsKnownFrame reports whether this version knows frames of the type.
func IsKnownFrame(typ byte) bool { return typ < numFrameTypes && knownFrames>>typ&1 != 0 }

// IsAckEliciting reports whether a frame of the type makes its packet ack-eliciting (RFC 9002, section 2).
func IsAckEliciting(typ byte) bool { return typ < numFrameTypes && ackEliciting>>typ&1 != 0 }

// IsProbing reports whether a frame of the type is a probing frame (RFC 9000, section 9.1).
func IsProbing(typ byte) bool { return typ < numFrameTypes && probingFrames>>typ&1 != 0 }

// FrameProperties says what SPEC's table says about a frame type.
type FrameProperties struct {
	Name         string // empty for a type that this version does not know
	Levels       uint8  // bit l: allowed in packets of level l
	AckEliciting bool
	Probing      bool
	ServerOnly   bool // only a server sends it
}

// FrameInfo returns the properties of a frame type. It is for tables and diagnosis; the hot path asks the sets above.
func FrameInfo(typ byte) FrameProperties {
	if !IsKnownFrame(typ) {
		return FrameProperties{}
	}
	p := FrameProperties{
		Name:         frameNames[typ],
		AckEliciting: IsAckEliciting(typ),
		Probing:      IsProbing(typ),
		ServerOnly:   typ == FrameNewToken || typ == FrameHandshakeDone,
	}
	for l := LevelInitial; l < NumLevels; l++ {
		p.Levels |= uint8(AllowedFrames(l)>>typ&1) << l
	}
	return p
}

var frameNames = [numFrameTypes]string{
	FramePadding:            "PADDING",
	FramePing:               "PING",
	FrameAck:                "ACK",
	FrameAckECN:             "ACK_ECN",
	FrameResetStream:        "RESET_STREAM",
	FrameStopSending:        "STOP_SENDING",
	FrameCrypto:             "CRYPTO",
	FrameNewToken:           "NEW_TOKEN",
	FrameStream:             "STREAM",
	FrameStream + 1:         "STREAM",
	FrameStream + 2:         "STREAM",
	FrameStream + 3:         "STREAM",
	FrameStream + 4:         "STREAM",
	FrameStream + 5:         "STREAM",
	FrameStream + 6:         "STREAM",
	FrameStream + 7:         "STREAM",
	FrameMaxData:            "MAX_DATA",
	FrameMaxChannel:         "MAX_CHANNEL",
	FrameMaxStreams:         "MAX_STREAMS",
	FrameBlocked:            "BLOCKED",
	FrameChannelBlocked:     "CHANNEL_BLOCKED",
	FrameNewConnectionID:    "NEW_CONNECTION_ID",
	FrameRetireConnectionID: "RETIRE_CONNECTION_ID",
	FramePathChallenge:      "PATH_CHALLENGE",
	FramePathResponse:       "PATH_RESPONSE",
	FrameClose:              "CLOSE",
	FrameApplicationClose:   "APPLICATION_CLOSE",
	FrameHandshakeDone:      "HANDSHAKE_DONE",
	FrameImmediateAck:       "IMMEDIATE_ACK",
	FrameAckFrequency:       "ACK_FREQUENCY",
	FrameMessage:            "MESSAGE",
	FrameMessageKeyed:       "MESSAGE keyed",
	FrameMessages:           "MESSAGES",
	FrameMessagesKeyed:      "MESSAGES keyed",
	FrameFragment:           "FRAGMENT",
	FrameFragmentKeyed:      "FRAGMENT keyed",
	FrameSkip:               "SKIP",
}
