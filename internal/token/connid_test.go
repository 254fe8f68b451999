package token

import (
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"godwit.example/godwit/internal/wire"
)

func TestServerIDsDecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Uint64().Draw(t, "key")
		shard := rapid.Uint8Range(0, NumShards-1).Draw(t, "shard")
		server := rapid.Uint32Range(0, MaxServer).Draw(t, "server")
		tag := rapid.Uint64Range(0, MaxTag).Draw(t, "tag")
		slot := rapid.Uint32Range(0, MaxSlot).Draw(t, "slot")
		id := EncodeID(key, shard, server, tag, slot)
		if id.Len() != IDLen || id.Bytes()[0]>>5 != 0b100 {
			t.Fatalf("ID %x", id.Bytes())
		}
		gotShard, gotServer, gotTag, gotSlot, ok := DecodeID(key, append(id.Bytes(), "packet number"...))
		if !ok || gotShard != shard || gotServer != server || gotTag != tag || gotSlot != slot {
			t.Fatalf("decoded %d %d %d %d %v", gotShard, gotServer, gotTag, gotSlot, ok)
		}
	})
}

// TestServerIDLayout pins the bytes that load balancers look at.
func TestServerIDLayout(t *testing.T) {
	id := EncodeID(0, 0x15, 0x010203, 0x0405060708, 0)
	want := []byte{0x95, 1, 2, 3, 4, 5, 6, 7, 8}
	if got := id.Bytes()[:9]; string(got) != string(want) {
		t.Errorf("%x", got)
	}
	wide := EncodeID(0, 0xff, 0xffffffff, 1<<63|0x0405060708, 1<<31)
	if b := wide.Bytes(); b[0] != 0x9f || b[4] != 4 {
		t.Errorf("bits beyond the fields leak: %x", b)
	}
}

func TestOtherIDsAreRefused(t *testing.T) {
	id := EncodeID(1, 2, 3, 4, 5)
	for n := range IDLen {
		if _, _, _, _, ok := DecodeID(1, id.Bytes()[:n]); ok {
			t.Errorf("%d bytes decode", n)
		}
	}
	for b := range 256 {
		other := append([]byte{byte(b)}, id.Bytes()[1:]...)
		if _, _, _, _, ok := DecodeID(1, other); ok != (b>>5 == 0b100) {
			t.Errorf("first byte %#x: %v", b, ok)
		}
	}
}

// TestSlotsAreHidden looks at the stored slot of neighbouring tags and keys: each
// bit of input has to flip about half of the bits of the hash.
func TestSlotsAreHidden(t *testing.T) {
	flips, trials := 0, 0
	for i := range uint64(4000) {
		tag := i * 0x9E3779B97F4A7C15 & MaxTag
		key := i*0xD1342543DE82EF95 + 1
		h := hashTag(key, tag)
		for bit := range 40 {
			flips += bits.OnesCount32(h ^ hashTag(key, tag^1<<bit))
			trials++
		}
		for bit := range 64 {
			flips += bits.OnesCount32(h ^ hashTag(key^1<<bit, tag))
			trials++
		}
	}
	if mean := float64(flips) / float64(trials); mean < 11.5 || mean > 12.5 {
		t.Errorf("a changed bit flips %.2f of 24 bits", mean)
	}
}

func TestConnectionIDsNeedNoAllocation(t *testing.T) {
	id := EncodeID(1, 2, 3, 4, 5)
	b := id.Bytes()
	if n := testing.AllocsPerRun(100, func() {
		_, _, tag, slot, _ := DecodeID(1, b)
		id = EncodeID(1, 2, 3, tag, slot)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResetTokensFollowKeyAndID(t *testing.T) {
	key, other := &[32]byte{1}, &[32]byte{2}
	id := []byte("connection 1")
	tok := Reset(key, id)
	if tok == Reset(other, id) || tok == Reset(key, []byte("connection 2")) || tok != Reset(key, id) {
		t.Error("the token does not follow key and ID")
	}
	datagram := append([]byte("\x40random"), tok[:]...)
	if !IsReset(datagram, &tok) {
		t.Error("a stateless reset is not recognised")
	}
	datagram[len(datagram)-1] ^= 1
	if IsReset(datagram, &tok) || IsReset(tok[:], &tok) || IsReset(nil, &tok) {
		t.Error("something else is taken for a stateless reset")
	}
}

func BenchmarkDecodeID(b *testing.B) {
	id := EncodeID(1, 2, 3, 4, 5)
	buf := id.Bytes()
	var sum uint32
	for b.Loop() {
		_, _, _, slot, _ := DecodeID(1, buf)
		sum += slot
	}
	_ = sum
}

func BenchmarkReset(b *testing.B) {
	id := EncodeID(1, 2, 3, 4, 5)
	key := new([32]byte)
	b.ReportAllocs()
	var tok [wire.ResetTokenLen]byte
	for b.Loop() {
		tok = Reset(key, id.Bytes())
	}
	_ = tok
}
