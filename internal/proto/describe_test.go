package proto

import (
	"fmt"
	"slices"
	"strings"

	"godwit.example/godwit/internal/wire"
)

// parsedFrame is one frame of a packet: its type and what follows it.
type parsedFrame struct {
	typ  byte
	body []byte
	text string
}

// parseFrames cuts a packet that this implementation built into its frames; PADDING is left out.
func parseFrames(b []byte) (list []parsedFrame) {
	for len(b) > 0 {
		if b[0] == wire.FramePadding {
			b = b[1:]
			continue
		}
		text, n := describeFrame(b[0], b[1:])
		if n < 0 {
			panic(fmt.Sprintf("frame %#x does not parse", b[0]))
		}
		list = append(list, parsedFrame{b[0], b[1 : 1+n], text})
		b = b[1+n:]
	}
	return list
}

// describe names the frames of a packet, in order.
func describe(b []byte) string {
	var names []string
	for _, f := range parseFrames(b) {
		names = append(names, f.text)
	}
	if len(names) == 0 {
		return "PADDING"
	}
	return strings.Join(names, " ")
}

// describeFrame names one frame with what tests ask about, and returns its length behind the type.
func describeFrame(typ byte, b []byte) (text string, n int) {
	name := wire.FrameInfo(typ).Name
	switch typ {
	case wire.FrameAck, wire.FrameAckECN:
		ranges, _, _, n := wire.ParseAck(b, make([]wire.AckRange, 0, wire.MaxAckRanges), typ == wire.FrameAckECN)
		slices.Reverse(ranges)
		return "ACK" + ackText(ranges), n
	case wire.FrameCrypto:
		_, _, n = wire.ParseCrypto(b)
	case wire.FrameNewToken:
		_, n = wire.ParseNewToken(b)
	case wire.FrameMaxData, wire.FrameBlocked, wire.FrameRetireConnectionID:
		_, n = wire.ParseMaxData(b)
	case wire.FrameMaxChannel, wire.FrameChannelBlocked:
		_, _, n = wire.ParseMaxChannel(b)
	case wire.FrameNewConnectionID:
		_, n = wire.ParseNewConnectionID(b)
	case wire.FramePathChallenge, wire.FramePathResponse:
		_, n = wire.ParsePathChallenge(b)
	case wire.FrameClose:
		_, _, _, n = wire.ParseClose(b)
	case wire.FrameApplicationClose:
		_, _, n = wire.ParseApplicationClose(b)
	case wire.FrameAckFrequency:
		f, n := wire.ParseAckFrequency(b)
		return fmt.Sprintf("%s(%d)", name, f.Threshold), n
	case wire.FrameMessage, wire.FrameMessageKeyed, wire.FrameMessages, wire.FrameMessagesKeyed:
		m, off := wire.ParseMessages(typ, b)
		for range m.Count {
			if off < 0 {
				return "", -1
			}
			_, _, off = m.Next(b, off)
		}
		return fmt.Sprintf("MESSAGE(%d:%d+%d)", m.Channel, m.First, m.Count), off
	case wire.FrameFragment, wire.FrameFragmentKeyed:
		f, n := wire.ParseFragment(typ, b)
		return fmt.Sprintf("FRAGMENT(%d:%d@%d)", f.Channel, f.ID, f.Offset), n
	case wire.FrameResetStream:
		_, _, _, n = wire.ParseResetStream(b)
	case wire.FrameStopSending:
		_, _, n = wire.ParseStopSending(b)
	case wire.FrameMaxStreams:
		_, n = wire.ParseMaxStreams(b)
	case wire.FrameSkip:
		ch, upTo, _, n := wire.ParseSkip(b)
		return fmt.Sprintf("SKIP(%d:%d)", ch, upTo), n
	}
	if typ >= wire.FrameStream && typ < wire.FrameMaxData {
		id, offset, data, fin, n := wire.ParseStream(typ, b)
		name = fmt.Sprintf("STREAM(%d:%d+%d)", id, offset, len(data))
		if fin {
			name += "FIN"
		}
		return name, n
	}
	return name, n
}

// ackText writes ascending ranges, as in "(0-4,6)".
func ackText(ranges []wire.AckRange) string {
	var parts []string
	for _, r := range ranges {
		if r.Smallest == r.Largest {
			parts = append(parts, fmt.Sprint(r.Smallest))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.Smallest, r.Largest))
		}
	}
	return "(" + strings.Join(parts, ",") + ")"
}
