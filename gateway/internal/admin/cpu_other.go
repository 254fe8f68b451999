//go:build !unix

package admin

// cpuSeconds says that this system has no getrusage.
func cpuSeconds() (float64, bool) { return 0, false }
