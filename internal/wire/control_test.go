package wire

import (
	"bytes"
	"testing"
)

func TestControlFramesRefuseTheImpossible(t *testing.T) {
	token := bytes.Repeat([]byte{9}, ResetTokenLen)
	id := func(seq, retire uint64, length byte, bytes int) []byte {
		b := append(append2(nil, seq, retire), length)
		return append(append(b, make([]byte, bytes)...), token...)
	}
	for name, c := range map[string]struct {
		typ byte
		b   []byte
	}{
		"CRYPTO beyond 2^62-1":                  {FrameCrypto, append(append2(nil, MaxVarint, 1), 'x')},
		"empty NEW_TOKEN":                       {FrameNewToken, []byte{0}},
		"connection ID of no bytes":             {FrameNewConnectionID, id(1, 0, 0, 0)},
		"connection ID of 21 bytes":             {FrameNewConnectionID, id(1, 0, 21, 21)},
		"retiring what was not issued yet":      {FrameNewConnectionID, id(1, 2, 8, 8)},
		"reset token cut short":                 {FrameNewConnectionID, id(1, 0, 8, 7)},
		"more than 2^60 streams":                {FrameMaxStreams, AppendVarint(nil, 1<<60+1)},
		"STREAM on a message channel":           {FrameStream | StreamLen, append2(nil, 255, 0)},
		"RESET_STREAM on a message channel":     {FrameResetStream, append3(nil, 255, 0, 0)},
		"STOP_SENDING on a message channel":     {FrameStopSending, append2(nil, 0, 0)},
		"STREAM beyond 2^62-1":                  {FrameStream | StreamOff, append(append2(nil, 256, MaxVarint), 'x')},
		"STREAM with a length beyond the frame": {FrameStream | StreamLen, append2(nil, 256, 1)},
	} {
		if _, n := codecOf(c.typ).parse(c.typ, c.b); n != Malformed {
			t.Errorf("%s: %d", name, n)
		}
	}
	if _, n := ParseNewConnectionID(id(1, 1, 20, 20)); n != 2+1+20+16 {
		t.Errorf("a sound NEW_CONNECTION_ID: %d", n)
	}
	if _, n := ParseMaxStreams(AppendVarint(nil, 1<<60)); n != 8 {
		t.Errorf("2^60 streams: %d", n)
	}
}

func TestCloseKeepsCodeFrameAndReason(t *testing.T) {
	b := AppendClose(nil, ChannelMismatch, FrameCrypto, []byte("channel 7"))
	want := append([]byte{0x1c, 0x80, 0, 0x67, 0x01, 6, 9}, "channel 7"...)
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
	b = AppendApplicationClose(nil, 77, nil)
	want = []byte{0x1d, 0x40, 77, 0}
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}

func TestCryptoOverheadIsExact(t *testing.T) {
	for _, offset := range []uint64{0, 63, 64, 1 << 14, 1 << 30} {
		for _, n := range []int{0, 63, 64, 1000} {
			if got := len(AppendCrypto(nil, offset, make([]byte, n))) - n; got != CryptoOverhead(offset, n) {
				t.Errorf("%d bytes at %d: %d, CryptoOverhead says %d", n, offset, got, CryptoOverhead(offset, n))
			}
		}
	}
}

func TestFramesWithoutFields(t *testing.T) {
	b := AppendImmediateAck(AppendHandshakeDone(AppendPing(nil)))
	if !bytes.Equal(b, []byte{0x01, 0x1e, 0x1f}) {
		t.Errorf("% x", b)
	}
}

// FuzzControlFields encodes arbitrary fields in every control frame.
func FuzzControlFields(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint64(3), uint64(4), []byte("data"))
	f.Fuzz(func(t *testing.T, w, x, y, z uint64, data []byte) {
		w, x, y, z = w&MaxVarint, x&MaxVarint, y&MaxVarint, z&MaxVarint
		for _, typ := range []byte{FrameMaxData, FrameBlocked, FrameRetireConnectionID, FramePathChallenge, FramePathResponse} {
			reparse(t, typ, []any{w})
		}
		reparse(t, FrameMaxStreams, []any{w >> 2})
		reparse(t, FrameMaxChannel, []any{w, x})
		reparse(t, FrameChannelBlocked, []any{w % 256, x})
		reparse(t, FrameAckFrequency, []any{AckFrequency{w, x, y, z}})
		reparse(t, FrameClose, []any{ErrorCode(w), x, string(data)})
		reparse(t, FrameApplicationClose, []any{w, string(data)})
		reparse(t, FrameCrypto, []any{x >> 1, string(data)})
		stream := min(w, MaxVarint-MinStream) + MinStream
		reparse(t, FrameResetStream, []any{stream, x, y})
		reparse(t, FrameStopSending, []any{stream, x})
		reparse(t, FrameStream, []any{stream, x >> 1, string(data), y&1 == 0})
		if len(data) > 0 {
			reparse(t, FrameNewToken, []any{string(data)})
			id := NewConnectionID{Seq: max(w, x), RetirePriorTo: min(w, x)}
			id.ID, _ = MakeConnID(data[:min(len(data), MaxConnIDLen)])
			copy(id.ResetToken[:], data)
			reparse(t, FrameNewConnectionID, []any{id})
		}
	})
}
