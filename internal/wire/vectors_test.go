package wire

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt from the codec")

// vector is an encoding with its meaning, as docs/SPEC.md refers to it.
type vector struct {
	name, meaning string
	bytes         []byte
}

// vectorFiles are the files of testdata by name. Frames and headers below are made by the appenders; the tests of the other files
// compare the appenders with bytes written by hand.
func vectorFiles() map[string][]vector {
	return map[string][]vector{
		"varint.txt":        varintVectors(),
		"packet_number.txt": packetNumberVectors(),
		"header.txt":        headerVectors(),
		"frame.txt":         frameVectors(),
		"params.txt":        paramVectors(),
	}
}

func varintVectors() []vector {
	return []vector{
		{"one-byte", "37", AppendVarint(nil, 37)},
		{"two-bytes", "15293", AppendVarint(nil, 15293)},
		{"four-bytes", "494878333", AppendVarint(nil, 494878333)},
		{"eight-bytes", "151288809941952652", AppendVarint(nil, 151288809941952652)},
		{"largest", "2^62-1", AppendVarint(nil, MaxVarint)},
		{"longer-than-needed", "37 in two bytes: accepted everywhere but in a frame type", []byte{0x40, 0x25}},
	}
}

func packetNumberVectors() []vector {
	pn := func(pn uint64, acked int64) []byte { return AppendPN(nil, pn, PNLen(pn, acked)) }
	return []vector{
		{"first", "number 0, nothing acknowledged yet", pn(0, -1)},
		{"one-byte", "number 1127, 1000 acknowledged: 127 in doubt", pn(1127, 1000)},
		{"two-bytes", "number 0xac5c02, 0xabe8b3 acknowledged (RFC 9000, A.2)", pn(0xac5c02, 0xabe8b3)},
		{"three-bytes", "number 0xace8fe, 0xabe8b3 acknowledged (RFC 9000, A.2)", pn(0xace8fe, 0xabe8b3)},
		{"decoded", "read as 0xa82f9b32 when 0xa82f30ea is the largest number received (RFC 9000, A.3)", pn(0xa82f9b32, 0xa82f30ea)},
	}
}

// Connection IDs of the examples: to the peer they are opaque bytes.
var (
	exampleOriginal = []byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08}
	exampleClient   = []byte{0xc1, 0x1e, 0x47}
	exampleServer   = []byte{0x8a, 0x00, 0x00, 0x01, 0x5e, 0x4e, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}
)

func headerVectors() []vector {
	long := func(typ PacketType, dst, src, token []byte, pn uint64, pnLen, length int) []byte {
		b, off := AppendLong(nil, typ, Version, dst, src, token, pnLen)
		SetLength(b, off, length)
		return AppendPN(b, pn, pnLen)
	}
	short := func(dst []byte, phase uint8, pn uint64, pnLen int) []byte {
		return AppendPN(AppendShort(nil, dst, phase, pnLen), pn, pnLen)
	}
	return []vector{
		{"initial-client", "before protection: version 0x67770001, original destination, source c11e47, no token, Length 1179 (a datagram of 1,200 bytes), packet number 2 in 4 bytes", long(PacketInitial, exampleOriginal, exampleClient, nil, 2, 4, 1179)},
		{"initial-client-token", "the same after a Retry: destination is the Retry's source, token \"cookie\", Length 1169, packet number 3 in 1 byte", long(PacketInitial, exampleServer, exampleClient, []byte("cookie"), 3, 1, 1169)},
		{"initial-server", "destination c11e47, source a server's ID of 12 bytes, no token, Length 117, packet number 0 in 2 bytes", long(PacketInitial, exampleClient, exampleServer, nil, 0, 2, 117)},
		{"handshake", "destination c11e47, source a server's ID, Length 1021, packet number 1 in 1 byte", long(PacketHandshake, exampleClient, exampleServer, nil, 1, 1, 1021)},
		{"retry-without-tag", "destination c11e47, new source, token \"cookie\"; unused bits 1111; the 16-byte integrity tag follows", AppendRetry(nil, Version, exampleClient, exampleServer, []byte("cookie"), 0x0f)},
		{"version-negotiation", "destination c11e47, source the original destination, versions 0x67770001 and 0x0a1a2a3a; unused bits zero", AppendVersionNegotiation(nil, exampleClient, exampleOriginal, []uint32{Version, 0x0a1a2a3a}, 0)},
		{"short-to-server", "key phase 0, destination a server's ID, packet number 0x1234 in 2 bytes", short(exampleServer, 0, 0x1234, 2)},
		{"short-to-client", "key phase 1, destination of no bytes, packet number 7 in 1 byte", short(nil, 1, 7, 1)},
	}
}

