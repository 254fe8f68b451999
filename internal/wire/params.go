package wire

import "encoding/binary"

// Identifiers of transport parameters: those of RFC 9000, RFC 9368 and draft-ietf-quic-ack-frequency, and godwit's own from
// 0x6700 on. Any other, such as the grease of RFC 9000, section 18.1 (27 + 31·N), is ignored.
const (
	paramOriginalDst       = 0x00
	paramMaxIdleTimeout    = 0x01
	paramResetToken        = 0x02
	paramMaxUDPPayload     = 0x03
	paramInitialMaxData    = 0x04
	paramInitialMaxStreams = 0x08
	paramAckDelayExponent  = 0x0a
	paramMaxAckDelay       = 0x0b
	paramActiveConnIDLimit = 0x0e
	paramInitialSrc        = 0x0f
	paramRetrySrc          = 0x10
	paramVersionInfo       = 0x11
	paramMinAckDelay       = 0xff04de1b
	paramInitialMaxChannel = 0x6700
	paramMaxMessageSize    = 0x6701
	paramChannels          = 0x6702
	paramPlainMode         = 0x6703
)

// Bounds of transport parameters.
const (
	MaxParamsLen        = 8192    // bytes of all parameters together
	MaxParamVersions    = 32      // available versions in version_information
	MaxChannelParams    = 256     // entries of the channel list: one a channel
	maxIdleTimeoutMilli = 1 << 32 // larger values mean as much
	maxUDPPayload       = 65527   // larger values mean as much
	maxAckDelayExponent = 20
	maxAckDelayMilli    = 1<<14 - 1
	minActiveConnIDs    = 2
)

// Mode is the delivery mode of a channel.
type Mode uint8

// The modes by their number in the channel list.
const (
	ModeOrdered Mode = iota
	ModeUnordered
	ModeLatest
	ModeSequenced
	ModeUnreliable
	NumModes = 5
)

// Reliable reports whether messages of the mode are retransmitted and cost credit.
func (m Mode) Reliable() bool { return m <= ModeLatest }

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case ModeOrdered:
		return "ordered"
	case ModeUnordered:
		return "unordered"
	case ModeLatest:
		return "latest"
	case ModeSequenced:
		return "sequenced"
	case ModeUnreliable:
		return "unreliable"
	}
	return "unknown"
}

// DefaultWeight is the weight of a channel that the list does not name.
const DefaultWeight = 16

// ChannelParam is one entry of the channel list. InitialMax is the credit that the sender of the parameters grants on the channel.
type ChannelParam struct {
	InitialMax uint64
	Channel    uint8
	Mode       Mode
	Priority   int8
	Weight     uint8 // at least 1
}

// DefaultMode returns the mode of a channel that the list does not name: 0 ordered, 1 unordered, 2 latest, 3 sequenced, 4
// unreliable, all others ordered.
func DefaultMode(channel uint8) Mode {
	if channel < NumModes {
		return Mode(channel)
	}
	return ModeOrdered
}

// Params are the transport parameters of one endpoint (RFC 9000, section 18). Times are in the units of the wire.
type Params struct {
	OriginalDst, InitialSrc, RetrySrc          ConnID
	HasOriginalDst, HasInitialSrc, HasRetrySrc bool
	HasResetToken                              bool
	HasMinAckDelay                             bool // the endpoint understands ACK_FREQUENCY and IMMEDIATE_ACK
	PlainMode                                  bool
	ResetToken                                 [ResetTokenLen]byte

	MaxIdleTimeout    uint64 // milliseconds, 0 for none
	MaxUDPPayload     uint64
	InitialMaxData    uint64
	InitialMaxChannel uint64
	InitialMaxStreams uint64 // bidirectional byte streams that the peer may open, 0 for none
	MaxMessageSize    uint64
	AckDelayExponent  uint64
	MaxAckDelay       uint64 // milliseconds
	MinAckDelay       uint64 // microseconds
	ActiveConnIDLimit uint64

	Channels          []ChannelParam
	ChosenVersion     uint32 // 0: version_information was not sent
	AvailableVersions []uint32
}

// absent is what a parameter means that was not sent.
func (p *Params) setAbsent() {
	channels, versions := p.Channels[:0], p.AvailableVersions[:0]
	*p = Params{
		MaxUDPPayload: maxUDPPayload, AckDelayExponent: 3, MaxAckDelay: 25, ActiveConnIDLimit: minActiveConnIDs,
		Channels: channels, AvailableVersions: versions,
	}
}

