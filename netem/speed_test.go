package netem

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

// asProxy makes the test binary a proxy to the address in it, so that its CPU time is known.
const asProxy = "GODWIT_TEST_AS_PROXY"

// benchLink is what the proxy of the benchmarks does.
var benchLink = Link{Delay: 200 * time.Microsecond, Loss: 0.01}

// proxyProcess runs until standard input ends, then prints what it did.
func proxyProcess() int {
	target, single, _ := strings.Cut(os.Getenv(asProxy), " ")
	p, err := Listen(Config{Target: target, Up: benchLink, Down: benchLink, DisableOffload: single != ""})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(p.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // until it ends
	if err := p.Close(); err != nil {
		return 1
	}
	s := p.Stats()
	fmt.Println(s.Up.Forwarded+s.Down.Forwarded, s.KernelDrops, max(s.Up.MaxLateness, s.Down.MaxLateness).Microseconds())
	return 0
}

// A remoteProxy is a proxy in a process of its own that uses one CPU.
type remoteProxy struct {
	cmd   *exec.Cmd
	addr  netip.AddrPort
	stdin io.Closer
	out   *bufio.Reader
}

func startProxy(b *testing.B, target udp.Addr, single bool) *remoteProxy {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &remoteProxy{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), asProxy+"="+target.String(), "GOMAXPROCS=1")
	if single {
		p.cmd.Env = append(p.cmd.Env, asProxy+"="+target.String()+" single") // the last one counts
	}
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.stdin, p.out = stdin, bufio.NewReader(stdout)
	line, err := p.out.ReadString('\n')
	if err == nil {
		p.addr, err = netip.ParseAddrPort(strings.TrimSpace(line))
	}
	if err != nil {
		b.Fatalf("the proxy did not start: %q, %v", line, err)
	}
	return p
}

// end reports the proxy's figures.
func (p *remoteProxy) end(b *testing.B, took time.Duration) {
	b.Helper()
	if err := p.stdin.Close(); err != nil {
		b.Fatal(err)
	}
	var forwarded, drops, late float64
	if _, err := fmt.Fscan(p.out, &forwarded, &drops, &late); err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	cpu := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	b.ReportMetric(forwarded/took.Seconds(), "datagrams/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/forwarded, "cpu-ns/datagram")
	b.ReportMetric(forwarded/cpu.Seconds(), "datagrams/cpu-s")
	b.ReportMetric(drops, "kernel-drops")
	b.ReportMetric(0, "ns/op") // says nothing here
}

// BenchmarkProxy echoes datagrams of 128 bytes through a proxy of one CPU that delays them and loses one of a hundred. Its iterations are
// datagrams sent by the client; the figures are of both directions together. Single datagrams cost the proxy a header each in its system
// calls, trains are what senders with segmentation offload make.
func BenchmarkProxy(b *testing.B) {
	for _, single := range []bool{true, false} {
		b.Run(map[bool]string{true: "single", false: "trains"}[single], func(b *testing.B) { benchmarkProxy(b, single) })
	}
}

const (
	benchTrain   = 16
	benchSize    = 128
	mostUnderWay = 2048 // in datagrams: what every socket buffer holds
)

func benchmarkProxy(b *testing.B, single bool) {
	server, err := udp.Open(udp.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	proxy := startProxy(b, server.LocalAddr(), single)
	client, err := udp.Open(udp.Config{Client: true})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Connect(udp.AddrFrom(proxy.addr)); err != nil {
		b.Fatal(err)
	}
	e := echoLoop{server: server, client: client}
	defer e.in.Free()
	defer e.atServer.Free()
	b.ResetTimer()
	began := time.Now()
	for e.sent < uint64(b.N) {
		e.turn()
	}
	took := time.Since(began)
	b.StopTimer()
	proxy.end(b, took)
}

// echoLoop is a client and a server on one goroutine. Both send trains, which cost them little and which a proxy without offloads receives as
// single datagrams.
type echoLoop struct {
	server, client *udp.Engine
	in, atServer   udp.ReadBatch
	out, back      udp.WriteBatch
	trains         [16][benchTrain * benchSize]byte
	answers        []byte
	sent, newest   uint64 // datagrams sent by the client; the number of the newest that came back
	heard          mono.Time
}

func (e *echoLoop) turn() {
	now := mono.Now()
	if e.heard.Add(5*mono.Millisecond) < now {
		e.newest, e.heard = e.sent, now // the last ones were lost
	}
	e.out.Outs = e.out.Outs[:0]
	for i := 0; i < len(e.trains) && e.sent-e.newest < mostUnderWay; i++ {
		train := e.trains[i][:]
		for at := 0; at < len(train); at += benchSize {
			e.sent++
			binary.BigEndian.PutUint64(train[at:], e.sent)
		}
		e.out.Outs = append(e.out.Outs, udp.Out{Data: train, Segment: benchSize})
	}
	e.client.Write(&e.out)
	e.server.Wait(now, 0)
	e.server.Read(&e.atServer)
	e.answers = e.answers[:0]
	var to udp.Addr
	for _, d := range e.atServer.Datagrams[:e.atServer.N] {
		e.answers, to = append(e.answers, d.Data...), d.Remote
	}
	if len(e.answers) > 0 {
		e.back.Outs = append(e.back.Outs[:0], udp.Out{Data: e.answers, Segment: benchSize, Remote: to})
		e.server.Write(&e.back)
	}
	e.client.Wait(now, 0)
	e.client.Read(&e.in)
	for _, d := range e.in.Datagrams[:e.in.N] {
		e.newest, e.heard = max(e.newest, binary.BigEndian.Uint64(d.Data)), now
	}
}
