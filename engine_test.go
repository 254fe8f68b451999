package godwit_test

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit"
)

// The tests of this directory run over the best engine of the platform, or over the one that GODWIT_ENGINE names. Those listed here
// run over the portable one each time: what depends on the sockets. All of them do with GODWIT_ENGINE=portable, a stage of make test.
var everyEngine = []struct {
	name string
	test func(*testing.T)
}{
	{"Echo", TestEchoOnTheOrderedChannel},
	{"EveryMode", TestEveryModeCarriesMessages},
	{"EverySize", TestMessagesOfEverySizeArriveWhole},
	{"CloseDelivers", TestCloseDeliversWhatWasSent},
	{"CodeAndReason", TestPeerSeesTheCodeAndReason},
	{"KeepAlive", TestKeepAliveKeepsAConnection},
	{"Silence", TestSilenceEndsAConnection},
	{"FullBuffer", TestFullBufferRefusesAndThenSaysWritable},
	{"Plain", TestPlainModeNeedsBothEnds},
	{"Shutdown", TestShutdownDrains},
	{"Cancel", TestEveryWaitEndsWithItsContext},
	{"CancelledDials", TestCancelledDialsLeaveNothing},
	{"Shutdowns", TestShutdownsEndTogether},
	{"Storm", TestStormOfCalls},
	{"OwnSockets", TestEndpointDialsFromItsOwnSockets},
	{"Shards", TestShardsShareTheConnections},
	{"Families", TestDialByNameAndByEitherFamily},
	{"EitherFamily", TestEveryAddressHearsBothFamilies},
	{"OneFamily", TestOneFamilyHearsOnlyItself},
	{"LinkLocal", TestLinkLocalAddresses},
	{"SecondAddress", TestAnswersLeaveFromTheAddressThatWasDialed},
	{"Stats", TestStatsNameTheEngine},
	{"Impair", TestBadNetworkIsSurvived},
	{"ImpairDelay", TestImpairedLinkTakesItsTime},
}

func TestPortableEngine(t *testing.T) {
	defer godwit.SetBestEngine("portable")()
	for _, c := range everyEngine {
		t.Run(c.name, c.test)
		debug.FreeOSMemory() // in a container of 64 MiB what one test has left would starve the next
	}
}

func TestEngineIsChosenByName(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Engine: "portable", Shards: 3})
	exchange(t, dial(t, e, godwit.Config{}), "to the portable engine")
	c := dial(t, e, godwit.Config{Engine: "portable"})
	exchange(t, c, "from one to the other")
	if st := e.Stats(); st.Engine != "portable" || st.Shards != 1 || (st.GSO || st.GRO) && runtime.GOOS != "linux" {
		t.Errorf("the server says %+v", st)
	}
	if got := c.Endpoint().Stats().Engine; got != "portable" {
		t.Errorf("the client's engine is %q", got)
	}
	unavailable := "windows" // an engine that exists nowhere
	if runtime.GOOS != "linux" {
		unavailable = "linux"
	}
	for _, name := range []string{unavailable, "Portable", "simulated"} {
		_, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Engine: name})
		if err == nil || !strings.Contains(err.Error(), "Config.Engine") || !strings.Contains(err.Error(), name) {
			t.Errorf("Engine %q: %v", name, err)
		}
	}
}

func TestStatsNameTheEngine(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo})
	if got, want := e.Stats().Engine, godwit.BestEngine(); got != want {
		t.Errorf("the engine is %q, want %q", got, want)
	}
	var b strings.Builder
	if err := e.WriteReport(&b); err != nil || !strings.Contains(b.String(), e.Stats().Engine+" engine") {
		t.Errorf("%v, report:\n%s", err, &b)
	}
}

// dialAt connects to a server by one of its addresses and exchanges a message.
func dialAt(t *testing.T, host string, e *godwit.Endpoint) {
	t.Helper()
	addr := net.JoinHostPort(host, fmt.Sprint(e.Addr().Port()))
	cfg := &godwit.Config{HandshakeTimeout: 2 * time.Second, Pins: []godwit.Pin{e.Identity()}}
	c, err := godwit.Dial(deadline(t, 5*time.Second), addr, cfg)
	if err != nil {
		t.Errorf("dial %s: %v", host, err)
		return
	}
	defer c.Close()
	if got := c.RemoteAddr().Addr().WithZone(""); got != netip.MustParseAddr(host).WithZone("") {
		t.Errorf("the connection to %s is one to %v", host, got)
	}
	exchange(t, c, "hello over "+host)
}

// ipv6 returns why this host has no IPv6, or nil.
func ipv6() error {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return err
	}
	return c.Close()
}

// haveIPv6 skips a test on hosts without.
func haveIPv6(t *testing.T) {
	t.Helper()
	if err := ipv6(); err != nil {
		t.Skip("this host has no IPv6, so it cannot be tested: ", err)
	}
}

func listenAt(t *testing.T, addr, network string) *godwit.Endpoint {
	t.Helper()
	e, err := godwit.Listen(addr, &godwit.Config{Handler: echo, Network: network, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestEveryAddressHearsBothFamilies(t *testing.T) {
	haveIPv6(t)
	e := listenAt(t, ":0", "")
	dialAt(t, "127.0.0.1", e)
	dialAt(t, "::1", e)
}

func TestOneFamilyHearsOnlyItself(t *testing.T) {
	haveIPv6(t)
	v4 := listenAt(t, ":0", "udp4")
	dialAt(t, "127.0.0.1", v4)
	v6 := listenAt(t, ":0", "udp6")
	dialAt(t, "::1", v6)
	for host, port := range map[string]uint16{"::1": v4.Addr().Port(), "127.0.0.1": v6.Addr().Port()} {
		cfg := &godwit.Config{HandshakeTimeout: 300 * time.Millisecond}
		if c, err := godwit.Dial(deadline(t, 5*time.Second), net.JoinHostPort(host, fmt.Sprint(port)), cfg); err == nil {
			c.Close()
			t.Errorf("%s answers although the server has the other family", host)
		}
	}
}

// linkLocal returns a link-local address of this host, with its zone.
func linkLocal(t *testing.T) string {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Skip("this host does not say what addresses it has, so a link-local one cannot be chosen: ", err)
	}
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, ok := a.(*net.IPNet)
			if ok && i.Flags&net.FlagUp != 0 && p.IP.To4() == nil && p.IP.IsLinkLocalUnicast() {
				return p.IP.String() + "%" + i.Name
			}
		}
	}
	t.Skip("no interface that is up has a link-local IPv6 address to listen at")
	return ""
}

func TestLinkLocalAddresses(t *testing.T) {
	haveIPv6(t)
	host := linkLocal(t)
	dialAt(t, host, listenAt(t, ":0", ""))
	bound := listenAt(t, net.JoinHostPort(host, "0"), "")
	if got := bound.Addr().Addr(); !got.IsLinkLocalUnicast() || got.Zone() == "" {
		t.Errorf("listening at %s, the address is %v", host, got)
	}
	dialAt(t, host, bound)
}

func TestAnswersLeaveFromTheAddressThatWasDialed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux answers at 127.0.0.2 without being set up, and only there does an engine know which address a datagram came to")
	}
	for _, addr := range []string{":0", "0.0.0.0:0"} {
		e := listenAt(t, addr, "")
		dialAt(t, "127.0.0.2", e) // its socket is connected: it hears no other address
		dialAt(t, "127.0.0.1", e)
	}
	dialAt(t, "127.0.0.3", listenAt(t, "127.0.0.3:0", ""))
}