// DefaultParams returns what an endpoint announces unless it is configured otherwise; the connection IDs are still missing.
func DefaultParams() Params {
	return Params{
		MaxIdleTimeout:    60_000,
		MaxUDPPayload:     1472,
		InitialMaxData:    3 << 19,
		InitialMaxChannel: 1 << 20,
		InitialMaxStreams: 100,
		MaxMessageSize:    256 << 10,
		AckDelayExponent:  3,
		MaxAckDelay:       25,
		HasMinAckDelay:    true,
		MinAckDelay:       1000,
		ActiveConnIDLimit: 4,
		ChosenVersion:     Version,
		AvailableVersions: []uint32{Version},
	}
}

// ServerOnly reports whether p has a parameter that a client must not send (RFC 9000, section 18.2).
func (p *Params) ServerOnly() bool { return p.HasOriginalDst || p.HasResetToken || p.HasRetrySrc }

// Channel returns the configuration of a channel: the list's entry, or the default.
func (p *Params) Channel(channel uint8) ChannelParam {
	for i := range p.Channels {
		if p.Channels[i].Channel == channel {
			return p.Channels[i]
		}
	}
	return ChannelParam{
		Channel: channel, Mode: DefaultMode(channel), Weight: DefaultWeight, InitialMax: p.InitialMaxChannel,
	}
}

