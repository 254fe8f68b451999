package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// probe proves from the inside that the conditions hold, and becomes the program.
func probe(at string, args []string) error {
	g, err := parseGroup(at)
	if err != nil {
		return err
	}
	if failed := errors.Join(probeUser(), probeCalls(), g.probe()); failed != nil {
		return fmt.Errorf("the conditions do not hold: %w", failed)
	}
	return unix.Exec(args[0], args, os.Environ())
}

// probeUser looks at the user, the groups and the capabilities.
func probeUser() error {
	var failed []error
	for name, id := range map[string]int{"user": os.Getuid(), "effective user": os.Geteuid(), "group": os.Getgid(), "effective group": os.Getegid()} {
		failed = append(failed, expect("the "+name, strconv.Itoa(id), strconv.Itoa(nobody), nil))
	}
	groups, err := os.Getgroups()
	failed = append(failed, expect("the list of groups", fmt.Sprint(groups), "[]", err))
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		held, err := capabilities(set)
		failed = append(failed, expect(set, strconv.FormatUint(held, 16), "0", err))
	}
	for name, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2"} {
		got, err := status(name)
		failed = append(failed, expect(name, got, want, err))
	}
	return errors.Join(failed...)
}

// expect compares what was read with what must be there.
func expect(what, got, want string, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case got != want:
		return fmt.Errorf("%s is %q, not %q", what, got, want)
	}
	return nil
}

// probeCalls makes each refused call, with arguments that have it succeed or fail with another error where nothing refuses it.
func probeCalls() error {
	var failed []error
	for _, call := range refused {
		_, _, e := unix.Syscall6(call.number, 0, 0, 0, 0, 0, 0)
		failed = append(failed, expect("the result of "+call.name, e.Error(), unix.EPERM.Error(), nil))
	}
	return errors.Join(failed...)
}

// capabilities reads one set of them.
func capabilities(set string) (uint64, error) {
	text, err := status(set)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 16, 64)
}

// status reads a field of /proc/self/status.
func status(name string) (string, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && key == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("/proc/self/status has no %s", name)
}
