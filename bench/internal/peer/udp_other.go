//go:build !linux

package peer

func init() {
	for _, name := range []string{"udp", "udp-mmsg", "udp-gso", "udp-spin"} {
		registerAbsent(name, "it is written with the system calls of Linux")
	}
}
