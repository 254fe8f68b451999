package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram makes the test binary behave as godwit, so that the tests run the real program with real signals.
const asProgram = "GODWIT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// program prepares the program with a state directory of the test's own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "XDG_STATE_HOME="+stateDir(t))
	return cmd
}

var stateDirs sync.Map // by test name, so that a test's server and clients are one user

func stateDir(t *testing.T) string {
	if d, ok := stateDirs.Load(t.Name()); ok {
		return d.(string)
	}
	d := t.TempDir()
	stateDirs.Store(t.Name(), d)
	return d
}

// A served is a running godwit serve.
type served struct {
	cmd         *exec.Cmd
	out, errOut *watched
}

// A watched collects a program's output and can be waited on.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// wait returns the first match of the pattern in what was written so far or is written within ten seconds.
func (w *watched) wait(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(w.String()); m != nil {
			return m
		}
	}
	t.Fatalf("nothing matches %s in\n%s", pattern, w)
	return nil
}

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	s := &served{out: &watched{}, errOut: &watched{}}
	s.cmd = program(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.errOut
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait() // an error here: the test has waited already
	})
	return s
}

// stop interrupts the server and returns how it ended.
func (s *served) stop(t *testing.T) error {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	return s.cmd.Wait()
}

type jsonBanner struct{ Listen, Pin, Admin string }

func (s *served) banner(t *testing.T) jsonBanner {
	t.Helper()
	line := s.out.wait(t, `(?m)^(.*)\n`)[1]
	var b jsonBanner
	if err := json.Unmarshal([]byte(line), &b); err != nil {
		t.Fatalf("banner %q: %v", line, err)
	}
	return b
}

func TestServeBenchPingAndDrain(t *testing.T) {
	s := serve(t, "--json")
	b := s.banner(t)
	if b.Listen == "" || b.Pin == "" || b.Admin == "" {
		t.Fatalf("banner %+v", b)
	}
	out, err := program(t, "ping", b.Listen, "--count", "3", "--interval", "1ms").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "3 sent, 3 back") {
		t.Fatalf("ping: %v\n%s", err, out)
	}
	cmd := program(t, "bench", b.Listen, "--pin", b.Pin, "--conns", "3", "--rate", "600", "--duration", "500ms", "--warmup", "100ms", "--admin", b.Admin, "--json")
	out, err = cmd.Output()
	if err != nil {
		t.Fatalf("bench: %v\n%s%s", err, out, err.(*exec.ExitError).Stderr)
	}
	checkBenchObject(t, out)
	checkVarz(t, b)
	if err := s.stop(t); err != nil {
		t.Errorf("a drained server ends with %v\n%s", err, s.errOut)
	}
	if got := s.errOut.String(); !strings.Contains(got, "draining") {
		t.Errorf("standard error says nothing about draining:\n%s", got)
	}
	if n := strings.Count(s.out.String(), "\n"); n != 1 {
		t.Errorf("%d lines on standard output with --json:\n%s", n, s.out)
	}
}

// checkBenchObject checks that bench --json printed exactly one object, on one line, with every key.
func checkBenchObject(t *testing.T, out []byte) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Scan()
	var got map[string]any
	if err := json.Unmarshal(lines.Bytes(), &got); err != nil || lines.Scan() {
		t.Fatalf("not one object on one line (%v):\n%s", err, out)
	}
	for _, key := range []string{
		"messages_per_second", "latency_us", "sent", "received", "lost", "corrupted", "retransmission_rate", "packet_loss_rate",
		"connections", "handshakes_per_second", "generator_lateness_us", "server_us_per_message", "server_cpu_percent", "valid", "duration_s",
	} {
		if _, ok := got[key]; !ok {
			t.Errorf("bench --json has no %s", key)
		}
	}
	for _, key := range []string{"p50", "p90", "p99", "p999", "max"} {
		if latency, _ := got["latency_us"].(map[string]any); latency[key] == nil {
			t.Errorf("latency_us has no %s", key)
		}
	}
	if got["sent"] == float64(0) || got["lost"] != float64(0) || got["corrupted"] != float64(0) {
		t.Errorf("sent %v, lost %v, corrupted %v", got["sent"], got["lost"], got["corrupted"])
	}
	if got["server_cpu_percent"] == nil {
		t.Error("the server's CPU time was not read from /varz")
	}
}

