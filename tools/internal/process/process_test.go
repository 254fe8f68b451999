package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test program is the one that is started, too; what it is to be is in this variable.
const role = "GODWIT_PROCESS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "server":
		fmt.Println("here I am", os.Getenv("GOMAXPROCS"), os.Getenv("XDG_STATE_HOME"))
		fmt.Fprintln(os.Stderr, "said later")
		for { // busy, until it is stopped
			runtime.Gosched()
		}
	case "broken":
		fmt.Fprintln(os.Stderr, "no such address")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// command is the test program in a role.
func command(t *testing.T, p Place, as string) *exec.Cmd {
	t.Helper()
	t.Setenv(role, as)
	return p.Command(t.Context(), os.Args[0])
}

func TestServerIsStartedReadAndStopped(t *testing.T) {
	s, banner, err := StartBanner(command(t, Place{CPU: -1, Procs: 1, State: "states"}, "server"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if banner != "here I am 1 states" {
		t.Errorf("the banner is %q", banner)
	}
	if _, err := os.Stat("/proc/self/schedstat"); err == nil {
		var used time.Duration
		for start := time.Now(); used < 20*time.Millisecond && time.Since(start) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
			if used, err = CPU(s.PID()); err != nil {
				t.Fatal(err)
			}
		}
		if used < 20*time.Millisecond {
			t.Errorf("a loop that computes has used %v", used)
		}
	}
	if err := s.Failed(os.ErrClosed); !strings.Contains(err.Error(), "said later") {
		t.Errorf("what it said is not in %q", err)
	}
	if s.cmd.ProcessState == nil {
		t.Error("it goes on")
	}
	if _, err := CPU(s.PID()); err == nil {
		t.Error("a process that is gone has CPU time")
	}
}

func TestFailuresSayWhatTheProgramSaid(t *testing.T) {
	if _, _, err := StartBanner(command(t, Place{CPU: -1}, "broken")); err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("a server that ends at once: %v", err)
	}
	if _, err := Output(command(t, Place{CPU: -1}, "broken")); err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("a program that fails: %v", err)
	}
	if _, err := Program(t.Context(), t.TempDir(), "", "godwit.example/godwit/nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a program that does not compile: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := StartBanner(command(t, Place{CPU: 0}, "server")); err == nil || !strings.Contains(err.Error(), "-server-cpu -1") {
		t.Errorf("a system without taskset: %v", err)
	}
}

func TestPlaceBindsToItsCPU(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	var cpu int // the first that the test itself may run on
	_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	if _, err := fmt.Sscan(list, &cpu); err != nil {
		t.Fatal(err)
	}
	text, err := Output(Place{CPU: cpu}.Command(t.Context(), "cat", "/proc/self/status"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Cpus_allowed_list:\t%d\n", cpu); !strings.Contains(string(text), want) {
		t.Errorf("%q is not in\n%s", want, text)
	}
}

func TestPlaceSetsTheRuntimesLimits(t *testing.T) {
	if _, err := exec.LookPath("env"); err != nil {
		t.Skip("this system has no command that prints its environment: ", err)
	}
	text, err := Output(Place{CPU: -1, Procs: 3, MemoryLimit: 5_000_000, State: "/nowhere"}.Command(t.Context(), "env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GOMAXPROCS=3\n", "GOMEMLIMIT=5000000\n", "XDG_STATE_HOME=/nowhere\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the environment", want)
		}
	}
}

func TestProgramIsBuiltUnlessItIsGiven(t *testing.T) {
	if given, err := Program(t.Context(), t.TempDir(), "mine", "godwit.example/godwit/examples/echo"); given != "mine" || err != nil {
		t.Errorf("got %q, %v", given, err)
	}
	dir := t.TempDir()
	built, err := Program(t.Context(), dir, "", "godwit.example/godwit/tools/container")
	if err != nil || built != filepath.Join(dir, "container") {
		t.Fatalf("got %q, %v", built, err)
	}
	if _, err := os.Stat(built); err != nil {
		t.Error(err)
	}
}
