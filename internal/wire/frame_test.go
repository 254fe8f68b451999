package wire

import (
	"bytes"
	"reflect"
	"testing"
)

// codec ties a frame's parser to its appender, so that one test and one fuzz target serve them all. A parser returns the
// fields as a comparable list.
type codec struct {
	types  []byte
	parse  func(typ byte, b []byte) (fields []any, n int)
	append func(typ byte, fields []any) []byte
}

// ints makes the codec of a frame that consists of varints only.
func ints(typ byte, parse func(b []byte) ([]any, int), app func(f []any) []byte) codec {
	return codec{
		types:  []byte{typ},
		parse:  func(_ byte, b []byte) ([]any, int) { return parse(b) },
		append: func(_ byte, f []any) []byte { return app(f) },
	}
}

func u(v any) uint64 { return v.(uint64) }

var codecs = []codec{
	ints(FrameMaxData,
		func(b []byte) ([]any, int) { v, n := ParseMaxData(b); return []any{v}, n },
		func(f []any) []byte { return AppendMaxData(nil, u(f[0])) }),
	ints(FrameMaxChannel,
		func(b []byte) ([]any, int) { c, v, n := ParseMaxChannel(b); return []any{c, v}, n },
		func(f []any) []byte { return AppendMaxChannel(nil, u(f[0]), u(f[1])) }),
	ints(FrameMaxStreams,
		func(b []byte) ([]any, int) { v, n := ParseMaxStreams(b); return []any{v}, n },
		func(f []any) []byte { return AppendMaxStreams(nil, u(f[0])) }),
	ints(FrameBlocked,
		func(b []byte) ([]any, int) { v, n := ParseBlocked(b); return []any{v}, n },
		func(f []any) []byte { return AppendBlocked(nil, u(f[0])) }),
	ints(FrameChannelBlocked,
		func(b []byte) ([]any, int) { c, v, n := ParseChannelBlocked(b); return []any{c, v}, n },
		func(f []any) []byte { return AppendChannelBlocked(nil, u(f[0]), u(f[1])) }),
	ints(FrameRetireConnectionID,
		func(b []byte) ([]any, int) { v, n := ParseRetireConnectionID(b); return []any{v}, n },
		func(f []any) []byte { return AppendRetireConnectionID(nil, u(f[0])) }),
	ints(FramePathChallenge,
		func(b []byte) ([]any, int) { v, n := ParsePathChallenge(b); return []any{v}, n },
		func(f []any) []byte { return AppendPathChallenge(nil, u(f[0])) }),
	ints(FramePathResponse,
		func(b []byte) ([]any, int) { v, n := ParsePathResponse(b); return []any{v}, n },
		func(f []any) []byte { return AppendPathResponse(nil, u(f[0])) }),
	ints(FrameAckFrequency,
		func(b []byte) ([]any, int) { v, n := ParseAckFrequency(b); return []any{v}, n },
		func(f []any) []byte { v := f[0].(AckFrequency); return AppendAckFrequency(nil, &v) }),
	ints(FrameResetStream,
		func(b []byte) ([]any, int) { s, c, z, n := ParseResetStream(b); return []any{s, c, z}, n },
		func(f []any) []byte { return AppendResetStream(nil, u(f[0]), u(f[1]), u(f[2])) }),
	ints(FrameStopSending,
		func(b []byte) ([]any, int) { s, c, n := ParseStopSending(b); return []any{s, c}, n },
		func(f []any) []byte { return AppendStopSending(nil, u(f[0]), u(f[1])) }),
	ints(FrameSkip,
		func(b []byte) ([]any, int) { c, i, k, n := ParseSkip(b); return []any{c, i, k}, n },
		func(f []any) []byte { return AppendSkip(nil, u(f[0]), u(f[1]), u(f[2])) }),
	ints(FrameNewConnectionID,
		func(b []byte) ([]any, int) { v, n := ParseNewConnectionID(b); return []any{v}, n },
		func(f []any) []byte { v := f[0].(NewConnectionID); return AppendNewConnectionID(nil, &v) }),
	ints(FrameCrypto,
		func(b []byte) ([]any, int) { o, d, n := ParseCrypto(b); return []any{o, string(d)}, n },
		func(f []any) []byte { return AppendCrypto(nil, u(f[0]), []byte(f[1].(string))) }),
	ints(FrameNewToken,
		func(b []byte) ([]any, int) { d, n := ParseNewToken(b); return []any{string(d)}, n },
		func(f []any) []byte { return AppendNewToken(nil, []byte(f[0].(string))) }),
	ints(FrameClose,
		func(b []byte) ([]any, int) { c, t, r, n := ParseClose(b); return []any{c, t, string(r)}, n },
		func(f []any) []byte { return AppendClose(nil, f[0].(ErrorCode), u(f[1]), []byte(f[2].(string))) }),
	ints(FrameApplicationClose,
		func(b []byte) ([]any, int) { c, r, n := ParseApplicationClose(b); return []any{c, string(r)}, n },
		func(f []any) []byte { return AppendApplicationClose(nil, u(f[0]), []byte(f[1].(string))) }),
	{
		types: []byte{8, 9, 10, 11, 12, 13, 14, 15},
		parse: func(typ byte, b []byte) ([]any, int) {
			s, o, d, fin, n := ParseStream(typ, b)
			return []any{s, o, string(d), fin}, n
		},
		append: func(_ byte, f []any) []byte {
			return AppendStream(nil, u(f[0]), u(f[1]), []byte(f[2].(string)), f[3].(bool))
		},
	},
	{
		types: []byte{FrameAck, FrameAckECN},
		parse: func(typ byte, b []byte) ([]any, int) {
			r, d, c, n := ParseAck(b, nil, typ == FrameAckECN)
			return []any{r, d, c}, n
		},
		append: func(typ byte, f []any) []byte {
			counts := f[2].(ECNCounts)
			ecn := &counts
			if typ == FrameAck {
				ecn = nil
			}
			b, _ := AppendAck(nil, f[0].([]AckRange), u(f[1]), ecn, 1<<16)
			return b
		},
	},
	{
		types: []byte{FrameMessage, FrameMessageKeyed, FrameMessages, FrameMessagesKeyed},
		parse: func(typ byte, b []byte) ([]any, int) {
			m, n := ParseMessages(typ, b)
			fields := []any{m}
			for i := 0; n >= 0 && i < m.Count; i++ {
				var key uint64
				var payload []byte
				key, payload, n = m.Next(b, n)
				fields = append(fields, key, string(payload))
			}
			return fields, n
		},
		append: func(typ byte, f []any) []byte {
			m := f[0].(Messages)
			if typ&2 == 0 {
				return AppendMessage(nil, m.Channel, m.First, u(f[1]), m.Keyed, []byte(f[2].(string)))
			}
			b, off := AppendMessagesHeader(nil, m.Channel, m.First, m.Keyed)
			for i := range m.Count {
				b = AppendMessageItem(b, u(f[1+2*i]), m.Keyed, []byte(f[2+2*i].(string)))
			}
			PatchCount(b, off, m.Count)
			return b
		},
	},
	{
		types: []byte{FrameFragment, FrameFragmentKeyed},
		parse: func(typ byte, b []byte) ([]any, int) { f, n := ParseFragment(typ, b); return []any{f}, n },
		append: func(_ byte, f []any) []byte {
			v := f[0].(Fragment)
			return AppendFragment(nil, &v)
		},
	},
}

