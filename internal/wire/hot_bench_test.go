package wire

import "testing"

// benchFrame is a MESSAGES frame of n messages as it fills a datagram.
func benchFrame(n, size int, keyed bool) []byte {
	b, off := AppendMessagesHeader(nil, 1, 1000, keyed)
	for i := range n {
		b = AppendMessageItem(b, uint64(i), keyed, make([]byte, size))
	}
	PatchCount(b, off, n)
	return b
}

func BenchmarkMessagesParse(b *testing.B) {
	for _, c := range []struct {
		name    string
		n, size int
		keyed   bool
	}{{"16x32", 16, 32, false}, {"16x64", 16, 64, false}, {"16x64keyed", 16, 64, true}, {"64x8", 64, 8, false}} {
		b.Run(c.name, func(b *testing.B) {
			frame := benchFrame(c.n, c.size, c.keyed)
			sum := 0
			for b.Loop() {
				m, n := ParseMessages(frame[0], frame[1:])
				var payload []byte
				for range m.Count {
					if _, payload, n = m.Next(frame[1:], n); n < 0 {
						b.Fatal("malformed")
					}
					sum += len(payload)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.n), "ns/message")
		})
	}
}

func BenchmarkMessagesHead(b *testing.B) {
	frame := benchFrame(16, 64, false)
	for b.Loop() {
		ParseMessages(frame[0], frame[1:])
	}
}

func BenchmarkMessagesAppend(b *testing.B) {
	buf := make([]byte, 0, 2048)
	payload := make([]byte, 64)
	for b.Loop() {
		out, off := AppendMessagesHeader(buf[:0], 1, 1000, false)
		for range 16 {
			out = AppendMessageItem(out, 0, false, payload)
		}
		PatchCount(out, off, 16)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*16), "ns/message")
}

func BenchmarkAck(b *testing.B) {
	ranges := []AckRange{{9000, 9100}, {8990, 8995}, {8000, 8888}}
	var scratch [MaxAckRanges]AckRange
	buf := make([]byte, 0, 256)
	b.Run("append1", func(b *testing.B) {
		for b.Loop() {
			AppendAck(buf[:0], ranges[:1], 100, nil, 256)
		}
	})
	b.Run("append3", func(b *testing.B) {
		for b.Loop() {
			AppendAck(buf[:0], ranges, 100, nil, 256)
		}
	})
	one, _ := AppendAck(nil, ranges[:1], 100, nil, 256)
	three, _ := AppendAck(nil, ranges, 100, nil, 256)
	b.Run("parse1", func(b *testing.B) {
		for b.Loop() {
			ParseAck(one[1:], scratch[:0], false)
		}
	})
	b.Run("parse3", func(b *testing.B) {
		for b.Loop() {
			ParseAck(three[1:], scratch[:0], false)
		}
	})
}

func BenchmarkHeader(b *testing.B) {
	id := make([]byte, 12)
	buf := make([]byte, 0, 64)
	b.Run("appendShort", func(b *testing.B) {
		for b.Loop() {
			out := AppendShort(buf[:0], id, 1, 2)
			_ = AppendPN(out, 1234, 2)
		}
	})
	b.Run("decodePN", func(b *testing.B) {
		x := uint64(0)
		for b.Loop() {
			x += DecodePN(0x9b32, 2, 0xa82f30ea)
		}
	})
}
