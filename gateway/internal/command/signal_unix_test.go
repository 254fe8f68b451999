//go:build unix

package command

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSecondSignalEndsTheDrain(t *testing.T) {
	s := serve(t, "--json", "--drain-timeout", "30s")
	b := s.banner(t)
	client := program(t, "bench", b.Listen, "--conns", "2", "--rate", "2000", "--duration", "1m", "--warmup", "0s", "--admin", "off")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	defer client.Wait() // it was killed, that is its error
	defer client.Process.Kill()
	for deadline := time.Now().Add(10 * time.Second); received(t, b) < 100; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client sends nothing")
		}
	}
	// A client that is stopped acknowledges nothing, so that the server would wait 5 s for it.
	if err := client.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.errOut.wait(t, "a second signal closes now")
	if err := s.stop(t); err != nil {
		t.Errorf("after a second signal: %v\n%s", err, s.errOut)
	}
	if took := time.Since(began); took > 3*time.Second || !strings.Contains(s.errOut.String(), "not all connections were closed in time") {
		t.Errorf("the drain took %v:\n%s", took, s.errOut)
	}
}

// received is how many messages the server has received, as it says.
func received(t *testing.T, b jsonBanner) uint64 {
	t.Helper()
	var page struct {
		Endpoint struct {
			Received uint64 `json:"messages_received"`
		}
	}
	if err := json.Unmarshal(readVarz(t, b), &page); err != nil {
		t.Fatal(err)
	}
	return page.Endpoint.Received
}
