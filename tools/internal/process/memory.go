package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is what the operating system says of a process.
type Memory struct {
	Anon    int64 `json:"rss_anon_bytes"`
	RSS     int64 `json:"rss_bytes"`
	Swap    int64 `json:"swap_bytes"`
	Threads int64 `json:"threads"`
}

// Mega returns bytes in millions.
func Mega(n int64) float64 { return float64(n) / 1e6 }

// String returns the figures for people.
func (m Memory) String() string {
	return fmt.Sprintf("RssAnon %.2f MB, VmRSS %.2f MB, VmSwap %.2f MB, %d threads", Mega(m.Anon), Mega(m.RSS), Mega(m.Swap), m.Threads)
}

// Memory reads the process's figures now. If it is gone, the error has what it said.
func (s *Server) Memory() (m Memory, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID()), "status"))
	if err == nil {
		m, err = parseStatus(string(text))
	}
	if err != nil {
		return m, s.Failed(fmt.Errorf("the process is gone, or this system has no /proc: %w", err))
	}
	return m, nil
}

// parseStatus reads the lines that count of /proc/PID/status.
func parseStatus(text string) (m Memory, err error) {
	for name, to := range map[string]*int64{"RssAnon": &m.Anon, "VmRSS": &m.RSS, "VmSwap": &m.Swap, "Threads": &m.Threads} {
		if *to, err = field(text, name); err != nil {
			return m, fmt.Errorf("/proc/PID/status: %w", err)
		}
	}
	return m, nil
}

// field reads one line of a table of /proc. Memory is given in kB, which are KiB.
func field(text, name string) (n int64, err error) {
	_, rest, ok := strings.Cut("\n"+text, "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	fields := strings.Fields(line)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("there is no %s", name)
	}
	if n, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if len(fields) > 1 {
		n <<= 10
	}
	return n, nil
}

// Available returns the bytes of memory that this machine can still give to programs.
func Available() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return field(string(text), "MemAvailable")
}
