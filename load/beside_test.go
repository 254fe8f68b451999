package load

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The CPU time of a process that belongs to the load is not that of others.
func TestProcessesBesideAreNoNoise(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip("this system does not tell what the machine's CPUs did, and runs say that it is unknown: ", err)
	}
	busy := exec.Command("sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Skip("no shell to keep a CPU busy: ", err)
	}
	defer func() {
		_ = busy.Process.Kill()
		_ = busy.Wait()
	}()
	g := newGenerator(&Config{Connections: 1, Size: 64, Rate: 1}, nil, anyOrder, true)
	both := func(beside []int) (s [2]sample) {
		s[0] = takeSample(context.Background(), g, nil, beside)
		time.Sleep(500 * time.Millisecond)
		s[1] = takeSample(context.Background(), g, nil, beside)
		return s
	}
	used := func(s [2]sample) time.Duration {
		spent := spentBetween(&s[0], &s[1])
		if !spent.OwnOK {
			t.Fatal("not known")
		}
		return spent.Own
	}
	alone, beside := used(both(nil)), used(both([]int{busy.Process.Pid}))
	if beside < alone+100*time.Millisecond {
		t.Errorf("%v without the process beside, %v with it", alone, beside)
	}
}
