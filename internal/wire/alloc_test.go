package wire

import "testing"

// TestHotPathsDoNotAllocate covers what runs once a packet or once a message.
func TestHotPathsDoNotAllocate(t *testing.T) {
	id := []byte("twelve bytes")
	payload := make([]byte, 64)
	ranges := []AckRange{{100, 105}, {90, 90}, {0, 88}}
	messages := benchFrame(16, 64, true)
	ack, _ := AppendAck(nil, ranges, 300, nil, 100)
	piece := AppendFragment(nil, &Fragment{Channel: 9, Total: 64, Data: payload})
	long, lengthOff := AppendLong(nil, PacketHandshake, Version, id, id, nil, 2)
	long = append(long, payload...)
	SetLength(long, lengthOff, len(payload))
	buf := make([]byte, 0, 2048)
	scratch := make([]AckRange, 0, MaxAckRanges)
	counts := ECNCounts{1, 2, 3}
	var p Params
	params := fullParams()
	encoded := params.Append(nil)
	ParseParams(encoded, &p) // grows the lists, which are reused
	sum := 0
	for name, f := range map[string]func(){
		"ParseMessages and Next": func() {
			m, n := ParseMessages(messages[0], messages[1:])
			var data []byte
			for range m.Count {
				_, data, n = m.Next(messages[1:], n)
				sum += len(data)
			}
		},
		"AppendMessagesHeader, AppendMessageItem and PatchCount": func() {
			b, off := AppendMessagesHeader(buf, 1, 1000, true)
			for range 16 {
				b = AppendMessageItem(b, 1, true, payload)
			}
			PatchCount(b, off, 16)
		},
		"ParseAck":      func() { r, _, _, _ := ParseAck(ack[1:], scratch, false); sum += len(r) },
		"AppendAck":     func() { b, _ := AppendAck(buf, ranges, 5, &counts, 100); sum += len(b) },
		"ParseFragment": func() { f, _ := ParseFragment(piece[0], piece[1:]); sum += len(f.Data) },
		"AppendFragment": func() {
			f := Fragment{Channel: 9, Total: 64, Data: payload}
			sum += len(AppendFragment(buf, &f))
		},
		"AppendShort and ParseShort": func() {
			b := AppendPN(AppendShort(buf, id, 1, 2), 1234, 2)
			_, off, _ := ParseShort(b, len(id))
			sum += off + int(DecodePN(TruncatedPN(b[off:], 2), 2, 1200))
		},
		"ParseLong":   func() { var h LongHeader; ParseLong(long, &h); sum += h.End },
		"SkipPadding": func() { sum += SkipPadding(payload) },
		"control frames": func() {
			b := AppendSkip(AppendMaxChannel(AppendMaxData(buf, 1<<20), 5, 1<<20), 3, 100, 5000)
			b = AppendPathResponse(b, 12345)
			sum += len(b)
		},
		"ParseParams into lists that are large enough": func() { ParseParams(encoded, &p) },
		"ErrorCode.String of a known code":             func() { sum += len(ProtocolViolation.String()) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if sum == 0 {
		t.Error("nothing was done")
	}
}
