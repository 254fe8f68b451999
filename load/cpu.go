package load

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every architecture
// that Go runs on.
const tick = time.Second / 100

// machine is what /proc/stat says of all CPUs together since the machine started,
// and what the hypervisor kept of each of them.
type machine struct {
	busy, steal, all time.Duration
	kept             []time.Duration
	ok               bool // it could be read
}

func readMachine() machine {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machine{}
	}
	return parseMachine(string(text), interruptsApart())
}

// parseMachine reads /proc/stat: a line for all CPUs and one for each, of user, nice,
// system, idle, iowait, irq, softirq, steal, guest, guest_nice. Guest times are part
// of user and nice.
func parseMachine(text string, interruptsApart bool) machine {
	line, rest, _ := strings.Cut(text, "\n")
	t, ok := parseCPU(line)
	if !ok {
		return machine{}
	}
	m := machine{busy: t[0] + t[1] + t[2], steal: t[7], ok: true}
	for _, d := range t {
		m.all += d
	}
	if !interruptsApart {
		m.busy += t[5] + t[6]
	}
	for line := range strings.Lines(rest) {
		one, ok := parseCPU(line)
		if !ok {
			break // the lines of other things follow
		}
		m.kept = append(m.kept, one[7])
	}
	return m
}

// parseCPU reads one line, up to its steal time.
func parseCPU(line string) (t [8]time.Duration, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") {
		return t, false
	}
	for i := range t {
		n, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return t, false
		}
		t[i] = time.Duration(n) * tick
	}
	return t, true
}

// interruptsApart reports whether the time of interrupts must be left out when the
// times of processes are taken off that of the machine. Most packet processing
// runs in interrupts. A kernel without IRQ_TIME_ACCOUNTING also charges it to the
// process that was interrupted, one with it does not; if there is no telling, it
// is left out, because then nobody's noise is invented.
func interruptsApart() bool {
	config, ok := kernelConfig()
	return !ok || bytes.Contains(config, []byte("\nCONFIG_IRQ_TIME_ACCOUNTING=y"))
}

func kernelConfig() ([]byte, bool) {
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			if text, err := io.ReadAll(z); err == nil {
				return text, true
			}
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, false
	}
	text, err := os.ReadFile("/boot/config-" + strings.TrimSpace(string(release)))
	return text, err == nil
}

// processCPU returns the user and system time of a process; pid 0 is this one.
func processCPU(pid int) (time.Duration, bool) {
	name := "self"
	if pid != 0 {
		name = strconv.Itoa(pid)
	}
	text, err := os.ReadFile("/proc/" + name + "/stat")
	if err != nil {
		return 0, false
	}
	return parseProcess(string(text))
}

// parseProcess reads utime and stime, fields 14 and 15 of /proc/PID/stat. The
// second field, the program's name, may hold anything, even parentheses.
func parseProcess(text string) (time.Duration, bool) {
	_, rest, ok := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err1 == nil && err2 == nil
}
