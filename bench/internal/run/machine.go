package run

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// machineFacts names what figures are taken on, and what about it spoils them. What
// cannot be read is left out.
func machineFacts() (facts, notes []string) {
	facts = append(facts, fmt.Sprintf("%d CPUs", runtime.NumCPU()))
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				facts = append(facts, strings.TrimSpace(value))
				break
			}
		}
	}
	read := func(file string) string {
		text, _ := os.ReadFile(file)
		return strings.TrimSpace(string(text))
	}
	if v := read("/proc/sys/kernel/osrelease"); v != "" {
		facts = append(facts, runtime.GOOS+" "+v)
	}
	facts = append(facts, runtime.Version())
	if v := read("/proc/sys/net/core/rmem_max"); v != "" {
		facts = append(facts, "net.core.rmem_max "+v)
	}
	if v := read("/sys/module/haltpoll/parameters/guest_halt_poll_ns"); v != "" {
		facts = append(facts, "guest_halt_poll_ns "+v)
		if v == "0" {
			notes = append(notes, "idle CPUs of this guest go back to the host at once and wake up late")
		}
	}
	return facts, notes
}

// commit is that of the sources, if this is a checkout; a + marks changes.
func commit() string {
	text, err := exec.Command("git", "describe", "--always", "--dirty=+").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