func frameVectors() []vector {
	ack, _ := AppendAck(nil, []AckRange{{100, 105}, {90, 90}, {0, 88}}, 300, nil, 100)
	ecn, _ := AppendAck(nil, []AckRange{{64, 65}}, 0, &ECNCounts{10, 0, 2}, 100)
	messages := func(keyed bool) []byte {
		b, off := AppendMessagesHeader(nil, 3, 1000, keyed)
		b = AppendMessageItem(b, 5, keyed, []byte("ab"))
		b = AppendMessageItem(b, 300, keyed, nil)
		PatchCount(b, off, 2)
		return b
	}
	newID := NewConnectionID{Seq: 2, RetirePriorTo: 1, ResetToken: [16]byte([]byte("stateless reset!"))}
	newID.ID, _ = MakeConnID(exampleServer)
	piece := Fragment{Channel: 9, ID: 64, Offset: 1000, Total: 1003, Data: []byte("end")}
	keyedPiece := piece
	keyedPiece.Keyed, keyedPiece.Key, keyedPiece.Channel = true, 77, 2
	return []vector{
		{"padding", "PADDING, three frames", []byte{0, 0, 0}},
		{"ping", "PING", AppendPing(nil)},
		{"ack", "ACK of 100-105, 90 and 0-88, delay field 300", ack},
		{"ack-ecn", "ACK_ECN of 64-65, delay field 0, ECT(0) 10, ECT(1) 0, CE 2", ecn},
		{"reset-stream", "RESET_STREAM of stream 256, code 5, final size 1000", AppendResetStream(nil, 256, 5, 1000)},
		{"stop-sending", "STOP_SENDING of stream 260, code 6", AppendStopSending(nil, 260, 6)},
		{"crypto", "CRYPTO at offset 1200, data \"hello\"", AppendCrypto(nil, 1200, []byte("hello"))},
		{"new-token", "NEW_TOKEN \"token\"", AppendNewToken(nil, []byte("token"))},
		{"stream", "STREAM 256 at offset 5 with FIN, data \"hi\"", AppendStream(nil, 256, 5, []byte("hi"), true)},
		{"stream-to-end", "STREAM 256 at offset 0 without a length: data \"hi\" end the packet", []byte{0x08, 0x41, 0x00, 'h', 'i'}},
		{"max-data", "MAX_DATA 1572864", AppendMaxData(nil, 3<<19)},
		{"max-channel", "MAX_CHANNEL 7, 1048576", AppendMaxChannel(nil, 7, 1<<20)},
		{"max-channel-stream", "MAX_CHANNEL of stream 256, 1048576", AppendMaxChannel(nil, 256, 1<<20)},
		{"max-streams", "MAX_STREAMS 100", AppendMaxStreams(nil, 100)},
		{"blocked", "BLOCKED at 1572864", AppendBlocked(nil, 3<<19)},
		{"channel-blocked", "CHANNEL_BLOCKED 7 at 1048576", AppendChannelBlocked(nil, 7, 1<<20)},
		{"new-connection-id", "NEW_CONNECTION_ID 2, retire prior to 1, a server's ID, token \"stateless reset!\"", AppendNewConnectionID(nil, &newID)},
		{"retire-connection-id", "RETIRE_CONNECTION_ID 1", AppendRetireConnectionID(nil, 1)},
		{"path-challenge", "PATH_CHALLENGE 0102030405060708", AppendPathChallenge(nil, 0x0102030405060708)},
		{"path-response", "PATH_RESPONSE 0102030405060708", AppendPathResponse(nil, 0x0102030405060708)},
		{"close", "CLOSE with CHANNEL_MISMATCH, caused by CRYPTO, reason \"channel 7\"", AppendClose(nil, ChannelMismatch, FrameCrypto, []byte("channel 7"))},
		{"application-close", "APPLICATION_CLOSE with code 77, no reason", AppendApplicationClose(nil, 77, nil)},
		{"handshake-done", "HANDSHAKE_DONE", AppendHandshakeDone(nil)},
		{"immediate-ack", "IMMEDIATE_ACK", AppendImmediateAck(nil)},
		{"ack-frequency", "ACK_FREQUENCY 3: threshold 2, max_ack_delay 25000 us, reordering threshold 1", AppendAckFrequency(nil, &AckFrequency{3, 2, 25000, 1})},
		{"message", "MESSAGE on channel 0, ID 63, data \"hello\"", AppendMessage(nil, 0, 63, 0, false, []byte("hello"))},
		{"message-keyed", "MESSAGE on channel 2, ID 7, key 300, data \"xyz\"", AppendMessage(nil, 2, 7, 300, true, []byte("xyz"))},
		{"messages", "MESSAGES on channel 3: ID 1000 \"ab\" and ID 1001 empty; the count is two bytes", messages(false)},
		{"messages-short-count", "the same with the count in one byte", []byte{0x32, 0x03, 0x43, 0xe8, 0x02, 0x02, 'a', 'b', 0x00}},
		{"messages-keyed", "MESSAGES on channel 3: ID 1000 key 5 \"ab\" and ID 1001 key 300 empty", messages(true)},
		{"fragment", "FRAGMENT on channel 9, ID 64, offset 1000 of 1003, data \"end\"", AppendFragment(nil, &piece)},
		{"fragment-keyed", "FRAGMENT on channel 2, ID 64, key 77, offset 1000 of 1003, data \"end\"", AppendFragment(nil, &keyedPiece)},
		{"skip", "SKIP on channel 255 up to ID 41, cost 4200", AppendSkip(nil, 255, 41, 4200)},
	}
}

