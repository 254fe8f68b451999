package load

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"godwit.example/godwit"
)

// serve starts an echo server in this process.
func serve(t testing.TB) string {
	t.Helper()
	e, err := godwit.Listen("127.0.0.1:0", &godwit.Config{
		Shards: 1,
		Handler: godwit.Handler{Message: func(c godwit.Conn, m godwit.Message) {
			if err := c.SendMessage(godwit.Message{Channel: m.Channel, Payload: m.Payload, Key: m.Key}); err != nil {
				t.Errorf("echo: %v", err)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e.Addr().String()
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// check asserts what holds on any machine, however busy: the figures of tests
// that share it are no measurements.
func check(t *testing.T, r *Result, connections int) {
	t.Helper()
	if r.Sent == 0 || r.Received != r.Sent || r.Lost != 0 || r.Corrupted != 0 || r.MessagesPerSecond <= 0 || r.Connections != connections {
		t.Errorf("%+v", r)
	}
	l := r.Latency
	if l.P50 <= 0 || l.P90 < l.P50 || l.P99 < l.P90 || l.P999 < l.P99 || l.Max < l.P999 {
		t.Errorf("latency %+v", l)
	}
}

func TestOpenLoopOverTheLibrary(t *testing.T) {
	var phases []string
	r, err := Run(deadline(t), Config{
		Addr: serve(t), Connections: 10, Rate: 2000, Duration: 300 * ms, Warmup: 100 * ms,
		Progress: func(what string, done, total time.Duration) {
			if len(phases) == 0 || phases[len(phases)-1] != what {
				phases = append(phases, what)
			}
			if done > total {
				t.Errorf("%v of %v done", done, total)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, 10)
	if r.HandshakesPerSecond == nil || r.RetransmissionRate == nil || r.PacketLossRate == nil || r.ServerCPU != nil {
		t.Errorf("%+v", r)
	}
	if len(phases) != 2 || phases[0] != "connecting" || phases[1] != "godwit" {
		t.Errorf("phases %q", phases)
	}
}

func TestClosedLoopOnEveryDefaultChannel(t *testing.T) {
	addr := serve(t)
	for ch := godwit.OrderedChannel; ch <= godwit.UnreliableChannel; ch++ {
		r, err := Run(deadline(t), Config{Addr: addr, Channel: ch, Connections: 3, Size: 64, Outstanding: 2, Duration: 100 * ms, Warmup: -1})
		if err != nil {
			t.Fatal(err)
		}
		if r.Received == 0 || r.Corrupted != 0 {
			t.Errorf("channel %d: %+v", ch, r)
		}
		if ch <= godwit.UnorderedChannel {
			check(t, r, 3)
		}
	}
}

func TestAServerThatIsNotThereIsAnError(t *testing.T) {
	_, err := Run(deadline(t), Config{
		Addr: "127.0.0.1:9", Connections: 2, Duration: 100 * ms,
		Client: &godwit.Config{HandshakeTimeout: 300 * ms},
	})
	if err == nil {
		t.Fatal("a result without a server")
	}
}

func TestACanceledRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	addr := serve(t)
	time.AfterFunc(300*ms, cancel)
	began := time.Now()
	if _, err := Run(ctx, Config{Addr: addr, Connections: 2, Duration: time.Minute}); err == nil {
		t.Error("a result of a run that was canceled")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

func TestReferencesRunInTheirOwnProcesses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the TCP reference needs Linux")
	}
	for _, name := range references {
		for _, c := range []Config{{Rate: 2000}, {Outstanding: 8}} {
			c.Addr, c.Connections, c.Duration, c.Warmup = "unused:1", 5, 300*ms, 100*ms
			c, err := c.resolve()
			if err != nil {
				t.Fatal(err)
			}
			r, err := runReference(deadline(t), &c, name)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			check(t, r, 5)
			if r.ServerCPU == nil || r.ServerPerMessage == nil {
				t.Errorf("%s: the server's time is not known", name)
			}
			if (r.HandshakesPerSecond == nil) != (name == "udp") || r.PacketLossRate != nil {
				t.Errorf("%s: figures that it does not have: %+v", name, r)
			}
		}
	}
}

func TestAReferenceServerStaysOnItsCPUs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("CPUs can be chosen on Linux only")
	}
	s, err := startReference("udp", []int{0})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.addr.Addr() != netip.MustParseAddr("127.0.0.1") || s.addr.Port() == 0 {
		t.Errorf("it listens on %v", s.addr)
	}
	if _, ok := processCPU(s.cmd.Process.Pid); !ok {
		t.Error("its time cannot be read")
	}
	if _, err := startReference("udp", []int{5000}); err == nil {
		t.Error("CPU 5,000 was accepted")
	}
}

func TestOnlyReferenceProcessesRunReferences(t *testing.T) {
	if MaybeRunReference() {
		t.Error("this process is none")
	}
	t.Setenv(referenceEnv, "smoke signals")
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	stderr := os.Stderr
	os.Stderr = null
	defer func() { os.Stderr = stderr }()
	if !MaybeRunReference() {
		t.Error("a process that was started as a reference must not go on")
	}
}

func TestTicksDivideTheTimeBetweenMessages(t *testing.T) {
	for rate, want := range map[float64]time.Duration{
		0: 10 * ms, 20_000: 50 * us, 1000: ms, 100: 10 * ms, 1: 10 * ms, 30: time.Second / 120, 1e6: 10 * us,
	} {
		if got := tickInterval(rate); got < want-us || got > want {
			t.Errorf("%v messages a second: a tick every %v, want %v", rate, got, want)
		}
	}
}

func TestLoopbackIsLocal(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "::1": true, "::ffff:127.0.0.1": true, "192.0.2.1": false} {
		if got := isLocal(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: local %v", addr, got)
		}
	}
	elsewhere := netip.MustParseAddr("192.0.2.1")
	if c := (&Config{}); c.local(elsewhere) {
		t.Error("a server elsewhere is local")
	}
	if c := (&Config{ServerPID: 1}); !c.local(elsewhere) {
		t.Error("a process that is known is not local")
	}
}
