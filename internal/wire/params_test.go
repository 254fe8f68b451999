package wire

import (
	"bytes"
	"reflect"
	"testing"
)

func fullParams() Params {
	p := DefaultParams()
	p.OriginalDst, _ = MakeConnID([]byte("original"))
	p.InitialSrc, _ = MakeConnID([]byte("twelve bytes"))
	p.RetrySrc, _ = MakeConnID(nil)
	p.HasOriginalDst, p.HasInitialSrc, p.HasRetrySrc, p.HasResetToken = true, true, true, true
	p.ResetToken = [16]byte([]byte("stateless reset!"))
	p.PlainMode = true
	p.AckDelayExponent, p.MaxAckDelay, p.MinAckDelay = 5, 10, 500
	p.AvailableVersions = []uint32{0x0a1a2a3a, Version}
	p.Channels = []ChannelParam{
		{InitialMax: 65536, Channel: 7, Mode: ModeLatest, Priority: -3, Weight: 1},
		{InitialMax: 0, Channel: 255, Mode: ModeUnreliable, Priority: 127, Weight: 255},
	}
	return p
}

// sameParams compares parameters without telling an empty list from none.
func sameParams(a, b *Params) bool {
	x, y := *a, *b
	x.Channels, y.Channels = append([]ChannelParam{}, a.Channels...), append([]ChannelParam{}, b.Channels...)
	x.AvailableVersions, y.AvailableVersions = append([]uint32{}, a.AvailableVersions...), append([]uint32{}, b.AvailableVersions...)
	return reflect.DeepEqual(x, y)
}

func TestParamsComeBack(t *testing.T) {
	for name, p := range map[string]Params{"default": DefaultParams(), "full": fullParams()} {
		var got Params
		if code, ok := ParseParams(p.Append(nil), &got); !ok || !sameParams(&got, &p) {
			t.Errorf("%s: %s, %v came back as %v", name, code, p, got)
		}
		if p.ServerOnly() != (name == "full") {
			t.Errorf("%s: ServerOnly is %v", name, p.ServerOnly())
		}
	}
}

