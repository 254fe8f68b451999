package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit.example/godwit"
)

// The examples are built once, and run as their users run them: as processes, on loopback sockets.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "godwit-examples")
	if err == nil {
		os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state")) // of the development identity
		binaries = dir
		var out []byte
		if out, err = exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./...").CombinedOutput(); err == nil {
			out, err = exec.Command("go", "build", "-o", filepath.Join(dir, "players"), "../tools/game").CombinedOutput()
		}
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// run returns what an example prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(binaries, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	t.Logf("%s", out)
	return string(out)
}

// want fails unless each pattern matches, and returns the first group of each.
func want(t *testing.T, out string, patterns ...string) (found []string) {
	t.Helper()
	for _, p := range patterns {
		m := regexp.MustCompile(p).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("%q is not in what it printed:\n%s", p, out)
		}
		found = append(found, m[len(m)-1])
	}
	return found
}

func TestEcho(t *testing.T) {
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	_ = free.Close()
	start(t, "echo", address)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := godwit.Dial(ctx, address, nil) // its first packets are repeated until the server is there
	for err != nil && ctx.Err() == nil {
		c, err = godwit.Dial(ctx, address, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Endpoint().Close()
	if err := c.Send(godwit.UnorderedChannel, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Receive(ctx, nil); err != nil || m.Channel != godwit.UnorderedChannel || string(m.Payload) != "hello" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestGameInThreeWays(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("the example compares CPU times of threads, which this system does not tell: ", err)
	}
	out := run(t, "players", "-binary", filepath.Join(binaries, "game"), "-rounds", "1", "-for", "1s", "-busy", "-server-cpu", "-1", "-client-cpu", "-1")
	want(t, out, `bare ticker: (2[0-9]|3[0-9]) ticks, \d+ late, p90 .* the latest by`)
	for _, way := range []string{"tick", "goroutine", "blocking"} {
		// A starved machine may lose some on either side, but not most of them.
		want(t, out, way+`: \d+\.\d\d .* µs of server CPU a client-tick, .* of tick; (2[0-9]|3[0-9]) ticks, \d+ late, .* (\d\d|100)\.\d % of states and (\d\d|100)\.\d % of inputs arrived`)
	}
}

func TestSmallMessagesDoNotWaitForTheFile(t *testing.T) {
	const mib = 64
	out := run(t, "file", "-mib", strconv.Itoa(mib))
	found := want(t, out, `file of 64 MiB: (\d+) MB/s, intact: true`, `beside the file: p50 ([^,]+), p99`)
	speed, err := strconv.Atoi(found[0])
	if err != nil {
		t.Fatal(err)
	}
	p50, err := time.ParseDuration(found[1])
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Duration(mib<<20*1000/max(speed, 1)) * time.Nanosecond; p50 > took/10 {
		t.Errorf("half of the small messages took over %v beside a file that took %v:\n%s", p50, took, out)
	}
}

func TestQuestionsAreAnsweredOrGivenUp(t *testing.T) {
	want(t, run(t, "reqreply", "-timeout", "1s"), `^200 questions: 180 answered, 20 gave up after 1s, 0 failed\n$`)
}

func TestSlowSubscriberIsCurrentToo(t *testing.T) {
	out := run(t, "market", "-for", "1s")
	updates := want(t, out, `subscriber 0: (\d+) updates, the oldest .* behind, all 100 symbols current: true`,
		`subscriber 20: (\d+) updates, the oldest .* behind, all 100 symbols current: true`, `(\d+) prices published, 0 sends refused`)
	slow, slowErr := strconv.Atoi(updates[1])
	published, err := strconv.Atoi(updates[2])
	if slowErr != nil || err != nil || slow >= published {
		t.Errorf("the slow subscriber did not skip anything:\n%s", out)
	}
}

func TestHTTPOverStreams(t *testing.T) {
	if got, want := run(t, "http"), "hello, Ann\nhello, Bob\nthat took a while\n"; got != want {
		t.Errorf("it printed\n%swant\n%s", got, want)
	}
}

// person is a program that runs meanwhile, such as somebody in the chat.
type person struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func start(t *testing.T, name string, args ...string) *person {
	t.Helper()
	p := &person{cmd: exec.CommandContext(t.Context(), filepath.Join(binaries, name), args...)}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it may have ended already
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.lines = bufio.NewScanner(out)
	return p
}

func (p *person) says(t *testing.T, text string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, text); err != nil {
		t.Fatal(err)
	}
}

func (p *person) reads(t *testing.T, want string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		t.Fatalf("read %q, want %q (%v)", p.lines.Text(), want, p.lines.Err())
	}
}

func TestChat(t *testing.T) {
	server := start(t, "chat", "serve", "127.0.0.1:0")
	if !server.lines.Scan() {
		t.Fatal("the server does not start")
	}
	address := server.lines.Text()
	ann := start(t, "chat", "join", address, "Ann")
	ann.reads(t, "welcome, Ann: 1 in the room")
	bob := start(t, "chat", "join", address, "Bob")
	bob.reads(t, "welcome, Bob: 2 in the room")
	ann.reads(t, "Bob has come")
	ann.says(t, "hello")
	bob.reads(t, "Ann: hello")
	for i := range 100 {
		bob.says(t, fmt.Sprint("line ", i))
	}
	for i := range 100 {
		ann.reads(t, fmt.Sprint("Bob: line ", i))
	}
	if err := bob.in.Close(); err != nil { // he leaves: what he said last is delivered first
		t.Fatal(err)
	}
	ann.reads(t, "Bob has left")
	if err := bob.cmd.Wait(); err != nil {
		t.Error(err)
	}
	_ = server.cmd.Process.Signal(os.Interrupt)
	if err := server.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
