package run

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
)

// veth is two network namespaces and a virtual cable between them. Loopback
// flatters whoever sends much at once: its MTU is 64 KiB, and a train of segments
// stays one packet from end to end. Over this cable the MTU is Ethernet's, and a
// train is cut into packets before it leaves, and arrives as so many: both ends
// have no segmentation offload, for TCP and for UDP, and no receive offload.
// Checksums are not computed, as with any network card of today. As over loopback, a
// packet's way up to the receiver's socket is paid for by the sender's CPU.
type veth struct{ server, client string } // names of the namespaces

const (
	vethPrefix = "gwbench-" // of namespaces: those of processes that are gone are removed
	vethDevice = "gw0"      // the same name at both ends
	vethMTU    = 1500
	vethHeader = 14 // of Ethernet, which an interface's counters include
)

// Addresses for documentation, which nobody routes.
var (
	vethServer = netip.MustParseAddr("192.0.2.1")
	vethClient = netip.MustParseAddr("192.0.2.2")
)

func newVeth() *veth {
	name := vethPrefix + strconv.Itoa(os.Getpid())
	return &veth{server: name + "-s", client: name + "-c"}
}

// Wire is what crossed the cable in a run, warm-up and handshakes included, with
// the headers of Ethernet, IP and UDP or TCP.
type Wire struct {
	ToServer   Frames `json:"to_server"`
	FromServer Frames `json:"from_server"`
}

// Frames counts them.
type Frames struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// cut returns an error if what crossed the cable were trains.
func (w *Wire) cut() error {
	for _, f := range []Frames{w.ToServer, w.FromServer} {
		if most := uint64(vethMTU + vethHeader); f.Bytes > f.Packets*most {
			return fmt.Errorf("%d packets of %d B crossed the veth: offloads are not off", f.Packets, f.Bytes/f.Packets)
		}
	}
	return nil
}

// count tells r what crossed the cable: a run whose trains were not cut has failed.
func (v *veth) count(r *Result) {
	wire, err := v.wire()
	if err == nil {
		r.Wire, err = wire, wire.cut()
	}
	if err != nil && r.Failed == "" {
		r.Result, r.Failed = nil, err.Error()
	}
}
