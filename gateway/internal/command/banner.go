package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/gateway/internal/admin"
)

// A banner says what runs and how to reach it.
type banner struct {
	flags *serveFlags
	ep    *godwit.Endpoint
	admin string // address of the admin pages; empty if there are none
}

// print writes the banner for people, and with --json one line for programs on standard output.
func (b *banner) print(out, errOut io.Writer) error {
	if !b.flags.json {
		b.text(out)
		return nil
	}
	b.text(errOut)
	return json.NewEncoder(out).Encode(struct {
		Listen string `json:"listen"`
		Pin    string `json:"pin"`
		Admin  string `json:"admin"`
		Engine string `json:"engine"`
	}{b.ep.Addr().String(), b.ep.Identity().String(), b.admin, b.ep.Stats().Engine})
}

func (b *banner) text(w io.Writer) {
	st := b.ep.Stats()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-9s "+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintf(w, "godwit %s\n", version())
	protection := "encrypted"
	if b.flags.plain {
		protection = "plain: checksums, no encryption"
	}
	row("listen", "udp %v, application %s, %s", b.ep.Addr(), b.flags.app, protection)
	row("engine", "%s, %s, segmentation offload %s, receive offload %s", st.Engine, count(st.Shards, "shard"), onOff(st.GSO), onOff(st.GRO))
	if st.ReceiveBuffer > 0 {
		row("buffer", "%s of receive buffer a socket", bytesText(st.ReceiveBuffer))
	}
	if st.BufferHint != "" {
		row("", "for more: %s", st.BufferHint)
	}
	identity := "development key, kept in the state directory"
	if b.flags.cert != "" {
		identity = "certificate " + b.flags.cert
	}
	row("identity", "%v (%s)", b.ep.Identity(), identity)
	if b.admin != "" {
		row("admin", "http://%s/varz", b.admin)
	}
	at := reachable(b.ep.Addr(), outward)
	row("connect", "%s", (&url.URL{Scheme: "godwit", Host: at, RawQuery: "pin=" + url.QueryEscape(b.ep.Identity().String())}).String())
	if strings.HasPrefix(at, anyHost) {
		row("", "%s stands for a name or an address of this machine", anyHost)
	}
	if b.flags.app == "echo" {
		row("try", "%s", b.try(here(b.ep.Addr())))
	}
}

// try is a complete command for a second terminal.
func (b *banner) try(at string) string {
	args := []string{os.Args[0], "bench", at, "--pin", b.ep.Identity().String(), "--conns", "100", "--size", "128", "--rate", "20000", "--duration", "8s"}
	if b.flags.plain {
		args = append(args, "--plain")
	}
	if b.admin != "" && b.admin != DefaultAdmin {
		args = append(args, "--admin", b.admin)
	}
	return strings.Join(args, " ")
}

// here turns the address of all interfaces into one that can be dialed from this machine.
func here(at netip.AddrPort) string {
	if !at.Addr().IsUnspecified() {
		return at.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(at.Port()))
}

// anyHost is the host of an address whose reader has to put a name or an address in.
const anyHost = "HOST"

// reachable turns the address of all interfaces into one that other machines can dial: that from which packets of the family leave, as
// outward tells. IPv6 with IPv4 beside it prefers IPv4, which more networks carry.
func reachable(at netip.AddrPort, outward func(v6 bool) (netip.Addr, bool)) string {
	if !at.Addr().IsUnspecified() {
		return at.String()
	}
	families := []bool{false}
	if at.Addr().Is6() {
		families = append(families, true)
	}
	for _, v6 := range families {
		if ip, ok := outward(v6); ok {
			return netip.AddrPortFrom(ip, at.Port()).String()
		}
	}
	return net.JoinHostPort(anyHost, fmt.Sprint(at.Port()))
}

// outward is the address of this machine from which packets to the Internet leave; ok is false if it is one that others cannot dial, or
// there is none. A UDP socket that connects sends nothing: it only asks the routing table. The addresses are those of documentation.
func outward(v6 bool) (ip netip.Addr, ok bool) {
	network, far := "udp4", "192.0.2.1:9"
	if v6 {
		network, far = "udp6", "[2001:db8::1]:9"
	}
	c, err := net.Dial(network, far)
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	ip = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return ip, ip.IsGlobalUnicast()
}

// summary is the last line of a server.
func summary(w io.Writer, ep *godwit.Endpoint) {
	st := ep.Stats()
	fmt.Fprintf(w, "served %s in %v: %s received, %s sent, %s lost of %d\n", count(int(st.Opened), "connection"),
		st.Uptime.Round(time.Second), count(int(st.MessagesReceived), "message"), count(int(st.MessagesSent), "message"),
		count(int(st.PacketsLost), "packet"), st.PacketsSent)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func bytesText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// varz is the page of that name.
type varz struct {
	Version  string        `json:"version"`
	Listen   string        `json:"listen"`
	Pin      string        `json:"pin"`
	App      string        `json:"app"`
	Plain    bool          `json:"plain"`
	Process  admin.Process `json:"process"`
	Endpoint godwit.Stats  `json:"endpoint"`
	Counts   any           `json:"application,omitempty"`
}

func newVarz(f *serveFlags, ep *godwit.Endpoint) varz {
	v := varz{
		Version: version(), Listen: ep.Addr().String(), Pin: ep.Identity().String(), App: f.app, Plain: f.plain,
		Process: admin.ReadProcess(), Endpoint: ep.Stats(),
	}
	if f.running.Stats != nil {
		v.Counts = f.running.Stats()
	}
	return v
}