// readVarz fetches what a server says of itself.
func readVarz(t *testing.T, b jsonBanner) []byte {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + b.Admin + "/varz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func checkVarz(t *testing.T, b jsonBanner) {
	t.Helper()
	text := readVarz(t, b)
	var page struct {
		Listen, Pin, App string
		Process          struct {
			PID int
			CPU *float64 `json:"cpu_s"`
		}
		Endpoint map[string]any
	}
	if err := json.Unmarshal(text, &page); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if page.Listen != b.Listen || page.Pin != b.Pin || page.App != "echo" || page.Process.PID == 0 || page.Process.CPU == nil {
		t.Errorf("/varz:\n%s", text)
	}
	for _, key := range []string{"uptime_ns", "engine", "kernel_drops", "messages_received", "streams_accepted", "stream_bytes_received", "gso", "receive_buffer", "buffer_hint", "impaired"} {
		if _, ok := page.Endpoint[key]; !ok {
			t.Errorf("/varz has no endpoint.%s", key)
		}
	}
	for key := range page.Endpoint {
		if key != strings.ToLower(key) {
			t.Errorf("/varz has endpoint.%s, which is not a name like the others", key)
		}
	}
}

func TestBannerLinesWork(t *testing.T) {
	s := serve(t)
	try := s.out.wait(t, `try +(\S+) (bench .*)\n`)
	args := append(strings.Fields(try[2]), "--duration", "300ms", "--warmup", "0s", "--conns", "2", "--rate", "200")
	if out, err := program(t, args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "messages/s") {
		t.Errorf("%s: %v\n%s", try[2], err, out)
	}
	address := s.out.wait(t, `connect +(godwit://\S+\?pin=\S+)\n`)[1]
	if out, err := program(t, "ping", address, "--count", "1").CombinedOutput(); err != nil {
		t.Errorf("ping %s: %v\n%s", address, err, out)
	}
	if err := s.stop(t); err != nil {
		t.Error(err)
	}
}

func TestPlainServerAnswersPlainClientsOnly(t *testing.T) {
	s := serve(t, "--plain", "--json")
	b := s.banner(t)
	if out, err := program(t, "ping", b.Listen, "--plain", "--count", "1").CombinedOutput(); err != nil {
		t.Errorf("ping --plain: %v\n%s", err, out)
	}
	if out, err := program(t, "ping", b.Listen, "--count", "1").CombinedOutput(); err == nil {
		t.Errorf("an encrypting client talks to a plain server:\n%s", out)
	}
}

func TestEitherEngineServesAndBenches(t *testing.T) {
	s := serve(t, "--engine", "portable")
	s.out.wait(t, `engine +portable, 1 shard, `)
	addr := s.out.wait(t, `listen +udp (\S+),`)[1]
	for _, args := range [][]string{
		{"bench", addr, "--engine", "portable", "--duration", "300ms", "--warmup", "0s", "--conns", "2", "--rate", "200", "--admin", "off"},
		{"ping", addr, "--count", "1", "--engine", "portable"},
	} {
		if out, err := program(t, args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	s := serve(t, "--json")
	b := s.banner(t)
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"serve", "--app", "nonsense", "--admin", "off"}, 1, "known are echo, relay"},
		{[]string{"serve", "--listen", b.Listen, "--admin", "off"}, 1, "--listen"},
		{[]string{"serve", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"}, 1, "loopback"},
		{[]string{"serve", "--listen", "127.0.0.1:0", "--admin", b.Admin}, 1, "--admin"},
		{[]string{"serve", "--cert", "only.pem"}, 2, "key"},
		{[]string{"serve", "--without", "gravity", "--admin", "off"}, 1, "gso"},
		{[]string{"serve", "--log-level", "loud", "--admin", "off"}, 1, "known are debug, info, warn, error"},
		{[]string{"serve", "--engine", "steam", "--admin", "off"}, 1, `"portable"`},
		{[]string{"ping", b.Listen, "--engine", "steam"}, 1, `"portable"`},
		{[]string{"serve", "extra"}, 2, "--help"},
		{[]string{"bench", b.Listen, "--mode", "telepathy"}, 1, "ordered"},
		{[]string{"bench", b.Listen, "--pin", "abc"}, 1, "banner"},
		{[]string{"bench", "--nonsense"}, 2, "--help"},
		{[]string{"nonsense"}, 2, "help"},
		{[]string{"ping", "127.0.0.1:1", "--timeout", "300ms"}, 1, "godwit serve"},
		{[]string{"ping", b.Listen, "--size", "1"}, 1, "--size"},
	} {
		out, err := program(t, c.args...).CombinedOutput()
		code := 0
		if exit, ok := err.(*exec.ExitError); ok {
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.say) {
			t.Errorf("godwit %s: exit code %d, want %d, saying %q; it said\n%s", strings.Join(c.args, " "), code, c.code, c.say, out)
		}
	}
}
