package token

import (
	"bytes"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

const version = wire.Version

var (
	original = []byte("original")
	chosen   = []byte("by the Retry")
	start    = mono.Time(100 * mono.Minute)
)

func client(last, port byte) (a wire.Addr) {
	copy(a[:], []byte{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: last, 16: 0x30, 17: port})
	return a
}

func expect(t *testing.T, r *Retry, tok []byte, now mono.Time, from wire.Addr, version uint32, dcid []byte, want Verdict) {
	t.Helper()
	odcid, v := r.Check(tok, now, from, version, dcid)
	if v != want {
		t.Errorf("verdict %d, want %d", v, want)
	}
	if v == Valid && !bytes.Equal(odcid.Bytes(), original) {
		t.Errorf("original ID %x", odcid.Bytes())
	}
	if v != Valid && odcid.Len() != 0 {
		t.Errorf("a token that is not valid yields the ID %x", odcid.Bytes())
	}
}

func TestRetryTokenProvesTheAddress(t *testing.T) {
	r := NewRetry([32]byte{1})
	tok := r.Issue([]byte("prefix"), start, client(1, 1), version, original, chosen)[6:]
	if len(tok) > MaxRetryLen {
		t.Errorf("%d bytes", len(tok))
	}
	expect(t, r, tok, start.Add(mono.Second), client(1, 1), version, chosen, Valid)
	expect(t, r, tok, start, client(1, 1), version, chosen, Valid) // it may come twice
	expect(t, r, tok, start, client(1, 2), version, chosen, Forged)
	expect(t, r, tok, start, client(2, 1), version, chosen, Forged)
	expect(t, r, tok, start, client(1, 1), version+1, chosen, Forged)
	expect(t, r, tok, start, client(1, 1), version, original, Forged)
	expect(t, r, nil, start, client(1, 1), version, chosen, Foreign)
	expect(t, r, make([]byte, 5000), start, client(1, 1), version, chosen, Foreign)
	expect(t, NewRetry([32]byte{2}), tok, start, client(1, 1), version, chosen, Forged)
}

func TestRetryTokenExpires(t *testing.T) {
	r := NewRetry([32]byte{1})
	// Issued at many points of a key's minute, so that the check falls into the
	// next one as well.
	for offset := mono.Duration(0); offset < 2*mono.Minute; offset += 7 * mono.Second {
		at := start.Add(offset)
		tok := r.Issue(nil, at, client(1, 1), version, original, chosen)
		expect(t, r, tok, at.Add(RetryValid), client(1, 1), version, chosen, Valid)
		expect(t, r, tok, at.Add(RetryValid+1), client(1, 1), version, chosen, Expired)
		expect(t, r, tok, at.Add(-1), client(1, 1), version, chosen, map[bool]Verdict{false: Expired, true: Foreign}[offset == 0])
		expect(t, r, tok, at.Add(5*mono.Minute), client(1, 1), version, chosen, Foreign)
	}
}

func TestRetryTokensNeedNoSharedState(t *testing.T) {
	tok := NewRetry([32]byte{7}).Issue(nil, start, client(1, 1), version, original, chosen)
	expect(t, NewRetry([32]byte{7}), tok, start.Add(9*mono.Second), client(1, 1), version, chosen, Valid)
}

func TestRetryKeysRotate(t *testing.T) {
	r := NewRetry([32]byte{1})
	seen := map[[32]byte]bool{}
	for epoch := range int64(100) {
		mac := r.key(epoch).mac
		if seen[mac] {
			t.Fatal("two minutes share a key")
		}
		seen[mac] = true
	}
	// The ID of a key is one byte: 256 minutes later it returns, and the key does not.
	tok := r.Issue(nil, start, client(1, 1), version, original, chosen)
	expect(t, r, tok, start.Add(256*mono.Minute), client(1, 1), version, chosen, Forged)
}

func TestEveryTamperedBitOfARetryTokenIsNoticed(t *testing.T) {
	r := NewRetry([32]byte{1})
	tok := r.Issue(nil, start, client(1, 1), version, original, chosen)
	for i := range tok {
		for bit := range 8 {
			bad := bytes.Clone(tok)
			bad[i] ^= 1 << bit
			if _, v := r.Check(bad, start, client(1, 1), version, chosen); v == Valid {
				t.Fatalf("bit %d of byte %d", bit, i)
			}
		}
	}
	for n := range tok {
		if _, v := r.Check(tok[:n], start, client(1, 1), version, chosen); v == Valid {
			t.Fatalf("cut to %d bytes", n)
		}
	}
}

// TestRetryTokenCarriesIDsOfAnyLength also keeps the promise that a Retry is
// smaller than its cause.
func TestRetryTokenCarriesIDsOfAnyLength(t *testing.T) {
	r := NewRetry([32]byte{1})
	for n := range wire.MaxConnIDLen + 1 {
		id := bytes.Repeat([]byte{byte(n)}, n)
		tok := r.Issue(nil, start, client(1, 1), version, id, id)
		odcid, v := r.Check(tok, start, client(1, 1), version, id)
		if v != Valid || !bytes.Equal(odcid.Bytes(), id) {
			t.Errorf("%d bytes: verdict %d, ID %x", n, v, odcid.Bytes())
		}
		retry := wire.AppendRetry(nil, version, id, id, tok, 0)
		if len(retry)+wire.TagLen > 160 {
			t.Errorf("%d bytes: a Retry of %d bytes", n, len(retry)+wire.TagLen)
		}
	}
}

func TestSealingTheSameTwiceGivesTheSameToken(t *testing.T) {
	r := NewRetry([32]byte{1})
	a := r.Issue(nil, start, client(1, 1), version, original, chosen)
	b := r.Issue(nil, start, client(1, 1), version, original, chosen)
	c := r.Issue(nil, start+1, client(1, 1), version, original, chosen)
	if !bytes.Equal(a, b) {
		t.Error("the token depends on more than its contents")
	}
	if bytes.Equal(a[2:2+nonceLen], c[2:2+nonceLen]) {
		t.Error("different contents share a nonce")
	}
}

func FuzzCheck(f *testing.F) {
	r := NewRetry([32]byte{1})
	good := r.Issue(nil, start, client(1, 1), version, original, chosen)
	f.Add(good, chosen)
	f.Add(good[:20], chosen)
	f.Add([]byte{kindRetry, 100}, []byte{})
	f.Fuzz(func(t *testing.T, tok, dcid []byte) {
		_, v := r.Check(tok, start, client(1, 1), version, dcid)
		if v == Valid && !(bytes.Equal(tok, good) && bytes.Equal(dcid, chosen)) {
			t.Fatal("a token that was never issued is valid")
		}
	})
}

func TestCheckingAForgedTokenAllocatesNothing(t *testing.T) {
	r := NewRetry([32]byte{1})
	tok := r.Issue(nil, start, client(1, 1), version, original, chosen)
	good := bytes.Clone(tok)
	tok[len(tok)-1] ^= 1
	for name, b := range map[string][]byte{"forged": tok, "good": good} {
		if n := testing.AllocsPerRun(100, func() { r.Check(b, start, client(1, 1), version, chosen) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	r := NewRetry([32]byte{1})
	buf := make([]byte, 0, MaxRetryLen)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.Issue(buf[:0], start, client(1, 1), version, original, chosen)
	}
}

func BenchmarkCheck(b *testing.B) {
	r := NewRetry([32]byte{1})
	tok := r.Issue(nil, start, client(1, 1), version, original, chosen)
	b.ReportAllocs()
	for b.Loop() {
		if _, v := r.Check(tok, start, client(1, 1), version, chosen); v != Valid {
			b.Fatal(v)
		}
	}
}