func paramVectors() []vector {
	def := DefaultParams()
	client := def
	client.InitialSrc, _ = MakeConnID(exampleClient)
	client.HasInitialSrc = true
	server := def
	server.OriginalDst, _ = MakeConnID(exampleOriginal)
	server.InitialSrc, _ = MakeConnID(exampleServer)
	server.RetrySrc = server.InitialSrc
	server.HasOriginalDst, server.HasInitialSrc, server.HasRetrySrc, server.HasResetToken = true, true, true, true
	server.ResetToken = [16]byte([]byte("stateless reset!"))
	channels := Params{Channels: []ChannelParam{
		{Channel: 7, Mode: ModeLatest, Priority: -3, Weight: 1, InitialMax: 65536},
		{Channel: 255, Mode: ModeUnreliable, Priority: 127, Weight: 255},
	}}
	return []vector{
		{"client-default", "what a client sends by default, source c11e47", client.Append(nil)},
		{"server-default-after-retry", "what a server sends by default after a Retry", server.Append(nil)},
		{"channels", "the channel list alone: 7 latest, priority -3, weight 1, limit 65536; 255 unreliable, priority 127, weight 255, limit 0", channels.appendChannels(nil)},
		{"plain-mode", "plain_mode alone", appendParam(nil, paramPlainMode, nil)},
		{"grease", "parameter 27 + 31*1000 with two bytes, to be ignored", appendParam(nil, 27+31*1000, []byte{0xca, 0xfe})},
	}
}

func TestVectorsMatchTheCodec(t *testing.T) {
	for file, vectors := range vectorFiles() {
		path := filepath.Join("testdata", file)
		text := formatVectors(vectors)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != text {
			t.Errorf("%s differs from what the codec makes; if the change is meant, run go test ./internal/wire -update", path)
		}
	}
}

func formatVectors(vectors []vector) string {
	var s strings.Builder
	for _, v := range vectors {
		s.WriteString("# " + v.meaning + "\n" + v.name + " = " + hex.EncodeToString(v.bytes) + "\n\n")
	}
	return s.String()
}

// TestVectorsParse reads the files as a stranger would and parses what they hold.
func TestVectorsParse(t *testing.T) {
	parse := map[string]func(b []byte) bool{
		"varint.txt":        func(b []byte) bool { _, n := Varint(b); return n == len(b) },
		"packet_number.txt": func(b []byte) bool { return len(b) >= 1 && len(b) <= 4 },
		"header.txt":        parseHeaderVector,
		"frame.txt": func(b []byte) bool {
			if c := codecOf(b[0]); c != nil {
				_, n := c.parse(b[0], b[1:])
				return n == len(b)-1
			}
			return IsKnownFrame(b[0]) && (len(b) == 1 || SkipPadding(b) == len(b))
		},
		"params.txt": func(b []byte) bool { var p Params; _, ok := ParseParams(b, &p); return ok },
	}
	for file, ok := range parse {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.SplitSeq(string(text), "\n") {
			name, digits, found := strings.Cut(line, " = ")
			if !found || strings.HasPrefix(line, "#") {
				continue
			}
			n++
			if b, err := hex.DecodeString(digits); err != nil || !ok(b) {
				t.Errorf("%s: %s does not parse (%v)", file, name, err)
			}
		}
		if n != len(vectorFiles()[file]) {
			t.Errorf("%s: %d vectors", file, n)
		}
	}
}

// parseHeaderVector completes a header with the payload that its Length announces.
func parseHeaderVector(b []byte) bool {
	if !IsLong(b[0]) {
		_, _, ok := ParseShort(b, max(len(b)-3, 0))
		return ok
	}
	var h LongHeader
	return ParseLong(append(b, make([]byte, 1500)...), &h) && h.Type != PacketUnknownVersion
}
