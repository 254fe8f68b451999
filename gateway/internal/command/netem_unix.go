//go:build unix

package command

import (
	"os"
	"os/signal"
	"syscall"
)

const rebindSignal = "; SIGUSR1 does the same"

// rebindSignals are the signals that ask for a rebinding. A proxy in the background must not be stopped because it reads from the terminal: it goes
// without commands then.
func rebindSignals() chan os.Signal {
	signal.Ignore(syscall.SIGTTIN)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c
}
