// Command container runs a program under the conditions of a small, strict container, without any container software:
//
//   - a control group of its own with 64 MiB of memory, no swap and half a CPU,
//   - an unprivileged user without groups, without any capability, not even in the bounding set, and without the means to get one,
//   - a seccomp filter that refuses mbind, move_pages and perf_event_open with EPERM, as the default profile of Docker does.
//
// It is made for go test -exec:
//
//	go build -o /tmp/container ./tools/container && go test -exec /tmp/container ./internal/udp
//
// Before the program starts, a probe inside proves each condition or fails. Afterwards the command says what the program needed, and
// fails if anything was killed for want of memory. It needs Linux, root and the memory and cpu controllers; what of these is missing it
// names in a line that begins with "SKIP: ", with exit status 3. With -check it only looks for them.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// exitMissing is the exit status where the host does not allow such a container.
const exitMissing = 3

// missing is what the host lacks for a container.
type missing string

func (m missing) Error() string { return string(m) }

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: container -check | program [arguments]")
		os.Exit(2)
	}
	err := run(os.Args[1:])
	var lacks missing
	var ended *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &lacks):
		fmt.Println("SKIP:", err)
		os.Exit(exitMissing)
	case errors.As(err, &ended) && ended.ExitCode() > 0:
		os.Exit(ended.ExitCode()) // the program has said why
	default:
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(1)
	}
}