// Append appends the encoding of p. Parameters whose value is the one that absence means are left out.
func (p *Params) Append(b []byte) []byte {
	var d Params
	d.setAbsent()
	if p.HasOriginalDst {
		b = appendParam(b, paramOriginalDst, p.OriginalDst.Bytes())
	}
	b = appendIntParam(b, paramMaxIdleTimeout, p.MaxIdleTimeout, d.MaxIdleTimeout)
	if p.HasResetToken {
		b = appendParam(b, paramResetToken, p.ResetToken[:])
	}
	b = appendIntParam(b, paramMaxUDPPayload, p.MaxUDPPayload, d.MaxUDPPayload)
	b = appendIntParam(b, paramInitialMaxData, p.InitialMaxData, d.InitialMaxData)
	b = appendIntParam(b, paramInitialMaxStreams, p.InitialMaxStreams, d.InitialMaxStreams)
	b = appendIntParam(b, paramAckDelayExponent, p.AckDelayExponent, d.AckDelayExponent)
	b = appendIntParam(b, paramMaxAckDelay, p.MaxAckDelay, d.MaxAckDelay)
	b = appendIntParam(b, paramActiveConnIDLimit, p.ActiveConnIDLimit, d.ActiveConnIDLimit)
	if p.HasInitialSrc {
		b = appendParam(b, paramInitialSrc, p.InitialSrc.Bytes())
	}
	if p.HasRetrySrc {
		b = appendParam(b, paramRetrySrc, p.RetrySrc.Bytes())
	}
	if p.ChosenVersion != 0 {
		b = append2(b, paramVersionInfo, uint64(4+4*len(p.AvailableVersions)))
		b = binary.BigEndian.AppendUint32(b, p.ChosenVersion)
		for _, v := range p.AvailableVersions {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	b = appendIntParam(b, paramInitialMaxChannel, p.InitialMaxChannel, d.InitialMaxChannel)
	b = appendIntParam(b, paramMaxMessageSize, p.MaxMessageSize, d.MaxMessageSize)
	if len(p.Channels) > 0 {
		b = p.appendChannels(b)
	}
	if p.PlainMode {
		b = appendParam(b, paramPlainMode, nil)
	}
	if p.HasMinAckDelay {
		b = append3(b, paramMinAckDelay, uint64(VarintLen(p.MinAckDelay)), p.MinAckDelay)
	}
	return b
}

func appendParam(b []byte, id uint64, value []byte) []byte {
	return append(append2(b, id, uint64(len(value))), value...)
}

func appendIntParam(b []byte, id, v, absent uint64) []byte {
	if v == absent {
		return b
	}
	return append3(b, id, uint64(VarintLen(v)), v)
}

func (p *Params) appendChannels(b []byte) []byte {
	n := 0
	for i := range p.Channels {
		c := &p.Channels[i]
		n += VarintLen(uint64(c.Channel)) + 3 + VarintLen(c.InitialMax)
	}
	b = append2(b, paramChannels, uint64(n))
	for i := range p.Channels {
		c := &p.Channels[i]
		b = AppendVarint(b, uint64(c.Channel))
		b = append(b, byte(c.Mode), byte(c.Priority), c.Weight)
		b = AppendVarint(b, c.InitialMax)
	}
	return b
}

// ParseParams parses transport parameters into p and checks each value and, where two belong together, the pair; which of them
// a client or a server must or must not send is the caller's to check (RFC 9000, section 7.3, and ServerOnly). The slices of p are
// reused. When ok is false, code is what to close with.
func ParseParams(b []byte, p *Params) (code ErrorCode, ok bool) {
	p.setAbsent()
	if len(b) > MaxParamsLen {
		return TransportParameterError, false
	}
	var seen uint32
	for len(b) > 0 {
		id, n := Varint(b)
		if n == 0 {
			return TransportParameterError, false
		}
		value, k := lengthed(b[n:])
		if k < 0 {
			return TransportParameterError, false
		}
		b = b[n+k:]
		bit, ok := p.parseOne(id, value)
		if !ok || seen&bit != 0 {
			return TransportParameterError, false
		}
		seen |= bit
	}
	if p.HasMinAckDelay && p.MinAckDelay > p.MaxAckDelay*1000 {
		return TransportParameterError, false
	}
	return NoError, true
}

// parseOne takes one parameter. The bit names it among those already seen; an unknown one has none.
func (p *Params) parseOne(id uint64, v []byte) (bit uint32, ok bool) {
	switch id {
	case paramOriginalDst:
		p.HasOriginalDst = true
		p.OriginalDst, ok = MakeConnID(v)
		return 1 << 0, ok
	case paramInitialSrc:
		p.HasInitialSrc = true
		p.InitialSrc, ok = MakeConnID(v)
		return 1 << 1, ok
	case paramRetrySrc:
		p.HasRetrySrc = true
		p.RetrySrc, ok = MakeConnID(v)
		return 1 << 2, ok
	case paramResetToken:
		p.HasResetToken = true
		return 1 << 3, copy(p.ResetToken[:], v) == ResetTokenLen && len(v) == ResetTokenLen
	case paramVersionInfo:
		return 1 << 4, p.parseVersions(v)
	case paramChannels:
		return 1 << 5, p.parseChannels(v)
	case paramPlainMode:
		p.PlainMode = true
		return 1 << 6, len(v) == 0
	}
	return p.parseInt(id, v)
}

// parseInt takes one parameter whose value is an integer.
func (p *Params) parseInt(id uint64, value []byte) (bit uint32, ok bool) {
	v, n := Varint(value)
	whole := n > 0 && n == len(value)
	switch id {
	case paramMaxIdleTimeout:
		p.MaxIdleTimeout = min(v, maxIdleTimeoutMilli)
		return 1 << 7, whole
	case paramMaxUDPPayload:
		p.MaxUDPPayload = min(v, maxUDPPayload)
		return 1 << 8, whole && v >= MinInitialSize
	case paramInitialMaxData:
		p.InitialMaxData = v
		return 1 << 9, whole
	case paramAckDelayExponent:
		p.AckDelayExponent = v
		return 1 << 10, whole && v <= maxAckDelayExponent
	case paramMaxAckDelay:
		p.MaxAckDelay = v
		return 1 << 11, whole && v <= maxAckDelayMilli
	case paramActiveConnIDLimit:
		p.ActiveConnIDLimit = v
		return 1 << 12, whole && v >= minActiveConnIDs
	case paramInitialMaxChannel:
		p.InitialMaxChannel = v
		return 1 << 13, whole
	case paramMaxMessageSize:
		p.MaxMessageSize = v
		return 1 << 14, whole
	case paramInitialMaxStreams:
		p.InitialMaxStreams = v
		return 1 << 16, whole && v <= MaxStreams
	case paramMinAckDelay:
		p.HasMinAckDelay, p.MinAckDelay = true, v
		return 1 << 15, whole
	}
	return 0, true
}

// parseVersions takes version_information (RFC 9368, section 3): the chosen version and the available ones, none of them zero.
func (p *Params) parseVersions(v []byte) bool {
	if len(v) < 4 || len(v)%4 != 0 || len(v) > 4+4*MaxParamVersions {
		return false
	}
	p.ChosenVersion = binary.BigEndian.Uint32(v)
	for v = v[4:]; len(v) > 0; v = v[4:] {
		version := binary.BigEndian.Uint32(v)
		if version == 0 {
			return false
		}
		p.AvailableVersions = append(p.AvailableVersions, version)
	}
	return p.ChosenVersion != 0
}

// parseChannels takes the channel list. No channel may come twice, which bounds the list as well.
func (p *Params) parseChannels(v []byte) bool {
	var seen [4]uint64
	for len(v) > 0 {
		channel, n := Varint(v)
		if n == 0 || channel > MaxChannel || len(v)-n < 4 {
			return false
		}
		c := ChannelParam{Channel: uint8(channel), Mode: Mode(v[n]), Priority: int8(v[n+1]), Weight: v[n+2]}
		n += 3
		limit, k := Varint(v[n:])
		if k == 0 || c.Mode >= NumModes || c.Weight == 0 || seen[channel/64]>>(channel%64)&1 != 0 {
			return false
		}
		seen[channel/64] |= 1 << (channel % 64)
		c.InitialMax = limit
		p.Channels = append(p.Channels, c)
		v = v[n+k:]
	}
	return true
}