func codecOf(typ byte) *codec {
	for i := range codecs {
		if bytes.IndexByte(codecs[i].types, typ) >= 0 {
			return &codecs[i]
		}
	}
	return nil
}

// reparse checks that the fields of a frame survive being encoded and parsed again.
func reparse(t *testing.T, typ byte, fields []any) {
	t.Helper()
	c := codecOf(typ)
	b := c.append(typ, fields)
	again, n := c.parse(b[0], b[1:])
	if n != len(b)-1 || !reflect.DeepEqual(fields, again) {
		t.Fatalf("%s: %v came back as %v from %d of %d bytes", FrameInfo(typ).Name, fields, again, n, len(b)-1)
	}
}

// FuzzFrame gives arbitrary bytes to the parser of every frame that has fields.
func FuzzFrame(f *testing.F) {
	for _, v := range frameVectors() {
		if b := v.bytes; len(b) > 1 {
			f.Add(b[0], b[1:])
		}
	}
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		c := codecOf(typ)
		if c == nil {
			return
		}
		fields, n := c.parse(typ, b)
		if n < 0 {
			return
		}
		if n == 0 || n > len(b) {
			t.Fatalf("%s: %d of %d bytes", FrameInfo(typ).Name, n, len(b))
		}
		if m, ok := fields[0].(Messages); ok && m.Count >= 1<<14 {
			return // more than the two-byte count of our own encoder holds
		}
		reparse(t, typ, fields)
	})
}

