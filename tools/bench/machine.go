package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// haltPoll is how long, in nanoseconds, an idle CPU of a Linux guest looks for work before it goes back to the host.
const haltPoll = "/sys/module/haltpoll/parameters/guest_halt_poll_ns"

// machine names what the figures were taken on, and what about it spoils them. What cannot be read is left out.
func machine() (facts string, notes []string) {
	list := []string{fmt.Sprintf("%d CPUs", runtime.NumCPU())}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				list = append(list, strings.TrimSpace(value))
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		list = append(list, "Linux "+strings.TrimSpace(string(text)))
	}
	list = append(list, runtime.Version())
	if text, err := os.ReadFile(haltPoll); err == nil {
		n := strings.TrimSpace(string(text))
		list = append(list, "guest_halt_poll_ns "+n)
		if n == "0" {
			notes = append(notes, "idle CPUs of this guest go back to the host at once and wake up late: echo 200000 > "+haltPoll+" as root")
		}
	}
	return strings.Join(list, ", "), notes
}