func TestAbsentParamsHaveTheirDefaults(t *testing.T) {
	got := fullParams() // what it held must not shine through
	if _, ok := ParseParams(nil, &got); !ok {
		t.Fatal("no parameters were refused")
	}
	want := Params{MaxUDPPayload: 65527, AckDelayExponent: 3, MaxAckDelay: 25, ActiveConnIDLimit: 2}
	if !sameParams(&got, &want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if b := got.Append(nil); len(b) != 0 {
		t.Errorf("defaults were sent: % x", b)
	}
}

func TestUnknownParamsAreIgnored(t *testing.T) {
	b := appendParam(nil, 27+31*1000, []byte("grease"))
	b = appendParam(b, 0x0c, nil) // disable_active_migration means nothing here
	b = appendIntParam(b, paramMaxIdleTimeout, 1000, 0)
	b = appendParam(b, 27+31*1000, []byte("grease"))
	var p Params
	if _, ok := ParseParams(b, &p); !ok || p.MaxIdleTimeout != 1000 {
		t.Errorf("%v, %+v", ok, p)
	}
}

func TestParamsBeyondTheirRangeClose(t *testing.T) {
	num := func(id, v uint64) []byte { return appendIntParam(nil, id, v, MaxVarint) }
	channel := func(entries ...byte) []byte { return appendParam(nil, paramChannels, entries) }
	versions := func(n int) []byte { return appendParam(nil, paramVersionInfo, bytes.Repeat([]byte{1}, n)) }
	for name, b := range map[string][]byte{
		"identifier cut short":              {0x40},
		"length cut short":                  {0x01},
		"value cut short":                   {0x01, 2, 5},
		"integer shorter than its value":    {0x01, 2, 5, 5},
		"integer longer than its value":     {0x01, 1, 0x40},
		"integer of no bytes":               {0x04, 0},
		"max_udp_payload_size 1199":         num(paramMaxUDPPayload, 1199),
		"ack_delay_exponent 21":             num(paramAckDelayExponent, 21),
		"max_ack_delay 2^14":                num(paramMaxAckDelay, 1<<14),
		"active_connection_id_limit 1":      num(paramActiveConnIDLimit, 1),
		"min_ack_delay above max_ack":       num(paramMinAckDelay, 25001),
		"the same parameter twice":          append(num(paramInitialMaxData, 5), num(paramInitialMaxData, 5)...),
		"initial_max_streams 2^60+1":        num(paramInitialMaxStreams, 1<<60+1),
		"plain_mode twice":                  append(appendParam(nil, paramPlainMode, nil), appendParam(nil, paramPlainMode, nil)...),
		"plain_mode with a value":           appendParam(nil, paramPlainMode, []byte{1}),
		"connection ID of 21 bytes":         appendParam(nil, paramInitialSrc, make([]byte, 21)),
		"reset token of 15 bytes":           appendParam(nil, paramResetToken, make([]byte, 15)),
		"reset token of 17 bytes":           appendParam(nil, paramResetToken, make([]byte, 17)),
		"version_information of 3 bytes":    versions(3),
		"version_information of 7 bytes":    versions(7),
		"33 versions":                       versions(4 * 34),
		"version zero chosen":               appendParam(nil, paramVersionInfo, make([]byte, 4)),
		"version zero available":            appendParam(nil, paramVersionInfo, []byte{1, 1, 1, 1, 0, 0, 0, 0}),
		"channel 256":                       channel(0x41, 0, 0, 0, 16, 0),
		"unknown mode":                      channel(9, 5, 0, 16, 0),
		"weight zero":                       channel(9, 0, 0, 0, 0),
		"the same channel twice":            channel(9, 0, 0, 16, 0, 9, 0, 0, 16, 0),
		"the same channel in two spellings": channel(9, 0, 0, 16, 0, 0x40, 9, 0, 0, 16, 0),
		"channel entry cut short":           channel(9, 0, 0, 16),
		"channel limit cut short":           channel(9, 0, 0, 16, 0x40),
		"more than 8192 bytes":              appendParam(nil, 27, make([]byte, MaxParamsLen)),
	} {
		var p Params
		if code, ok := ParseParams(b, &p); ok || code != TransportParameterError {
			t.Errorf("%s: %v, %s", name, ok, code)
		}
	}
}

func TestParamsAtTheirBoundsAreAccepted(t *testing.T) {
	b := appendIntParam(nil, paramMaxIdleTimeout, MaxVarint, 0)
	b = appendIntParam(b, paramMaxUDPPayload, 1200, 0)
	b = appendIntParam(b, paramAckDelayExponent, 20, 0)
	b = appendIntParam(b, paramMaxAckDelay, 1<<14-1, 0)
	b = appendIntParam(b, paramActiveConnIDLimit, 2, 0)
	b = appendIntParam(b, paramMinAckDelay, (1<<14-1)*1000, 0)
	b = appendParam(b, paramVersionInfo, bytes.Repeat([]byte{1}, 4*33))
	p := Params{}
	for c := range 256 {
		p.Channels = append(p.Channels, ChannelParam{Channel: uint8(c), Weight: 255, InitialMax: MaxVarint})
	}
	b = p.appendChannels(b)
	var got Params
	if _, ok := ParseParams(b, &got); !ok || len(got.Channels) != 256 || len(got.AvailableVersions) != 32 {
		t.Fatalf("%v, %d channels, %d versions", ok, len(got.Channels), len(got.AvailableVersions))
	}
	if got.MaxIdleTimeout != 1<<32 {
		t.Errorf("an idle timeout of 2^62-1 ms was taken as %d", got.MaxIdleTimeout)
	}
}

func TestChannelsOutsideTheListHaveDefaults(t *testing.T) {
	p := fullParams()
	if c := p.Channel(7); c != p.Channels[0] {
		t.Errorf("channel 7: %+v", c)
	}
	for c, mode := range map[uint8]Mode{0: ModeOrdered, 1: ModeUnordered, 2: ModeLatest, 3: ModeSequenced, 4: ModeUnreliable, 5: ModeOrdered, 254: ModeOrdered} {
		want := ChannelParam{Channel: c, Mode: mode, Weight: 16, InitialMax: 1 << 20}
		if got := p.Channel(c); got != want {
			t.Errorf("channel %d: %+v, want %+v", c, got, want)
		}
	}
}

func TestModesKnowTheirNamesAndReliability(t *testing.T) {
	for m, want := range map[Mode]string{
		ModeOrdered: "ordered", ModeUnordered: "unordered", ModeLatest: "latest", ModeSequenced: "sequenced",
		ModeUnreliable: "unreliable", NumModes: "unknown",
	} {
		if m.String() != want || m.Reliable() != (m <= ModeLatest) {
			t.Errorf("mode %d: %s, reliable %v", uint8(m), m, m.Reliable())
		}
	}
}

func FuzzParams(f *testing.F) {
	full, def := fullParams(), DefaultParams()
	f.Add(full.Append(nil))
	f.Add(def.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Params
		if code, ok := ParseParams(b, &p); !ok {
			if code == NoError {
				t.Fatal("refused without a code")
			}
			return
		}
		again := p.Append(nil)
		var q Params
		if code, ok := ParseParams(again, &q); !ok || !sameParams(&p, &q) {
			t.Fatalf("%s: %+v came back as %+v", code, p, q)
		}
	})
}

func FuzzParamsFields(f *testing.F) {
	f.Add(uint64(60000), uint64(1472), uint64(1<<20), uint64(3), uint64(25), []byte("connection IDs and channels"))
	f.Fuzz(func(t *testing.T, idle, payload, limit, exponent, delay uint64, data []byte) {
		p := Params{
			MaxIdleTimeout: idle & (1<<32 - 1), MaxUDPPayload: 1200 + payload%64328, InitialMaxData: limit & MaxVarint,
			InitialMaxChannel: limit >> 7, MaxMessageSize: limit >> 9, AckDelayExponent: exponent % 21,
			MaxAckDelay: delay % (1 << 14), ActiveConnIDLimit: 2 + exponent&MaxVarint>>1, HasMinAckDelay: limit&1 == 0,
			PlainMode: limit&2 == 0,
		}
		if p.HasMinAckDelay {
			p.MinAckDelay = min(idle&MaxVarint, p.MaxAckDelay*1000)
		}
		if p.HasInitialSrc = len(data) > 0; p.HasInitialSrc {
			p.InitialSrc, _ = MakeConnID(data[:min(len(data), MaxConnIDLen)])
		}
		var seen [256]bool
		for _, c := range data {
			if !seen[c] {
				seen[c] = true
				p.Channels = append(p.Channels, ChannelParam{
					Channel: c, Mode: Mode(c % NumModes), Priority: int8(c), Weight: max(c, 1), InitialMax: limit >> (c & 63) & MaxVarint,
				})
			}
		}
		var got Params
		if code, ok := ParseParams(p.Append(nil), &got); !ok || !sameParams(&p, &got) {
			t.Fatalf("%s: %+v came back as %+v", code, p, got)
		}
	})
}
