package admin

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Process is what the operating system and the runtime say of this process. What cannot be read is null, never a made-up number.
type Process struct {
	PID        int      `json:"pid"`
	Go         string   `json:"go"`
	CPUs       int      `json:"cpus"`
	GOMAXPROCS int      `json:"gomaxprocs"`
	Goroutines int      `json:"goroutines"`
	UptimeS    float64  `json:"uptime_s"`
	CPUS       *float64 `json:"cpu_s"`          // user and system time
	RSS        *int64   `json:"rss_bytes"`      // resident
	RSSAnon    *int64   `json:"rss_anon_bytes"` // resident, file pages left out
	HeapBytes  uint64   `json:"heap_bytes"`
	GCs        uint32   `json:"gc_count"`
}

var started = time.Now()

// ReadProcess reads the figures now.
func ReadProcess() Process {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	p := Process{
		PID:        os.Getpid(),
		Go:         runtime.Version(),
		CPUs:       runtime.NumCPU(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		Goroutines: runtime.NumGoroutine(),
		UptimeS:    time.Since(started).Seconds(),
		HeapBytes:  mem.HeapAlloc,
		GCs:        mem.NumGC,
	}
	if s, ok := cpuSeconds(); ok {
		p.CPUS = &s
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		p.RSS = statusBytes(string(status), "VmRSS:")
		p.RSSAnon = statusBytes(string(status), "RssAnon:")
	}
	return p
}

// statusBytes reads a line like "VmRSS:	  1234 kB" of /proc/self/status.
func statusBytes(status, name string) *int64 {
	_, rest, ok := strings.Cut(status, name)
	if !ok {
		return nil
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return nil
	}
	kB, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return nil
	}
	n := kB << 10
	return &n
}
