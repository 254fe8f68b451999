package protect

import (
	"fmt"
	"runtime"
	"testing"

	"godwit.example/godwit/internal/wire"
)

// BenchmarkSealOpen measures one packet there and back: payload bytes of 64 and
// 1,200, header protection included.
func BenchmarkSealOpen(b *testing.B) {
	for _, suite := range suites {
		for _, size := range []int{64, 1200} {
			b.Run(fmt.Sprintf("%s/%d", suite.name, size), func(b *testing.B) {
				s := new(Scratch)
				client, server := pair(suite.id)
				pkt, o := short(client, 0, 2, make([]byte, size))
				var out wire.Packet
				b.SetBytes(int64(size))
				b.ReportAllocs()
				number := uint64(0)
				for b.Loop() {
					if number&(1<<21-1) == 1<<21-1 {
						// Stay below the limits of the AEAD.
						client.phaseSent, server.phaseSent = 1, 1
					}
					pkt[0] = wire.FixedBit | 1
					pkt[o.PNOff], pkt[o.PNOff+1] = byte(number>>8), byte(number)
					o.Number = number
					s.Seal(client, pkt, &o)
					if r := s.Open(server, pkt, int(o.PNOff), wire.LevelOneRTT, &out); r != OpenOK {
						b.Fatal(r)
					}
					number++
				}
			})
		}
	}
}

// BenchmarkSealTrain measures a packet within a train of sixteen.
func BenchmarkSealTrain(b *testing.B) {
	for _, suite := range suites {
		b.Run(suite.name, func(b *testing.B) {
			const packets, size = 16, 96
			s := new(Scratch)
			client, _ := pair(suite.id)
			t := wire.Train{SegmentSize: size, Segments: packets, N: packets, Len: packets * size}
			buf := make([]byte, t.Len)
			number := uint64(0)
			for b.Loop() {
				client.phaseSent = 1
				for i := range packets {
					buf[i*size] = wire.FixedBit | 1
					t.Packets[i] = wire.Outgoing{
						Off: int32(i * size), PNOff: 13, End: int32((i + 1) * size),
						Number: number, Level: wire.LevelOneRTT, PNLen: 2,
					}
					number++
				}
				s.SealTrain(client, buf, &t)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
		})
	}
}

// BenchmarkOpenForged measures a packet that fails, the case of a flood.
func BenchmarkOpenForged(b *testing.B) {
	s := new(Scratch)
	_, server := pair(suiteAES128)
	pkt := make([]byte, 80)
	pkt[0] = wire.FixedBit
	var out wire.Packet
	b.ReportAllocs()
	for b.Loop() {
		pkt[20]++
		s.Open(server, pkt, 13, wire.LevelOneRTT, &out)
	}
}

// BenchmarkInstall measures one direction's keys, from secret to cipher objects.
func BenchmarkInstall(b *testing.B) {
	for _, suite := range suites[:3] {
		b.Run(suite.name, func(b *testing.B) {
			b.ReportAllocs()
			secret := secretOf(suite.id, 1)
			k := NewKeys()
			for b.Loop() {
				k.Install(wire.LevelOneRTT, false, secret, 0)
				k.app.read.build()
			}
		})
	}
}

// BenchmarkInitial measures the keys of a new connection's first packet.
func BenchmarkInitial(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		k := NewKeys()
		k.InstallInitial(testID, false)
		k.long[0].read.build()
	}
}

// TestKeysOfAnEstablishedConnectionAreSmall measures what 1-RTT keys occupy,
// cipher objects included.
func TestKeysOfAnEstablishedConnectionAreSmall(t *testing.T) {
	limits := map[uint16]uint64{suiteAES128: 3300, suiteAES256: 3300, suiteChaCha20: 800, wire.SuitePlain: 720}
	for _, suite := range suites {
		const n = 2000
		keep := make([]*Keys, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range keep {
			k, _ := pair(suite.id)
			if suite.id != wire.SuitePlain {
				k.app.read.build()
				k.app.write.build()
			}
			keep[i] = k
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := (after.HeapAlloc - before.HeapAlloc) / n
		t.Logf("%s: %d bytes a connection", suite.name, each)
		if each > limits[suite.id] {
			t.Errorf("%s: %d bytes a connection, limit %d", suite.name, each, limits[suite.id])
		}
		runtime.KeepAlive(keep)
	}
}
