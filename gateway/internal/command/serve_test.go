package command

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// sources is a routing table with at most one way out of each family.
func sources(v4, v6 string) func(bool) (netip.Addr, bool) {
	return func(want6 bool) (netip.Addr, bool) {
		text := v4
		if want6 {
			text = v6
		}
		ip, err := netip.ParseAddr(text)
		return ip, err == nil
	}
}

func TestConnectLineIsForOtherMachines(t *testing.T) {
	for _, c := range []struct{ listen, v4, v6, want string }{
		{"127.0.0.1:4242", "203.0.113.5", "", "127.0.0.1:4242"},
		{"198.51.100.7:4242", "203.0.113.5", "", "198.51.100.7:4242"},
		{"0.0.0.0:4242", "203.0.113.5", "2001:db8::5", "203.0.113.5:4242"},
		{"[::]:4242", "203.0.113.5", "2001:db8::5", "203.0.113.5:4242"},
		{"[::]:4242", "", "2001:db8::5", "[2001:db8::5]:4242"},
		{"0.0.0.0:4242", "", "2001:db8::5", "HOST:4242"}, // IPv6 is not heard
		{"[::]:4242", "", "", "HOST:4242"},
	} {
		if got := reachable(netip.MustParseAddrPort(c.listen), sources(c.v4, c.v6)); got != c.want {
			t.Errorf("listening on %s, with ways out from %q and %q: %s, want %s", c.listen, c.v4, c.v6, got, c.want)
		}
	}
}

func TestServerOfAllInterfacesSaysHowToReachIt(t *testing.T) {
	s := serve(t, "--listen", ":0")
	address := s.out.wait(t, `connect +(godwit://\S+\?pin=\S+)\n`)[1]
	if strings.HasPrefix(address, "godwit://HOST:") { // a machine without a network
		s.out.wait(t, "HOST stands for")
		return
	}
	if at := netip.MustParseAddrPort(strings.TrimPrefix(address[:strings.Index(address, "?")], "godwit://")); at.Addr().IsLoopback() || at.Addr().IsUnspecified() {
		t.Errorf("no other machine can connect to %s", address)
	}
	if out, err := program(t, "ping", address, "--count", "1").CombinedOutput(); err != nil {
		t.Errorf("ping %s: %v\n%s", address, err, out)
	}
	s.out.wait(t, `try +\S+ bench 127\.0\.0\.1:`)
}

func TestLogLevels(t *testing.T) {
	for _, c := range []struct {
		level     string
		say, hide []string
	}{
		{"", []string{"listening", "draining", "closed"}, []string{"level=DEBUG"}},
		{"debug", []string{"listening", "level=DEBUG"}, nil},
		{"warn", nil, []string{"level=INFO", "level=DEBUG"}},
	} {
		args := []string{"--json"}
		if c.level != "" {
			args = append(args, "--log-level", c.level)
		}
		s := serve(t, args...)
		if out, err := program(t, "ping", s.banner(t).Listen, "--count", "1").CombinedOutput(); err != nil {
			t.Fatalf("ping: %v\n%s", err, out)
		}
		if err := s.stop(t); err != nil {
			t.Error(err)
		}
		log := s.errOut.String()
		for _, text := range c.say {
			if !strings.Contains(log, "godwit: "+text) && !strings.Contains(log, text+" msg=") {
				t.Errorf("at level %q the log does not say %q:\n%s", c.level, text, log)
			}
		}
		for _, text := range c.hide {
			if strings.Contains(log, text) {
				t.Errorf("at level %q the log has %s:\n%s", c.level, text, log)
			}
		}
		if n := strings.Count(s.out.String(), "\n"); n != 1 {
			t.Errorf("at level %q standard output has %d lines with --json:\n%s", c.level, n, s.out)
		}
	}
}

func TestKeyLogIsForItsOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("on Windows a file belongs to who may read it by an access list, which package os does not show")
	}
	file := filepath.Join(t.TempDir(), "keys")
	s := serve(t, "--json", "--keylog", file)
	if out, err := program(t, "ping", s.banner(t).Listen, "--count", "1").CombinedOutput(); err != nil {
		t.Fatalf("ping: %v\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Errorf("the key log after a handshake: %v, %v", info, err)
	}
}
