package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// roleEnv makes this test binary the program inside.
const roleEnv = "GODWIT_CONTAINER_ROLE"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == stepEnter || os.Args[1] == stepProbe) {
		main()
	}
	switch os.Getenv(roleEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "look": // what the probe says must still hold after it
		if err := errors.Join(probeUser(), probeCalls()); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(7)
	case "hog":
		for range 2 * memoryLimit >> 20 {
			hogged = append(hogged, bytes.Repeat([]byte{1}, 1<<20))
		}
	}
}

var hogged [][]byte // what the role "hog" holds

func TestContainerHoldsAndSaysHowItEnded(t *testing.T) {
	if _, err := available(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(roleEnv, "look")
	var ended *exec.ExitError
	if err := run([]string{self}); !errors.As(err, &ended) || ended.ExitCode() != 7 {
		t.Errorf("a program that exits with 7: %v", err)
	}
	t.Setenv(roleEnv, "hog")
	if err := run([]string{self}); err == nil || !strings.Contains(err.Error(), "killed for want of memory") {
		t.Errorf("a program that takes twice the memory: %v", err)
	}
	if err := run([]string{filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

// TestProbeSeesWhatDoesNotHold: outside, nothing does.
func TestProbeSeesWhatDoesNotHold(t *testing.T) {
	if os.Getuid() == nobody {
		t.Skip("this user is the one of the container")
	}
	if err := probeUser(); err == nil || !strings.Contains(err.Error(), "the user is") || !strings.Contains(err.Error(), "NoNewPrivs") {
		t.Errorf("the user: %v", err)
	}
	if mode, err := status("Seccomp"); err != nil || mode == "2" {
		t.Skip("this process has a filter itself: ", err)
	}
	if err := probeCalls(); err == nil || !strings.Contains(err.Error(), "move_pages") {
		t.Errorf("the calls: %v", err)
	}
	dir := t.TempDir()
	g := group{unified: true, memory: dir, cpu: dir}
	for file, text := range map[string]string{"memory.max": "max\n", "cpu.max": "50000 100000\n", "cgroup.procs": "1\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.probe(); err == nil || !strings.Contains(err.Error(), "memory.max") || !strings.Contains(err.Error(), "not in") || strings.Contains(err.Error(), "cpu.max") {
		t.Errorf("the group: %v", err)
	}
}

func TestFilterRefusesTheCallsAndNoOther(t *testing.T) {
	if auditArch() == 0 {
		t.Skip("the filter does not know this processor")
	}
	for _, c := range []struct {
		name         string
		number, arch uint32
		want         uint32
	}{
		{"mbind", unix.SYS_MBIND, auditArch(), unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"move_pages", unix.SYS_MOVE_PAGES, auditArch(), unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, auditArch(), unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"read", unix.SYS_READ, auditArch(), unix.SECCOMP_RET_ALLOW},
		{"a call of x32", 0x40000000 + unix.SYS_READ, auditArch(), unix.SECCOMP_RET_KILL_PROCESS},
		{"another processor", unix.SYS_READ, 1, unix.SECCOMP_RET_KILL_PROCESS},
	} {
		if got := interpret(filter(), c.number, c.arch); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}

// interpret runs the few instructions that the filter is made of.
func interpret(p []unix.SockFilter, number, arch uint32) uint32 {
	a := uint32(0)
	for i := 0; ; i++ {
		f := p[i]
		holds := false
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{offNumber: number, offArch: arch}[f.K]
			continue
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = a == f.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = a >= f.K
		}
		if holds {
			i += int(f.Jt)
		} else {
			i += int(f.Jf)
		}
	}
}

// host writes the files of a machine that findBase reads.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestGroupsAreFoundInBothVersions(t *testing.T) {
	v1 := host(t, map[string]string{
		"proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/docker/x\n",
		"proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"35 31 0:32 /docker /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
	})
	g, err := findBase(v1)
	if want := (group{false, v1 + "/sys/fs/cgroup/memory/x", v1 + "/sys/fs/cgroup/cpu/docker/x"}); g != want || err != nil {
		t.Errorf("version 1: %v, %v", g, err)
	}
	v2 := host(t, map[string]string{
		"proc/self/cgroup":    "0::/user.slice/shell\n",
		"proc/self/mountinfo": "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/user.slice/cgroup.subtree_control": "cpu memory pids\n",
	})
	g, err = findBase(v2)
	if want := (group{true, v2 + "/sys/fs/cgroup/user.slice", v2 + "/sys/fs/cgroup/user.slice"}); g != want || err != nil {
		t.Errorf("version 2: %v, %v", g, err)
	}
	if back, err := parseGroup(g.String()); back != g || err != nil {
		t.Errorf("%v became %v, %v", g, back, err)
	}
	if len(g.dirs()) != 1 {
		t.Errorf("directories %v", g.dirs())
	}
	for name, files := range map[string]map[string]string{
		"without any":  {"proc/self/cgroup": "", "proc/self/mountinfo": ""},
		"that is bare": {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
	} {
		if g, err := findBase(host(t, files)); err == nil {
			t.Errorf("on a host %s there is %v", name, g)
		}
	}
}
