package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refused are the system calls that the filter answers with EPERM.
var refused = []struct {
	name   string
	number uintptr
}{
	{"mbind", unix.SYS_MBIND},
	{"move_pages", unix.SYS_MOVE_PAGES},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN},
}

// enter joins the control group, gives up every privilege and becomes the probe. What is set of a thread here must hold for the whole
// program: it all happens on one thread, which then executes.
func enter(at string, args []string) error {
	runtime.LockOSThread()
	g, err := parseGroup(at)
	if err != nil {
		return err
	}
	if err := g.join(); err != nil {
		return err
	}
	for c := uintptr(0); ; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // beyond the last capability that this kernel knows
		} else if err != nil {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	err = errors.Join(
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
		syscall.Setgroups(nil),
		syscall.Setresgid(nobody, nobody, nobody),
		syscall.Setresuid(nobody, nobody, nobody), // empties the other sets of capabilities too
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0), // after the user has changed, which would unset it
		refuse(),
	)
	if err != nil {
		return fmt.Errorf("giving up privileges: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, append([]string{self, stepProbe, at}, args...), os.Environ())
}

// auditArch is how seccomp names the processor, 0 for one that the filter does not know.
func auditArch() uint32 {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
)

// filter is the program of the filter: the refused calls fail with EPERM, those of another architecture end the process, as their
// numbers mean other calls, and so do those of x32.
func filter() []unix.SockFilter {
	const x32 = 0x40000000
	load := func(off uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	p := []unix.SockFilter{
		load(offArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: auditArch(), Jt: 1},
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offNumber),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32, Jf: 1},
		ret(unix.SECCOMP_RET_KILL_PROCESS),
	}
	for _, call := range refused {
		p = append(p,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call.number), Jf: 1},
			ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)))
	}
	return append(p, ret(unix.SECCOMP_RET_ALLOW))
}

// refuse installs the filter for this thread and all that it starts.
func refuse() error {
	p := filter()
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	return nil
}
