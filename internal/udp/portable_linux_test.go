package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that sends no checksums is refused segmentation, as on a way whose device cannot make them.
func TestPortableDemotesBrokenOffload(t *testing.T) {
	server := testPortable(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	client := testPortable(t, Config{Client: true})
	if kernel, _ := probeOffloads(); !kernel {
		t.Skip("this kernel has no segmentation offload for UDP, which came with Linux 4.18")
	}
	if !client.Stats().GSO {
		t.Fatal("the kernel's segmentation offload is not used")
	}
	n, err := client.Connect(server.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	onSocket(client.socks[n].conn, func(fd int) { err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
	if err != nil {
		t.Fatal(err)
	}
	var in ReadBatch
	defer in.Free()
	for range 2 {
		client.Write(&WriteBatch{Outs: []Out{{Data: []byte("aabbc"), Segment: 2}}})
		var all string
		for _, d := range collect(t, server, &in, 3) {
			all += string(d.Data)
		}
		if all != "aabbc" {
			t.Errorf("received %q", all)
		}
	}
	if s := client.Stats(); s.GSO || s.Demotions != 1 || s.WriteSegments != 6 || s.WriteRefused != 0 || s.WriteCalls != 1+3+3 {
		t.Errorf("%+v", s)
	}
}

// No peer, and no address that is gone, switches segmentation off.
func TestPortableKeepsOffloadWhenAllIsRefused(t *testing.T) {
	client := testPortable(t, Config{Client: true, Shared: true})
	n, err := client.Connect(AddrFrom(netip.MustParseAddrPort("127.0.0.1:9")))
	if err != nil {
		t.Fatal(err)
	}
	gone := AddrFrom(netip.MustParseAddrPort("192.0.2.1:0")) // not this host's
	client.Write(&WriteBatch{Outs: []Out{{Data: []byte("aabbc"), Segment: 2, Socket: n, Local: gone, Remote: AddrFrom(netip.MustParseAddrPort("127.0.0.1:9"))}}})
	if s := client.Stats(); !s.GSO || s.Demotions != 0 || s.WriteRefused != 3 {
		t.Errorf("%+v", s)
	}
}
