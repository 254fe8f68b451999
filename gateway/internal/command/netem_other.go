//go:build !unix

package command

import "os"

const rebindSignal = ""

func rebindSignals() chan os.Signal { return make(chan os.Signal) }
