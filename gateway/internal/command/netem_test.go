package command

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/netem"
)

// bad is a running godwit netem with a socket as the server behind it.
type bad struct {
	*served
	in     io.Writer
	server *net.UDPConn
	client net.Conn
}

func startNetem(t *testing.T, args ...string) *bad {
	t.Helper()
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	b := &bad{served: &served{out: &watched{}, errOut: &watched{}}, server: server}
	b.cmd = program(t, append([]string{"netem", "--listen", "127.0.0.1:0", "--to", server.LocalAddr().String()}, args...)...)
	b.cmd.Stdout, b.cmd.Stderr = b.out, b.errOut
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.cmd.Process.Kill()
		b.cmd.Wait() // an error here: the test has waited already
	})
	addr := b.out.wait(t, `listen(?:s at |":")(127\.0\.0\.1:\d+)`)[1]
	if b.client, err = net.Dial("udp4", addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.client.Close() })
	return b
}

// pass sends a datagram and returns the port that the server received it from, or 0.
func (b *bad) pass(t *testing.T, wait time.Duration) int {
	t.Helper()
	if _, err := b.client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := b.server.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	_, from, err := b.server.ReadFromUDP(make([]byte, 10))
	if err != nil {
		return 0
	}
	return from.Port
}

func (b *bad) tell(t *testing.T, line, answer string) {
	t.Helper()
	if _, err := io.WriteString(b.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	b.errOut.wait(t, answer)
}

func TestNetemTakesCommands(t *testing.T) {
	b := startNetem(t, "--delay", "20ms", "--up-delay", "30ms", "--loss", "0%")
	b.out.wait(t, `up:   delay 30ms\n  down: delay 20ms\n`)
	began := time.Now()
	first := b.pass(t, 5*time.Second)
	if took := time.Since(began); first == 0 || took < 30*time.Millisecond {
		t.Fatalf("a datagram came from port %d after %v", first, took)
	}
	b.tell(t, "rebind", "1 client moved to another port")
	if second := b.pass(t, 5*time.Second); second == 0 || second == first {
		t.Errorf("after the rebinding the port is %d, before it was %d", second, first)
	}
	b.tell(t, "set --up-loss 100% --delay 1ms", "(?m)^set$")
	if b.pass(t, 50*time.Millisecond) != 0 {
		t.Error("a datagram passed a link that loses all")
	}
	b.tell(t, "set --up-loss 0", "(?s)set\nset\n")
	b.tell(t, "blackout 1h", "blackout of 1h0m0s")
	if b.pass(t, 50*time.Millisecond) != 0 {
		t.Error("a datagram passed a blackout")
	}
	b.tell(t, "blackout 0", "blackout of 0s")
	b.tell(t, "set --loss 200%", `set --loss 200%: invalid argument "200%" for "--loss" flag: it is a share`)
	b.tell(t, "dance", "dance: commands are rebind, blackout TIME, set FLAGS, stats")
	if err := b.stop(t); err != nil {
		t.Errorf("%v\n%s", err, b.errOut)
	}
	b.out.wait(t, `up:   4 received, 2 forwarded, 1 lost, 1 in blackouts; late by`)
}

func TestNetemPrintsJSON(t *testing.T) {
	b := startNetem(t, "--json", "--rate", "8mbit", "--queue", "5p")
	if b.pass(t, 5*time.Second) == 0 {
		t.Fatal("nothing passed")
	}
	if err := b.stop(t); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.out.String()), "\n")
	var banner struct{ Up netem.Link }
	var stats netem.Stats
	if len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &banner) != nil || json.Unmarshal([]byte(lines[1]), &stats) != nil {
		t.Fatalf("printed %q", lines)
	}
	if banner.Up.Rate != 1_000_000 || banner.Up.QueueDatagrams != 5 || stats.Up.Forwarded != 1 || stats.Flows != 1 {
		t.Errorf("%+v, %+v", banner, stats)
	}
}

func TestNetemFlagsMakeLinks(t *testing.T) {
	var f netemFlags
	if err := f.set(nil, []string{"--no-such-flag"}); err == nil {
		t.Error("a flag that does not exist is taken")
	}
	for text, want := range map[string]string{
		"rate 10": "it is a number with kbit", "rate 1tbit": "it is a number with kbit", "queue 5x": "it is a size such as", "queue 0p": "it is a number of datagrams",
		"loss 5.1.": "it is a share", "loss -1%": "it is a share", "delay 5": "missing unit", "burst-length 0.5": "1 or more", "mtu -1": "a number of bytes",
	} {
		name, value, _ := strings.Cut(text, " ")
		for _, k := range linkKinds {
			if err := k.set(new(netem.Link), value); k.name == name && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
		}
	}
	var l netem.Link
	for _, k := range linkKinds {
		for name, value := range map[string]string{
			"delay": "10ms", "jitter": "1ms", "loss": "1%", "burst": "0.025", "burst-length": "4", "reorder": "3%", "reorder-delay": "2ms", "duplicate": "0.5%",
			"corrupt": "0.01%", "rate": "1.5mbit", "queue": "64kB", "mtu": "1200",
		} {
			if name == k.name {
				if err := k.set(&l, value); err != nil {
					t.Errorf("%s %s: %v", name, value, err)
				}
			}
		}
	}
	const want = "delay 10ms, jitter 1ms, loss 1%, burst 2.5%, burst-length 4, reorder 3%, reorder-delay 2ms, duplicate 0.5%, corrupt 0.01%, rate 1.5mbit, queue 64000B, mtu 1200"
	if got := describeLink(&l); got != want {
		t.Errorf("%s", got)
	}
}
