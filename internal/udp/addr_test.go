package udp

import (
	"net/netip"
	"testing"
)

func TestAddrKeepsItsLayout(t *testing.T) {
	a := AddrFrom(netip.MustParseAddrPort("192.0.2.7:4242"))
	want := Addr{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: 7, 16: 4242 >> 8, 17: 4242 & 0xff}
	if a != want {
		t.Fatalf("IPv4 address is %v, want %v", [24]byte(a), [24]byte(want))
	}
	b := AddrFrom(netip.MustParseAddrPort("[fe80::1%7]:1"))
	if b[0] != 0xfe || b[15] != 1 || b.Port() != 1 || b.Scope() != 7 || b[20] != 0 || b[23] != 7 {
		t.Fatalf("link-local address is %v", [24]byte(b))
	}
}

func TestAddrComesBackUnmapped(t *testing.T) {
	for _, s := range []string{"192.0.2.7:4242", "[2001:db8::1]:65535", "[fe80::1%7]:1", "0.0.0.0:0", "[::]:9"} {
		want := netip.MustParseAddrPort(s)
		if got := AddrFrom(want).AddrPort(); got != want {
			t.Errorf("%s came back as %s", s, got)
		}
		if got := AddrFrom(want).String(); got != s {
			t.Errorf("%s is written as %s", s, got)
		}
	}
	mapped := AddrFrom(netip.MustParseAddrPort("[::ffff:192.0.2.7]:1"))
	if got := mapped.AddrPort().String(); got != "192.0.2.7:1" || !mapped.Is4() {
		t.Errorf("a mapped address is written as %s", got)
	}
	if got := AddrFrom(netip.AddrPort{}); got != (Addr{}) {
		t.Errorf("no address is %v", got)
	}
	if zone := AddrFrom(netip.MustParseAddrPort("[fe80::1%no-such-interface]:1")).Scope(); zone != 0 {
		t.Errorf("an unknown zone has index %d", zone)
	}
}

func TestAddrKnowsWhatItIs(t *testing.T) {
	for _, c := range []struct {
		ip                         string
		is4, unspecified, linkOnly bool
	}{
		{"0.0.0.0", true, true, false},
		{"::", false, true, false},
		{"127.0.0.1", true, false, false},
		{"::1", false, false, false},
		{"fe80::1", false, false, true},
		{"2001:db8::", false, false, false},
	} {
		a := AddrFrom(netip.AddrPortFrom(netip.MustParseAddr(c.ip), 1))
		if a.Is4() != c.is4 || a.isUnspecified() != c.unspecified || a.isLinkLocal() != c.linkOnly {
			t.Errorf("%s: v4 %v, unspecified %v, link-local %v", c.ip, a.Is4(), a.isUnspecified(), a.isLinkLocal())
		}
	}
}

func TestShardOfNamesTheShardOfShortHeaders(t *testing.T) {
	for _, c := range []struct {
		datagram []byte
		n, shard int
		ok       bool
	}{
		{[]byte{0x40, 0x85, 1}, 4, 1, true},
		{[]byte{0x7f, 0x9f, 1}, 32, 31, true},
		{[]byte{0x41, 0x80}, 1, 0, true},
		{[]byte{0xc0, 0x85, 1}, 4, 0, false}, // long header
		{[]byte{0x00, 0x85, 1}, 4, 0, false}, // fixed bit missing
		{[]byte{0x40}, 4, 0, false},
		{nil, 4, 0, false},
		{[]byte{0x40, 0x85}, 0, 0, false},
	} {
		if shard, ok := ShardOf(c.datagram, c.n); shard != c.shard || ok != c.ok {
			t.Errorf("%x of %d shards: %d, %v", c.datagram, c.n, shard, ok)
		}
	}
}
