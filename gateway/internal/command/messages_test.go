package command

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// receiver starts godwit recv and returns its address and pin.
func receiver(t *testing.T, args ...string) (cmd *exec.Cmd, out *watched, addr, pin string) {
	t.Helper()
	out, errOut := &watched{}, &watched{}
	cmd = program(t, append([]string{"recv", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // an error here: the test has waited already
	})
	to := errOut.wait(t, `to send: \S+ send (\S+) --pin (\S+)\n`)
	return cmd, out, to[1], to[2]
}

func TestSentLinesAreReceived(t *testing.T) {
	const n = 500
	recv, out, addr, pin := receiver(t, "--count", fmt.Sprint(n+2))
	var lines strings.Builder
	for i := range n {
		fmt.Fprintln(&lines, "line", i)
	}
	send := program(t, "send", addr, "--pin", pin, "--json")
	send.Stdin = strings.NewReader(lines.String() + "\n\x1b[2Jno tricks\n")
	report, err := send.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	var r sendReport
	if err := json.Unmarshal(report, &r); err != nil || r.Sent != n+2 || r.Acknowledged != r.Sent {
		t.Errorf("%v: %s", err, report)
	}
	if err := recv.Wait(); err != nil {
		t.Errorf("recv ends with %v", err)
	}
	if want := lines.String() + "\n" + `"\x1b[2Jno tricks"` + "\n"; out.String() != want {
		t.Errorf("received\n%s", out)
	}
}

func TestReceivedMessagesAsJSON(t *testing.T) {
	recv, out, addr, _ := receiver(t, "--json", "--engine", "portable")
	send := program(t, "send", addr, "--mode", "unordered")
	send.Stdin = strings.NewReader("\x00\xff")
	if text, err := send.CombinedOutput(); err != nil || len(text) != 0 {
		t.Fatalf("%v\n%s", err, text)
	}
	var m recvMessage
	if err := json.Unmarshal([]byte(out.wait(t, `(.*)\n`)[1]), &m); err != nil || string(m.Payload) != "\x00\xff" || m.Channel != 1 || m.From == "" {
		t.Errorf("%v: %s", err, out)
	}
	if err := recv.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := recv.Wait(); err != nil {
		t.Errorf("recv ends with %v", err)
	}
}

func TestSendSaysWhatIsWrong(t *testing.T) {
	_, _, addr, _ := receiver(t)
	long := strings.Repeat("x", 300<<10)
	for _, c := range []struct {
		args []string
		in   string
		say  string
	}{
		{[]string{"send", addr}, long, "262144"},
		{[]string{"send", addr, "--mode", "loud"}, "", "known are"},
		{[]string{"send", "127.0.0.1:1", "--timeout", "300ms"}, "", "is a server running"},
		{[]string{"recv", "--listen", addr}, "", "--listen"},
	} {
		cmd := program(t, c.args...)
		cmd.Stdin = strings.NewReader(c.in)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), c.say) {
			t.Errorf("%v: %v\n%s", c.args, err, out)
		}
	}
}