func TestEveryFrameIsMalformedWhenCutShort(t *testing.T) {
	for _, v := range frameVectors() {
		typ, b := v.bytes[0], v.bytes[1:]
		c := codecOf(typ)
		if c == nil {
			continue // no fields
		}
		fields, n := c.parse(typ, b)
		if n != len(b) {
			t.Errorf("%s: %d of %d bytes parsed", v.name, n, len(b))
		}
		reparse(t, typ, fields)
		if typ >= FrameStream && typ < FrameStream+8 && typ&StreamLen == 0 {
			continue // its data run to the end, wherever that is
		}
		for short := range b {
			if _, n := c.parse(typ, b[:short]); n != Malformed {
				t.Errorf("%s: %d bytes of %d were enough", v.name, short, len(b))
			}
		}
	}
}

func TestFrameInfoMatchesTheSpecification(t *testing.T) {
	const all, app = 1<<LevelInitial | 1<<LevelHandshake | 1<<LevelOneRTT, 1 << LevelOneRTT
	want := map[byte]FrameProperties{
		0x00: {"PADDING", all, false, true, false},
		0x01: {"PING", all, true, false, false},
		0x02: {"ACK", all, false, false, false},
		0x03: {"ACK_ECN", all, false, false, false},
		0x04: {"RESET_STREAM", app, true, false, false},
		0x05: {"STOP_SENDING", app, true, false, false},
		0x06: {"CRYPTO", all, true, false, false},
		0x07: {"NEW_TOKEN", app, true, false, true},
		0x10: {"MAX_DATA", app, true, false, false},
		0x11: {"MAX_CHANNEL", app, true, false, false},
		0x12: {"MAX_STREAMS", app, true, false, false},
		0x14: {"BLOCKED", app, true, false, false},
		0x15: {"CHANNEL_BLOCKED", app, true, false, false},
		0x18: {"NEW_CONNECTION_ID", app, true, true, false},
		0x19: {"RETIRE_CONNECTION_ID", app, true, false, false},
		0x1a: {"PATH_CHALLENGE", app, true, true, false},
		0x1b: {"PATH_RESPONSE", app, true, true, false},
		0x1c: {"CLOSE", all, false, false, false},
		0x1d: {"APPLICATION_CLOSE", app, false, false, false},
		0x1e: {"HANDSHAKE_DONE", app, true, false, true},
		0x1f: {"IMMEDIATE_ACK", app, true, false, false},
		0x20: {"ACK_FREQUENCY", app, true, false, false},
		0x30: {"MESSAGE", app, true, false, false},
		0x31: {"MESSAGE keyed", app, true, false, false},
		0x32: {"MESSAGES", app, true, false, false},
		0x33: {"MESSAGES keyed", app, true, false, false},
		0x34: {"FRAGMENT", app, true, false, false},
		0x35: {"FRAGMENT keyed", app, true, false, false},
		0x36: {"SKIP", app, true, false, false},
	}
	for typ := byte(0x08); typ < 0x10; typ++ {
		want[typ] = FrameProperties{"STREAM", app, true, false, false}
	}
	for typ := range 256 {
		got := FrameInfo(byte(typ))
		if got != want[byte(typ)] {
			t.Errorf("type %#x: %+v, want %+v", typ, got, want[byte(typ)])
		}
		if known := IsKnownFrame(byte(typ)); known != (got.Name != "") {
			t.Errorf("type %#x: known %v", typ, known)
		}
		for l := LevelInitial; l < NumLevels; l++ {
			if allowed := typ < 64 && AllowedFrames(l)>>typ&1 != 0; allowed != (got.Levels>>l&1 != 0) {
				t.Errorf("type %#x in %s packets: %v", typ, l, allowed)
			}
		}
	}
}
