//go:build !linux

package main

import "runtime"

func run([]string) error {
	return missing("control groups and seccomp are of Linux, this is " + runtime.GOOS)
}
